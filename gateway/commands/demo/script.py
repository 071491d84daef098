"""What the embedded backend answers: a pure function of the request, without I/O or a clock.

`answer(request)` takes the body of a chat-completions request and returns the complete `Answer`, already cut by `stop`
and by the token limit. The same request always gets the same answer.

The first of these that applies decides: `[[say]]text[[/say]]` in the last prompt; a tool that the prompt names or
`tool_choice` demands; a JSON `response_format`; tool results that wait for an answer; otherwise some prose. In
addition, the prompt may ask for a fault: `[[status 429]]`, `[[cut]]`, `[[error]]` or `[[silent]]`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from zlib import crc32

from gateway.commands.demo.values import Hints, fill, needs_target

if TYPE_CHECKING:
    from collections.abc import Iterator

FinishReason = Literal["stop", "length", "tool_calls"]
FaultKind = Literal["status", "cut", "error", "silent"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call; `arguments` is a JSON object as text, incomplete if the token limit cut it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that the prompt asked for; `status` is the HTTP status for kind "status", otherwise 0."""

    kind: FaultKind
    status: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `stop_reason` is the stop string that ended it, as in vLLM's choices."""

    thinking: str = ""
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    stop_reason: str | None = None
    fault: Fault | None = None


@dataclass(slots=True)
class _Turn:
    """The state at the end of a conversation. `called` and `results` belong to the last assistant message."""

    prompt: str = ""
    follow_up: str = ""
    called: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    answered: bool = False


_TOKEN: Final = re.compile(r"\s*\w{1,10}|\s*[^\w\s]|\s+")
_REMINDER: Final = "<system-reminder>"
_REMINDER_END: Final = "</system-reminder>"
_FAULT: Final = re.compile(r"\[\[(?:status\s+([45]\d\d)|(cut|error|silent))\]\]", re.IGNORECASE)
_BARE: Final = re.compile(r"\b(?:exactly|only|nothing else|verbatim)\b", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"[ ]*(\d{1,9})(?:\t|→)(.*)", re.DOTALL)
# What may come between a tool's name and the words meant for the tool.
_FILLER: Final = re.compile(r"(?:[\s:,;.!?]|(?:tool|function|to|for|with|on|about|and)\b)*", re.IGNORECASE)
_REST_ENDS: Final = re.compile(r"(?<=[.!?])\s|\n|,?\s+(?:and\s+)?then\b", re.IGNORECASE)

_OPENINGS: Final = (
    "Hello, and thank you for your message.",
    "Good question; here is what a script can make of it.",
    "Bonjour! Your request came through the gateway in one piece.",
    "Received, understood as far as a script can: merci.",
)
_CLOSINGS: Final = (
    "Point BACKEND_URL at a real server for real answers → vLLM, SGLang, llama.cpp, Ollama.",
    "Try naming one of your tools in the next message: I shall call it and answer from its result.",
    "Text in other scripts survives the journey too: naïve café, Übergröße, 你好, Привет, ½ ∞.",
    "Write [[say]]any text[[/say]] and I shall answer with exactly that text.",
)


def tokens(text: str) -> list[str]:
    """Word-like pieces of `text`; joining them gives `text` again."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """The number of pieces that `tokens` would return, without building the list."""
    return sum(1 for _ in _TOKEN.finditer(text))


def prompt_tokens(request: dict[str, Any]) -> int:
    """The token count of all text in the request: messages, their tool calls, and the tools."""
    messages = list(_dicts(request.get("messages")))
    sent = [text_of(message.get("content")) for message in messages]
    calls = [call for message in messages for call in _dicts(message.get("tool_calls"))]
    sent += [json.dumps(value, ensure_ascii=False) for value in (*calls, *_dicts(request.get("tools")))]
    return sum(map(count_tokens, sent))


def text_of(content: Any) -> str:
    """The text of a message's `content`: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    return "\n\n".join(str(part["text"]) for part in _dicts(content) if "text" in part)


def without_reminders(text: str) -> str:
    """`text` without its `<system-reminder>` blocks; an unclosed one stays."""
    kept, at = [], 0
    while (start := text.find(_REMINDER, at)) >= 0 and (end := text.find(_REMINDER_END, start)) >= 0:
        kept.append(text[at:start])
        at = end + len(_REMINDER_END)
    return "".join(kept) + text[at:]


def answer(request: dict[str, Any]) -> Answer:
    """The answer to a chat-completions request (`messages` must be a list of objects)."""
    turn = _read_turn(request["messages"])
    said, prompt = _said(turn.prompt)
    found = _FAULT.search(prompt)
    turn.prompt = _FAULT.sub("", prompt).strip()
    draft = _draft(request, turn) if said is None else Answer(text=said)
    if not _thinks(request):
        draft = replace(draft, thinking="")
    return replace(_limited(draft, request), fault=_fault(found) if found else None)


def _draft(request: dict[str, Any], turn: _Turn) -> Answer:
    call = None if turn.answered else _call(request, turn)
    if call:
        thinking = f"The user wants the {call.name} tool. I fill its arguments from the prompt and call it."
        return Answer(thinking=thinking, tool_calls=(call,), finish_reason="tool_calls")
    if (schema := _wanted_schema(request)) is not None:
        value = json.dumps(fill(schema, Hints.of(turn.prompt)), ensure_ascii=False)
        return Answer(thinking="The answer must be JSON; I take its values from the prompt.", text=value)
    if turn.results:
        return Answer(thinking="The tool has answered. I reply from its result.", text=_from_results(turn))
    return _prose(turn.prompt)


def _said(prompt: str) -> tuple[str | None, str]:
    """The text that the prompt asks for with `[[say]]`, or None, and the prompt without it."""
    before, _, opened = prompt.partition("[[say]]")
    said, closed, after = opened.partition("[[/say]]")
    return (said, f"{before} {after}") if closed else (None, prompt)


def _thinks(request: dict[str, Any]) -> bool:
    template = request.get("chat_template_kwargs")
    asked = template.get("enable_thinking") if isinstance(template, dict) else None
    return asked is not False and request.get("reasoning_effort") != "none"


def _fault(found: re.Match[str]) -> Fault:
    if found[1]:
        return Fault("status", int(found[1]))
    kinds: dict[str, FaultKind] = {"cut": "cut", "error": "error", "silent": "silent"}
    return Fault(kinds[found[2].lower()])


def _read_turn(messages: list[Any]) -> _Turn:
    """Read the messages in order. System text and reminders are never the prompt.

    A user message directly after tool results belongs to them: clients and gateways put reminders and the images of a
    result there. The prompt therefore stays the one that made the model call the tool.
    """
    turn = _Turn()
    for message in _dicts(messages):
        role, text = message.get("role"), text_of(message.get("content"))
        if role == "assistant":
            called = tuple(name for call in _dicts(message.get("tool_calls")) if (name := _function(call)))
            turn = _Turn(prompt=turn.prompt, called=called, answered=True)
        elif role == "tool":
            turn.results, turn.answered = (*turn.results, text), False
        elif role == "user" and (prompt := without_reminders(text).strip()):
            if turn.results:
                turn.follow_up = prompt
            else:
                turn = _Turn(prompt=prompt)
    return turn


def _from_results(turn: _Turn) -> str:
    found = "\n".join(map(clean_result, turn.results))
    if _BARE.search(turn.prompt):
        return found or "(empty)"
    names = ", ".join(dict.fromkeys(turn.called)) or "the tool"
    return f"Here is what {names} gave back:\n\n{found or '(nothing)'}\n\nThat is all of it ✓"


def clean_result(result: str) -> str:
    """A tool's result without reminders, surrounding whitespace, and the line numbers of a file listing.

    Line numbers are removed only if every line has one and they count up by one (`1\\tline`, `     1→line`). A table
    whose first column is a number stays unchanged.
    """
    text = without_reminders(result).strip("\r\n")
    matches = [_NUMBERED.fullmatch(line) for line in text.split("\n")]
    lines = [(int(match[1]), match[2]) for match in matches if match]
    first = lines[0][0] if lines else 0
    if len(lines) == len(matches) and [number for number, _ in lines] == [*range(first, first + len(lines))]:
        text = "\n".join(line for _, line in lines)
    return text.strip()


def _call(request: dict[str, Any], turn: _Turn) -> ToolCall | None:
    tools = {name: tool["function"] for tool in _dicts(request.get("tools")) if (name := _function(tool))}
    choice = request.get("tool_choice")
    if not tools or choice == "none":
        return None
    if turn.results:
        # Only an explicit request for a different tool counts here: a call must never lead to the same call again.
        name = _mentioned(tools, turn.follow_up, explicit=True)
        return _filled(name, tools, turn.follow_up) if name and name not in turn.called else None
    name = (_function(choice) if isinstance(choice, dict) else None) or _mentioned(tools, turn.prompt)
    if name not in tools:
        name = next(iter(tools)) if choice == "required" else None
    return _filled(name, tools, turn.prompt) if name else None


def _function(holder: Any) -> str | None:
    """`holder["function"]["name"]`, or None. Tools, tool calls and named tool choices all have this form."""
    function = holder.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else None


def _word(name: str, flags: int = 0) -> re.Pattern[str]:
    """A pattern for `name` as a separate word, not as part of a path, a URL or a hyphenated word."""
    return re.compile(rf"(?<![\w/.\\-]){re.escape(name)}(?![\w/\\-]|\.\w)", flags)


def _mentioned(tools: dict[str, Any], text: str, *, explicit: bool = False) -> str | None:
    """The tool that `text` names first. A name in its exact case takes precedence over other spellings."""
    for flags in (0, re.IGNORECASE):
        found = [(match.start(), name) for name in tools if (match := _word(name, flags).search(text))]
        for _, name in sorted(found):
            if _named_as_tool(name, text) or not (explicit or _is_mere_word(name, tools[name], text)):
                return name
    return None


def _named_as_tool(name: str, text: str) -> bool:
    spelt = re.escape(name)
    form = rf"\b(?:use|call|run|invoke)\s+(?:the\s+)?{spelt}(?!\w)|(?<!\w){spelt}\s+(?:tool|function)\b"
    return re.search(form, text, re.IGNORECASE) is not None


def _is_mere_word(name: str, function: dict[str, Any], text: str) -> bool:
    """Whether `name` is also an English word ("write") and `text` gives the tool nothing to act on."""
    return name.isalpha() and name[1:].islower() and needs_target(function.get("parameters"), text)


def _filled(name: str, tools: dict[str, Any], prompt: str) -> ToolCall:
    mention = _word(name).search(prompt) or _word(name, re.IGNORECASE).search(prompt)
    after = prompt[mention.end() :] if mention else ""
    rest = _REST_ENDS.split(_FILLER.sub("", after, count=1), maxsplit=1)[0].rstrip(" .!?,;")
    arguments = fill(tools[name].get("parameters"), Hints.of(prompt, rest))
    return ToolCall(name, json.dumps(arguments if isinstance(arguments, dict) else {}, ensure_ascii=False))


def _wanted_schema(request: dict[str, Any]) -> dict[str, Any] | None:
    wanted = request.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    holder = wanted.get("json_schema") if wanted.get("type") == "json_schema" else None
    schema = holder.get("schema") if isinstance(holder, dict) else None
    return schema if isinstance(schema, dict) else None


def _prose(prompt: str) -> Answer:
    choice = crc32(prompt.encode("utf-8", "replace"))
    opening = _OPENINGS[choice % len(_OPENINGS)]
    closing = _CLOSINGS[choice // len(_OPENINGS) % len(_CLOSINGS)]
    asked = f"You asked: “{_shortened(prompt)}”" if prompt else "You sent no text."
    who = (
        "I am the embedded demo backend: no model runs here, a small script writes these lines. "
        "The way they reach you is real all the same: thinking first, then text token by token, "
        "then the usage."
    )
    thinking = "The user sent me a message and names no tool. I answer in a few friendly sentences."
    return Answer(thinking=thinking, text=f"{opening} {asked}\n\n{who} {closing}")


def _shortened(text: str, limit: int = 240) -> str:
    return text if len(text) <= limit else text[:limit].rstrip() + "…"


def _limited(draft: Answer, request: dict[str, Any]) -> Answer:
    draft = _stopped(draft, request.get("stop"))
    budget = request.get("max_completion_tokens")
    budget = request.get("max_tokens") if budget is None else budget
    return _cut(draft, budget) if isinstance(budget, int) else draft


def _stopped(draft: Answer, stop: Any) -> Answer:
    """End the text before the first stop string in it, as vLLM does."""
    strings = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    hits = [
        (place, string)
        for string in strings
        if isinstance(string, str) and string and (place := draft.text.find(string)) >= 0
    ]
    if not hits:
        return draft
    place, string = min(hits)
    return replace(draft, text=draft.text[:place], finish_reason="stop", stop_reason=string)


def _cut(draft: Answer, budget: int) -> Answer:
    """Keep the first `budget` tokens of thinking, text and arguments. The finish reason is "length" if any are lost."""
    taken = []
    for text in (draft.thinking, draft.text, *(call.arguments for call in draft.tool_calls)):
        pieces = tokens(text)
        taken.append("".join(pieces[: max(budget, 0)]))
        budget -= len(pieces)
    if budget >= 0:
        return draft
    thinking, text, *arguments = taken
    pairs = zip(draft.tool_calls, arguments, strict=True)
    calls = tuple(ToolCall(call.name, part) for call, part in pairs if part)
    return Answer(thinking, text, calls, finish_reason="length")


def _dicts(values: Any) -> Iterator[dict[str, Any]]:
    return (value for value in (values if isinstance(values, list) else ()) if isinstance(value, dict))
