"""The answer on its way to the client."""
