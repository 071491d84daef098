"""Reduces chat-completion chunks to content blocks for either writer.

A chunk may contain reasoning, text and tool calls at once; they are processed in this order. The first non-blank
character opens a block: backends put line ends around thinking and calls, and empty text blocks confuse clients.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from gateway.anthropic.writer import BlockWriter, Finish, StopReason
from gateway.openai.chunk import Choice, Chunk, Delta, Function, ToolCall, Usage
from gateway.translate.both_ways.signed_reasoning import SIGNATURE, ReasoningDetails, thinking_signature
from gateway.translate.from_backend.answer_limits import CALLS, ITEMS, too_large
from gateway.translate.from_backend.finish_reasons import is_known, meaning, reason_text
from gateway.translate.from_backend.halves import ALONE, HalfKey, Halves
from gateway.translate.from_backend.think_tags import ThinkTags
from gateway.translate.from_backend.thinking_display import Display, Kept
from gateway.translate.from_backend.tool_calls import ToolCalls, says_nothing
from gateway.translate.from_backend.usage import translate_usage
from gateway.translate.refusals.faults import BackendFault, cut_short, fault_of_choice

_Kind = Literal["text", "thinking"]
# of a finish reason in a message
_LONGEST: Final = 100


class Reducer:
    """Call `chunk` with each chunk of one answer, then `end`."""

    __slots__ = (
        "_any_block",
        "_any_text",
        "_aside",
        "_blanks",
        "_blanks_kind",
        "_characters",
        "_details",
        "_display",
        "_finish_reason",
        "_halves",
        "_kept",
        "_late",
        "_limit",
        "_matched_stop",
        "_open",
        "_own_calls",
        "_parted",
        "_refused",
        "_stops",
        "_tags",
        "_tools",
        "_usage",
        "_writer",
        "unseen",
    )

    def __init__(
        self,
        writer: BlockWriter,
        *,
        names: Mapping[str, str] | None = None,
        stop_sequences: Sequence[str] = (),
        display: Display = "shown",
    ) -> None:
        """`names`: the client's tool names by their shortened form; `stop_sequences`: those of the request."""
        self._writer = writer
        self._tools = ToolCalls(writer, names or {})
        self._tags = ThinkTags()
        self._stops = stop_sequences
        self._open: _Kind | None = None
        self._any_block = self._any_text = False
        # whether the first choice has calls, whether another one has, and the text of others
        self._own_calls = self._parted = False
        self._aside = Kept()
        self._display = display
        self._kept = Kept()
        # characters of thinking that the client does not see
        self.unseen = 0
        self._blanks: list[str] = []
        self._blanks_kind: _Kind = "text"
        self._late: list[tuple[_Kind, str]] = []  # received while a call's arguments were incomplete
        self._characters = 0
        self._details = ReasoningDetails()
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._limit: StopReason | None = None  # what the finish reason means, if the answer did not end by itself
        self._matched_stop: str | None = None
        self._refused = False
        self._halves = Halves()

    def chunk(self, chunk: Chunk) -> None:
        """Add one chunk, which must not be an error. Raises BackendFault for a finish reason that means a
        failure."""
        if chunk.usage is not None:
            self._take_usage(chunk.usage)
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._take_usage(chunk.x_groq.usage)
        choices = chunk.choices or ()
        if len(choices) > ITEMS:
            raise too_large(f"more than {ITEMS} choices")
        broken = self._halves.held or chunk.__class__ is not Chunk
        for choice in choices:
            if broken and choice.delta is not None:
                self._mend(choice.index, choice.delta)
            if choice.index not in (0, None, "0"):
                self._other_choice(choice)
                continue
            delta = choice.delta or choice.message
            if delta is not None:
                self._delta(delta)
            if choice.usage is not None:
                self._take_usage(choice.usage)
            if choice.error:
                raise fault_of_choice(choice.error)
            if choice.finish_reason:
                self._take_finish_reason(reason_text(choice.finish_reason), choice.native_finish_reason)
            if self._stops and (matched := choice.stop_reason or choice.matched_stop) in self._stops:
                self._matched_stop = matched

    def _mend(self, index: Any, delta: Delta) -> None:
        """Join the halves of characters that a backend has cut."""
        halves = self._halves
        before = halves.held
        halves.held = {}
        said = False
        for name in ("reasoning_content", "reasoning", "content"):
            text = getattr(delta, name)
            if isinstance(text, str) and text:
                setattr(delta, name, halves.join((index, name, None), text, before))
                said = True
        for call in delta.tool_calls or ():
            if call.function is not None and isinstance(text := call.function.arguments, str) and text:
                call.function.arguments = halves.join((index, "arguments", str(call.index)), text, before)
                said = True
        if said:
            self._place_halves(before)
        else:
            halves.held = before

    def _place_halves(self, held: dict[HalfKey, str]) -> None:
        """Write a replacement character for each half that is left alone."""
        for index, name, call in held:
            if index not in (0, None, "0"):
                continue
            if name == "content":
                self._take_text(self._tags.split(ALONE))
            elif name == "arguments":
                self._tool_call(ToolCall(index=call, function=Function(arguments=ALONE)))
            else:
                self._place("thinking", ALONE)

    def _other_choice(self, choice: Choice) -> None:
        """A choice that nobody asked for: some backends (Copilot) put the text and each call into choices of their own.

        Its calls count if the first choice has none, and its text if nothing else has any; otherwise it is another
        answer, which nobody asked for, either.
        """
        delta, number = choice.delta or choice.message, choice.index
        if delta is None or type(number) is not int or not 0 < number <= ITEMS:
            return
        if delta.tool_calls and not self._own_calls:
            self._parted = True
            for call in delta.tool_calls[:CALLS]:
                if type(call.index) is int:
                    call.index += number << 20
                self._tool_call(call)
        elif isinstance(delta.content, str):
            self._aside.add(delta.content)
        if self._parted and choice.finish_reason:
            self._take_finish_reason(reason_text(choice.finish_reason), choice.native_finish_reason)

    @property
    def finished(self) -> bool:
        """Whether the backend has sent a finish reason; usage, and little else, may follow."""
        return self._finish_reason is not None

    def takes(self, kind: str, index: object) -> bool:
        """Whether a delta of this kind (`text`, `thinking`, or `arguments` of the call with this index) would only be
        passed on, without any other effect.
        """
        if self._halves.held or (kind == "thinking" and self._display != "shown"):
            return False
        return self._tools.takes(index) if kind == "arguments" else self._open == kind

    def copied(self, kind: str, characters: int, text: str = "") -> None:
        """Record deltas, accepted by `takes`, that the copier wrote; `text` is needed for arguments only."""
        self._characters += characters
        if kind == "arguments":
            self._tools.copied(text)
        elif kind == "thinking":
            self._blanks.clear()

    def end(self, *, estimated_input: int, marked: bool) -> Finish:
        """Close the open block and write the end of the answer.

        `marked`: the backend marked the end (`[DONE]`, the end of a JSON body). Raises BackendFault, and leaves an
        open block open, if nothing indicates that the answer is complete.
        """
        self._place_halves(self._halves.held)
        unclosed = self._tags.inside
        self._take_text(self._tags.restart())
        if not self._any_text and self._blanks_kind == "text" and not "".join(self._blanks).strip():
            self._place("text", self._aside.take().strip())
        only_thought = self._kept.take() if self._display == "left_out" or (unclosed and self._limit is None) else ""
        empty = not (self._any_block or self._tools.any or only_thought)
        if self._finish_reason is None and (empty or not marked):
            raise cut_short()
        if empty and self._limit is None and not self._blanks and not is_known(self._finish_reason or ""):
            # nothing was said, and for a reason that nobody knows
            raise _failed(self._finish_reason or "")
        self._tools.end()
        self._place_late()
        if empty and self._blanks and self._blanks_kind == "text":
            # the answer is only whitespace
            self._write("text", "".join(self._blanks))
        if only_thought.strip() and not (self._any_text or self._tools.any):
            # better than an answer with nothing to see
            self._begin("text")
            self._writer.text(only_thought.strip())
        self._close()
        if self._display != "left_out" or self._tools.any:
            self._write_details()
        stop_reason = self._stop_reason()
        finish = Finish(
            stop_reason=stop_reason,
            stop_sequence=self._matched_stop if stop_reason == "stop_sequence" else None,
            usage=translate_usage(self._usage, estimated_input=estimated_input, characters=self._characters),
        )
        self._writer.finish(finish)
        return finish

    def _stop_reason(self) -> StopReason:
        if self._limit is not None:
            return self._limit
        if self._refused:
            return "refusal"
        # some backends send "stop" after a call, and some "tool_calls" without one: the content decides
        if self._tools.any:
            return "tool_use"
        return "end_turn" if self._matched_stop is None else "stop_sequence"

    def _take_usage(self, usage: Usage) -> None:
        """Keep the last counts that are not empty: some backends end with zeros or nulls."""
        if usage.prompt_tokens or usage.completion_tokens:
            self._usage = usage

    def _take_finish_reason(self, reason: str, native: Any) -> None:
        """Keep the last reason, but do not let a normal one replace a limit or a refusal. `native`: OpenRouter's and
        LiteLLM's name for the original one, which says more.
        """
        for told in (reason, native) if native and isinstance(native, str) else (reason,):
            meant = meaning(told)
            if meant == "fault":
                raise _failed(told)
            if meant is not None:
                self._limit = self._limit or meant
                break
        self._finish_reason = reason

    def _delta(self, delta: Delta) -> None:
        if reasoning := delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._place("thinking", reasoning if isinstance(reasoning, str) else _reasoning_text(reasoning))
            if delta.reasoning_details:
                self._details.add(delta.reasoning_details)
        if content := delta.content:
            if not isinstance(content, str):
                self._parts(content)
            elif self._open == "text":
                self._characters += len(content)
                self._writer.text(content)
            else:
                self._take_text(self._tags.split(content))
        if delta.refusal and isinstance(delta.refusal, str):
            self._refused = True
            self._place("text", delta.refusal)
        if delta.tool_calls:
            self._own_calls = True
            if len(delta.tool_calls) > CALLS:
                raise too_large(f"more than {CALLS} tool calls")
            for call in delta.tool_calls:
                self._tool_call(call)
        elif delta.function_call is not None:
            self._tool_call(ToolCall(index=0, function=delta.function_call))

    def _parts(self, parts: Any) -> None:
        """Content as a list (Mistral): texts, and thinking, which contains texts."""
        if isinstance(parts, list) and len(parts) > ITEMS:
            raise too_large(f"a content of more than {ITEMS} parts")
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict) and part.get("type") == "thinking":
                self._place("thinking", _reasoning_text(part.get("thinking")))
            else:
                self._place("text", _reasoning_text(part))

    def _take_text(self, pieces: list[tuple[bool, str]]) -> None:
        for thinking, text in pieces:
            if thinking and self._display == "shown":
                self._kept.add(text)
            self._place("thinking" if thinking else "text", text)

    def _place(self, kind: _Kind, text: str) -> None:
        """Write text to a block of its kind, opened at the first non-blank character."""
        if not text:
            return
        if kind == "thinking" and self._display == "left_out":
            self._characters += len(text)
            self.unseen += len(text)
            self._kept.add(text)
            return
        if self._open == kind:
            self._blanks.clear()
            self._write(kind, text)
            return
        if self._blanks_kind != kind:
            self._blanks.clear()
            self._blanks_kind = kind
        self._blanks.append(text)
        if text.isspace():
            return
        text = "".join(self._blanks)
        self._blanks.clear()
        if not self._tools.settle():
            self._late.append((kind, text))
            return
        self._place_late()
        self._write(kind, text)

    def _place_late(self) -> None:
        late, self._late = self._late, []
        for kind, text in late:
            self._write(kind, text)

    def _write(self, kind: _Kind, text: str) -> None:
        if self._open != kind:
            self._begin(kind)
        self._characters += len(text)
        if kind == "text":
            self._writer.text(text)
        elif self._display == "shown":
            self._writer.thinking(text)
        else:
            self.unseen += len(text)
            self._kept.add(text)

    def _begin(self, kind: _Kind) -> None:
        self._close()
        if self._display != "left_out":
            self._write_details()
        self._open, self._any_block = kind, True
        if kind == "text":
            self._any_text = True
            self._writer.begin_text()
        else:
            self._writer.begin_thinking()

    def _close(self) -> None:
        if self._open is None:
            return
        if self._open == "thinking":
            omitted = self._display == "omitted"
            self._writer.signature(thinking_signature(self._kept.take()) if omitted else SIGNATURE)
        self._writer.end_block()
        self._open = None

    def _write_details(self) -> None:
        if data := self._details.take():
            self._writer.redacted_thinking(data)

    def _tool_call(self, call: ToolCall) -> None:
        if says_nothing(call):
            return
        self._take_text(self._tags.restart())
        self._close()
        if not self._tools.open:
            self._blanks.clear()
            self._write_details()
        self._characters += self._tools.add(call)


def _failed(reason: str) -> BackendFault:
    return BackendFault(502, f"the backend ended its answer with finish_reason {reason[:_LONGEST]!r}: try again")


def _reasoning_text(value: Any) -> str:
    """The text in reasoning or content that is not a string: parts, or OpenRouter's `reasoning_details`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_reasoning_text(item) for item in value)
    if isinstance(value, dict):
        return _reasoning_text(value.get("text") or value.get("summary"))
    return ""
