"""The probes: each takes the visit, asks, and gives one finding. They may raise ApiError: its words are the finding."""
