"""One machine without servers: SQLite, files, fixed addresses."""
