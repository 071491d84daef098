"""An incremental decoder for server-sent events.

Rules:
- Only LF, CRLF and CR end a line: U+2028 and similar characters are text. A blank line or the end of the stream ends an
  event.
- The input may be split anywhere, even inside a character, a line ending or a BOM, without effect on the result.
- Every byte is scanned once: an incomplete line and an event's data are kept in pieces and joined when they end.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream"
(https://html.spec.whatwg.org/multipage/server-sent-events.html); `id` and `retry` are ignored.
"""

from typing import Final

# (event name, data); the name is empty if the event has none
ServerSentEvent = tuple[bytes, bytes]

_BOM: Final = b"\xef\xbb\xbf"


class SSEDecoder:
    """`feed` it bytes to get the complete events; call `flush` at the end of the stream."""

    __slots__ = ("_after_cr", "_at_start", "_data", "_event", "_open_line", "bare")

    def __init__(self) -> None:
        self._open_line: list[bytes] = []
        self._after_cr = False
        self._at_start = True
        self._event = b""
        self._data: list[bytes] = []
        # the first line that is JSON and no field: the standard ignores it, but some servers fail with a bare error
        self.bare = b""

    @property
    def idle(self) -> bool:
        """Whether the input so far ends at the end of an event."""
        return not (self._open_line or self._data or self._event or self._after_cr or self._at_start)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes, in order; events without data are dropped, as the standard requires."""
        if not (self._open_line or self._data or self._event or self._after_cr) and (plain := _plain_events(data)):
            self._at_start = False
            return plain
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        open_line = lines.pop()
        events: list[ServerSentEvent] = []
        if lines and self._open_line:
            self._open_line.append(lines[0])
            lines[0] = b"".join(self._open_line)
            self._open_line.clear()
        if open_line:
            self._open_line.append(open_line)
        for line in lines:
            if line:
                self._line(line)
            elif self._data:
                events.append((self._event, b"\n".join(self._data)))
                self._event = b""
                self._data.clear()
            else:
                self._event, self._at_start = b"", False
        return events

    def flush(self) -> list[ServerSentEvent]:
        """The event that the end of the stream completes, if any."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line == b"data":
            self._data.append(b"")
        elif not self.bare and line.startswith((b'{"', b'[{"')):
            self.bare = line


def _plain_events(data: bytes) -> list[ServerSentEvent]:
    """The events, if each is one line of data followed by two LFs, as most backends write them; otherwise none."""
    if not (data.startswith(b"data: ") and data.endswith(b"\n\n")) or b"\r" in data:
        return []
    texts = data[6:-2].split(b"\n\ndata: ")
    return [(b"", text) for text in texts] if data.count(b"\n") == 2 * len(texts) else []
