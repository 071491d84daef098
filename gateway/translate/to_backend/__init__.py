"""Anthropic's request as a chat-completions request."""
