"""The embedded backend: an OpenAI-compatible server that needs no model, no GPU and no key."""
