"""Tools: without them, Claude Code can only talk."""

import re
from typing import Any, Final

from gateway.commands.check.asking import Answer
from gateway.commands.check.flags import TOOL_PARSER, flags
from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit
from gateway.translate.refusals.faults import BackendFault

_READ: Final = {
    "name": "Read",
    "description": "Reads a file from the local filesystem and returns its contents with line numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string", "description": "The absolute path of the file"}},
        "required": ["file_path"],
        "additionalProperties": False,
    },
}
_BASH: Final = {
    "name": "Bash",
    "description": "Runs a command in a shell and returns what it prints.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string", "description": "The command"}, "timeout": {"type": "number"}},
        "required": ["command"],
    },
}
_TOOLS: Final[dict[str, Any]] = {"tools": [_READ, _BASH], "max_tokens": 512}
_PATH: Final = "/home/me/notes/today.txt"
_PROMPT: Final = f"Use the Read tool to read the file {_PATH}."
_TWICE: Final = "Use the Read tool twice, for /home/me/a.txt and for /home/me/b.txt. Make both calls in one answer."
_FACT: Final = "14:35"
# how models write a call that no tool parser extracts from their text
_MARKUP: Final = re.compile(
    r"<tool_call|<function[=_]|\[TOOL_CALLS\]|<\|python_tag\|>|<\|tool_call|functions\.Read"
    r"|\"name\": ?\"(?:Read|Bash)\""
)
_PARSER: Final = re.compile("tool-call-parser|tool choice requires|--jinja|tools param requires")
_NO_TOOLS: Final = re.compile("does not support tools|support tool use|tools? (?:is|are) not supported", re.IGNORECASE)
# two tools add at least this many tokens to a prompt
_LEAST_TOOL_TOKENS: Final = 30


async def auto(visit: Visit) -> Finding:
    """Does the model call a tool when told to, and does the call arrive as a tool call?"""
    try:
        answer = visit.found.tool_call = await visit.asker.ask(_PROMPT, **_TOOLS)
    except BackendFault as fault:
        return _refusal(visit, fault)
    calls = answer.of("tool_use")
    if not calls:
        return _no_call(visit, answer)
    arguments = calls[0]["input"]
    if calls[0]["name"] != "Read" or not isinstance(arguments.get("file_path"), str):
        said = f"the call does not match the tool's schema: {visit.secrets.quote(str(arguments))}"
        return Finding("bad", said, "use a more capable model (--model NAME), or check the server's tool parser")
    pieces, ids = answer.seen.tool_pieces, answer.seen.tool_ids
    how = f"arguments in {pieces} pieces" if pieces > 1 else "arguments in one piece"
    given = f"ids like {visit.secrets.quote(ids[0][:24])}" if ids else "no ids: the gateway generates them"
    return Finding("good", f"arrives as a tool call; {how}; {given}", "", {"pieces": pieces, "ids": bool(ids)})


def _refusal(visit: Visit, fault: BackendFault) -> Finding:
    said = visit.secrets.quote(fault.message)
    if _PARSER.search(fault.message):
        return Finding("bad", said, _parser(visit))
    if _NO_TOOLS.search(fault.message):
        return Finding("bad", said, "use a model that can call tools: --model NAME")
    return Finding("bad", said, "see the backend's message and its log")


def _parser(visit: Visit) -> str:
    return f"turn on the server's tool parser ({flags(TOOL_PARSER, visit.first_profile.name)})"


def _no_call(visit: Visit, answer: Answer) -> Finding:
    """Why no call came: the server left it in the text, the model never saw the tools, or it answered in words."""
    if _MARKUP.search(answer.text):
        return Finding("bad", "the model's call arrives as text, not as a tool call", _parser(visit))
    plain = visit.found.story
    grown = answer.seen.prompt_tokens - (plain.seen.prompt_tokens if plain else 0)
    if plain and plain.seen.prompt_tokens and answer.seen.prompt_tokens and grown < _LEAST_TOOL_TOKENS:
        said = "the tools do not reach the model: they do not make the prompt longer"
        return Finding("bad", said, f"the chat template omits them: use one that includes tools, and {_parser(visit)}")
    used_up = " (its 512 tokens were used up)" if answer.finish.stop_reason == "max_tokens" else ""
    said = f"the model answered in words instead of calling the tool{used_up}"
    return Finding("bad", said, "use a model that can call tools: --model NAME")


async def results(visit: Visit) -> Finding:
    """Does a tool's result reach the model?"""
    call = {"type": "tool_use", "id": "toolu_check1", "name": "Read", "input": {"file_path": _PATH}}
    result = f"1\tThe meeting is at {_FACT} in the garden room."
    conversation = [
        {"role": "user", "content": f"{_PROMPT} Then say at what time the meeting is."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": result}]},
    ]
    try:
        answer = await visit.asker.ask(conversation, **_TOOLS)
    except BackendFault as fault:
        return _refusal(visit, fault)
    if _FACT in answer.text:
        return Finding("good", "the model uses a tool's result in its answer")
    said = "the backend accepts a tool's result, but the answer does not use it"
    return Finding("unknown", said, "use a more capable model: --model NAME")


async def forced(visit: Visit) -> Finding:
    """Can a request force a tool call (`tool_choice`)?"""
    choice = {"type": "tool", "name": "Bash"}
    try:
        answer = await visit.asker.ask("List the files of this folder.", tool_choice=choice, **_TOOLS)
    except BackendFault as fault:
        said = visit.secrets.quote(fault.message)
        return Finding("bad", said, "Claude Code does not need it in conversations; programs that use an SDK may")
    if any(call["name"] == "Bash" for call in answer.of("tool_use")):
        return Finding("good", "the model calls the tool that the request names")
    said = "tool_choice is ignored: the model did not call the named tool"
    return Finding("partly", said, "Claude Code does not need it in conversations; programs that use an SDK may")


async def parallel(visit: Visit) -> Finding:
    """Can one answer contain several calls?"""
    answer = await visit.asker.ask(_TWICE, **_TOOLS)
    calls = answer.of("tool_use")
    if len(calls) > 1 and len({call["id"] for call in calls}) == len(calls):
        return Finding("good", f"{len(calls)} calls in one answer")
    said = "one call at a time" if calls else "no call came"
    return Finding("unknown", said, "Claude Code works without it; turns that read several files take longer")
