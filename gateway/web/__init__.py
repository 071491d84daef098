"""What clients reach: routes, handlers, middleware."""
