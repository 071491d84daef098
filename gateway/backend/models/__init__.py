"""Which models the backend has, with their names and quirks."""
