"""Translates a Messages request to a chat-completions request."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from gateway.anthropic.errors import InvalidRequest
from gateway.anthropic.request import Format, MessagesRequest
from gateway.openai.profile import Profile
from gateway.openai.request import ChatMessage, ChatRequest, ToolSpec
from gateway.translate.both_ways.tool_names import fit_ids
from gateway.translate.to_backend.cache_marks import mark_cache
from gateway.translate.to_backend.media import Documents
from gateway.translate.to_backend.messages import translate_messages
from gateway.translate.to_backend.offered_tools import offer_tools
from gateway.translate.to_backend.system import system_text
from gateway.translate.to_backend.thinking import missing_thinking, thinking_fields, thinking_wanted
from gateway.translate.to_backend.tool_limits import plainer
from gateway.translate.to_backend.tools import EMPTY_SCHEMA, forces_call, translate_choice


def translate_request(
    request: MessagesRequest,
    profile: Profile,
    *,
    model: str,
    documents: Documents | None = None,
    context_window: int | None = None,
) -> ChatRequest:
    """The backend's request. `model` is the backend's own model name; `documents` holds the texts of the PDFs;
    `context_window` is in tokens.

    Deterministic: the result depends only on the arguments, so the same conversation gives the same bytes. Raises
    InvalidRequest.
    """
    if not profile.thinks_when_forced and forces_call(request.tool_choice):
        request = structs.replace(request, thinking=None)
    tools, notes = offer_tools(request.tools, request.tool_choice, profile)
    response_format = _response_format(request, profile)
    if response_format is not None and "response_format" in profile.drops:
        notes = [*notes, _format_note(response_format)]
    messages: list[ChatMessage] = []
    if (request.system or notes) and (system := system_text(request.system, notes)):
        messages.append({"role": "system", "content": system})
    messages += translate_messages(
        request.messages,
        documents=documents or {},
        profile=profile,
        missing_thinking=missing_thinking(request, profile),
    )
    fit_ids(messages, profile)
    mark_cache(messages, request, profile, model)
    if profile.calls_need_tools and not tools:
        tools = _tools_called(messages)
    chat: ChatRequest = {"model": model, "messages": messages}
    chat |= _tool_fields(request, tools, profile)
    chat |= _sampling(request, profile, context_window)
    if response_format is not None:
        chat["response_format"] = response_format
    chat["stream"] = bool(request.stream)
    if request.stream:
        chat["stream_options"] = {"include_usage": True}
    extra: dict[str, Any] = thinking_fields(request, profile)
    if profile.prefill is not None and messages[-1]["role"] == "assistant" and _is_prefill(request):
        extra |= _prefill(messages, profile.prefill)
    fields = {**chat, **extra}
    for name in profile.drops:
        fields.pop(name, None)
    return fields  # type: ignore[return-value]  # profiles may add fields that the type does not list


def _is_prefill(request: MessagesRequest) -> bool:
    """Whether the last message, the assistant's, is to be gone on with: it is nothing but text, and nothing thinks."""
    content = request.messages[-1].content
    plain = not isinstance(content, list) or all(block.type == "text" for block in content)
    return plain and request.messages[-1].role == "assistant" and not thinking_wanted(request)


def _prefill(messages: list[ChatMessage], way: str) -> dict[str, Any]:
    """Have the backend go on with the last message: by a field in it, or by fields of the request, which it returns."""
    if way == "continue_final_message":
        return {"continue_final_message": True, "add_generation_prompt": False}
    message: dict[str, Any] = {**messages[-1], way: True}
    messages[-1] = message  # type: ignore[call-overload]  # a field that the type does not list
    return {}


def _tools_called(messages: Sequence[ChatMessage]) -> list[ToolSpec]:
    """The tools that were called, for a backend that refuses calls without tools on offer."""
    names = dict.fromkeys(call["function"]["name"] for each in messages for call in each.get("tool_calls", ()))
    return [{"type": "function", "function": {"name": name, "parameters": EMPTY_SCHEMA}} for name in names]


def _tool_fields(request: MessagesRequest, tools: Sequence[ToolSpec], profile: Profile) -> ChatRequest:
    """The tool fields; none without tools, as OpenAI and vLLM refuse an empty list and a choice without tools."""
    fields: ChatRequest = {}
    if tools:
        choice = translate_choice(request.tool_choice, tools)
        if isinstance(choice, dict) and not profile.names_tool:
            tools = [tool for tool in tools if tool["function"]["name"] == choice["function"]["name"]]
            choice = "required"
        fields["tools"] = tools
        if choice is not None:
            fields["tool_choice"] = choice
        if request.tool_choice is not None and request.tool_choice.disable_parallel_tool_use:
            fields["parallel_tool_calls"] = False
        if request.stream and profile.holds_tool_calls:
            fields["tool_stream"] = True
    return fields


def _sampling(request: MessagesRequest, profile: Profile, context_window: int | None) -> ChatRequest:
    fields: ChatRequest = {}
    if (asked := request.max_tokens) is not None:
        # Claude Code requests up to 128000 tokens from unknown models; vLLM refuses more than its context window
        # none at all, which only warms the backend's cache, is not accepted everywhere (`gateway.relay.own_answer`)
        asked = max(asked, 1)
        fields[profile.max_tokens_field] = min(asked, context_window or asked, profile.most_tokens or asked)
    # vLLM refuses an empty stop string; with llama.cpp, it ends the answer before it begins
    if request.stop_sequences and (stops := [stop for stop in request.stop_sequences if stop]):
        if profile.max_stops is not None and len(stops) > profile.max_stops:
            # dropping one silently would let the answer run past it
            raise InvalidRequest(f"stop_sequences: this backend accepts at most {profile.max_stops}, not {len(stops)}")
        fields["stop"] = stops
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        fields["top_p"] = request.top_p
    if request.top_k is not None:
        fields["top_k"] = request.top_k
    return fields


def _response_format(request: MessagesRequest, profile: Profile) -> dict[str, Any] | None:
    wanted: Format | None = request.output_config.format if request.output_config else None
    wanted = wanted or request.output_format
    if wanted is None or wanted.type != "json_schema":
        return None
    if bytes(wanted.schema) in (b"", b"null"):
        raise InvalidRequest("output_config.format.schema: Field required")
    return {"type": "json_schema", "json_schema": {"name": "response", "schema": plainer(wanted.schema, profile)}}


def _format_note(response_format: dict[str, Any]) -> str:
    """An instruction for the prompt, for a backend that cannot enforce a schema."""
    schema = bytes(response_format["json_schema"]["schema"]).decode()
    return f"Answer with JSON that fits this JSON schema, and with nothing else: {schema}"
