"""Token counts of requests, estimated: no backend is asked."""
