"""Translates Anthropic's requests to chat-completions requests."""
