"""The pure core: Anthropic requests to chat completions, and chat-completion answers to Anthropic's."""
