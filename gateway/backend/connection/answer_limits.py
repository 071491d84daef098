"""How large the parts of a backend's answer may be, and the error for one that is larger.

No backend needs nearly as much; an answer without end must not fill the memory or keep the event loop busy.
"""

from typing import Final

import aiohttp

# A head with its interim responses (RFC 9110, section 15.2): servers' own limits are 4 to 32 KiB.
HEAD_BYTES: Final = 64 * 1024
# Header lines of a head, and trailers: twice what aiohttp accepts by default.
HEADERS: Final = 256
# Interim responses before an answer: a proxy that sends a 102 every 10 s sends 60 within BACKEND_TIMEOUT_SECS.
INTERIM: Final = 100
# What may arrive without any content: chunk sizes, their extensions, trailers, empty blocks of compressed data.
FRAMING_BYTES: Final = 1024 * 1024
# A model list: OpenRouter's, the longest known, takes less than 1 MiB.
LIST_BYTES: Final = 8 * 1024 * 1024
# Content that is handled in one go: the smallest events, at 2 us each, keep the event loop busy for some 10 ms.
AT_ONCE_BYTES: Final = 64 * 1024


class BeyondLimit(aiohttp.ClientPayloadError):
    """A part of an answer is too large. The message says what was sent: "more than …"."""
