"""What goes to the client and comes back with its next request: tool names and ids, signed reasoning."""
