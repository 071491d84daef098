"""Translates the backend's answer to Anthropic's events or to one message."""
