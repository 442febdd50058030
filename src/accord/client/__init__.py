"""What a user's program imports. It knows only HTTP and nothing of the rest of Accord."""
