"""The client side, Anthropic's Messages API: request schema, stream events, message, errors, model list."""
