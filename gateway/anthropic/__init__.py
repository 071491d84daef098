"""What clients speak: Anthropic's Messages API. Request schema, stream events, message, errors, model list."""
