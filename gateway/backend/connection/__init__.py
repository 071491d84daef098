"""The gateway's side of a connection to the backend: requests out, the bytes of answers in."""
