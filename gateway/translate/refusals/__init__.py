"""Maps backend errors to Anthropic's, and finds how to change a request that the backend refused."""
