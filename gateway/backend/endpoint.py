"""The backend's addresses, derived from BACKEND_URL."""

import re
from typing import Final

from msgspec import Struct
from yarl import URL

_CHAT: Final = "/chat/completions"
# a path that ends with a version, or continues after one: `/v1`, `/api/paas/v4`, `/v1beta/openai`
_VERSIONED: Final = re.compile(r"/v\d[a-z0-9]*(?:/|$)")


class Endpoint(Struct, frozen=True):
    """The URLs of chat completions and the model list. `shown` and `models_shown` are for logs and errors: no query."""

    chat: URL
    models: URL
    shown: str
    models_shown: str

    @property
    def host(self) -> str:
        """The host name alone."""
        return self.chat.host or ""


def parse_endpoint(value: str) -> Endpoint:
    """Parse the URL of the server's root, of its `…/v1`, or of chat completions.

    A query (such as Azure's `api-version`) is kept. Raises ValueError, which says what is allowed.
    """
    try:
        url = URL(value.strip())
        port = url.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        raise ValueError("must be an http:// or https:// URL such as http://127.0.0.1:8000/v1/chat/completions")
    if url.user or url.password:
        raise ValueError("must not contain a user or password: put a key into BACKEND_API_KEY, or let clients send it")
    path = url.path.rstrip("/")
    base = path.removesuffix(_CHAT)
    if base == path and not _VERSIONED.search(path):
        base = f"{path}/v1"
    chat = url.with_path(base + _CHAT, keep_query=True)
    models = url.with_path(f"{base}/models", keep_query=True)
    return Endpoint(
        chat=chat, models=models, shown=str(chat.with_query(None)), models_shown=str(models.with_query(None))
    )
