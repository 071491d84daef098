"""The probes. Each takes the visit and returns one finding. If it raises ApiError, the error becomes the finding."""
