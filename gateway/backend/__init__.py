"""The adapter: one session, the breaker around each call, the model catalogue, and the table of profiles."""
