"""Which models the backend has, under which names, and which quirks."""
