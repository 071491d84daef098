"""The backend's answer as Anthropic's events, or as one message."""
