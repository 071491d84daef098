"""The backend's addresses, from what a user gives as BACKEND_URL."""

import re
from typing import Final

from msgspec import Struct
from yarl import URL

_CHAT: Final = "/chat/completions"
# a path that ends with, or goes on after, a version: `/v1`, `/api/paas/v4`, `/v1beta/openai`
_VERSIONED: Final = re.compile(r"/v\d+[a-z0-9]*(?:/|$)")


class Endpoint(Struct, frozen=True):
    """Where chat completions and the model list are. `shown` and `models_shown` are for logs and errors: no query."""

    chat: URL
    models: URL
    shown: str
    models_shown: str

    @property
    def host(self) -> str:
        """The host name alone."""
        return self.chat.host or ""


def parse_endpoint(value: str) -> Endpoint:
    """The endpoint that `value` means: the server's root, its `…/v1`, or the full path of chat completions.

    A query (Azure's `api-version`) is kept. Raises ValueError, its text saying what is allowed.
    """
    try:
        url = URL(value.strip())
        port = url.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        raise ValueError("must be an http:// or https:// URL such as http://127.0.0.1:8000/v1/chat/completions")
    if url.user or url.password:
        raise ValueError("must hold no user and password: a key goes into BACKEND_API_KEY, or comes from the client")
    path = url.path.rstrip("/")
    base = path.removesuffix(_CHAT)
    if base == path and not _VERSIONED.search(path):
        base = f"{path}/v1"
    chat = url.with_path(base + _CHAT, keep_query=True)
    models = url.with_path(f"{base}/models", keep_query=True)
    return Endpoint(
        chat=chat, models=models, shown=str(chat.with_query(None)), models_shown=str(models.with_query(None))
    )
