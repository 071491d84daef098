"""One turn of a conversation: read the request, translate it, and call the backend."""
