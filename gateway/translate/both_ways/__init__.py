"""Data that goes to the client and returns with its next request: tool names and ids, signed reasoning."""
