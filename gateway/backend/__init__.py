"""The adapter: one session, the breaker around each call, the model catalogue, the table of profiles."""
