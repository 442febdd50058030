"""The command line. Heavy things are imported in the commands that need them."""
