"""The API's paths: under `/v1`, and where clients that were given another form of the base URL ask for them.

Some clients append `/v1/messages` to their base URL, others `/messages`, and the user cannot tell which. So the API is
the same with `/v1` once, twice and not at all, and after a base URL that ends with a slash.
"""

from typing import Final

MESSAGES: Final = "/v1/messages"
COUNTING: Final = "/v1/messages/count_tokens"
PREFIXES: Final = ("/v1", "/v1/v1", "", "//v1")
# what lies below these needs a token
GUARDED: Final = ("/v1/", "//v1/", "/messages", "/models")

# plain paths and routes by each of their forms
_MESSAGES: Final = {
    f"{prefix}/messages{rest}": f"{MESSAGES}{rest}" for prefix in PREFIXES for rest in ("", "/count_tokens")
}
_MODELS: Final = {f"{prefix}/models{rest}": f"/v1/models{rest}" for prefix in PREFIXES for rest in ("", "/{id}")}
_ROUTES: Final = _MESSAGES | _MODELS


def api_path(route: str) -> str:
    """The form under `/v1` of a route's path with its placeholders; other routes unchanged."""
    return _ROUTES.get(route, route)


def messages_path(route: str) -> str | None:
    """`/v1/messages` or `/v1/messages/count_tokens` if the route, or the plain path, is a form of it."""
    return _MESSAGES.get(route)
