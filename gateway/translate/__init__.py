"""The core, pure: Anthropic requests to chat completions, chat-completion answers to Anthropic's."""
