"""The gateway's side of a connection to the backend: it sends requests and receives the bytes of answers."""
