"""The backend side, chat completions: SSE decoding, chunk schema, request types, model list, error bodies."""
