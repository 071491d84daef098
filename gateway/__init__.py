"""Claude Code and every Anthropic Messages client on any OpenAI-compatible chat-completions backend."""

__version__ = "0.1.0"
