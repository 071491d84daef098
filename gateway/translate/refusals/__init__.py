"""The backend's errors as Anthropic's, and what to change in a request that was refused."""
