"""HTTP with clients: routes, middleware, handlers, keys and limits."""
