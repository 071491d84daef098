"""Whether the backend is called, and whether a call is retried."""
