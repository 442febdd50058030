"""The website's templates and static files."""
