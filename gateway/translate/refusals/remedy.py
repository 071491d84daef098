"""Finds out how to change a request that a backend refused so that the backend accepts it.

Some backends refuse fields that others need. The wording of the refusal shows which; the result is kept in the model's
profile, so that later requests are accepted at once. Each rule below takes a refusal and returns a profile that avoids
it, or None if the refusal has another cause.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from gateway.openai.profile import Profile
from gateway.openai.request import ChatRequest
from gateway.translate.refusals.faults import BackendFault

# fields that a request can do without
_OPTIONAL: Final = frozenset(
    {
        "add_generation_prompt",
        "chat_template_kwargs",
        "continue_final_message",
        "custom_params",
        "enable_thinking",
        "parallel_tool_calls",
        "reasoning",
        "reasoning_effort",
        "response_format",
        # the gateway then ends the answer itself (`gateway.translate.from_backend.stop_strings`)
        "stop",
        "stream_options",
        "temperature",
        "thinking",
        "tool_stream",
        "thinking_budget_tokens",
        "thinking_token_budget",
        "top_k",
        "top_p",
    }
)
# the path of a field in any form, `a`, 'a.b.0.c' or a[0].b, and several of them
_PATH: Final = r"[\w.\[\]]{1,100}+"
_PATHS: Final = rf"((?:[`'\"]?{_PATH}[`'\"]?(?:, ?| and )){{0,20}}+[`'\"]?{_PATH})"
_IS_REFUSED: Final = (
    rf"(?<![\w.\[\]])({_PATH})[`'\"]? (?:parameter |field |argument |option )?(?:is|are) "
    r"(?:not (?:supported|permitted|allowed|accepted|available|a valid field)|unsupported|deprecated)"
)
_REFUSED_FIELD: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"property ['\"`]({_PATH})['\"`] is unsupported",  # Groq, Cerebras
        r'Unknown name "(\w{1,64})"',  # Gemini
        rf"[Uu]nrecognized request arguments? supplied: {_PATHS}",  # OpenAI
        # OpenAI; NIM, which names several
        rf"[Uu]n(?:known|supported|recognized|expected) (?:parameter|value|field|argument|key)(?:s|\(s\))?: ?{_PATHS}",
        rf"(?<![\w.\[\]])({_PATH})`?'?: [Ee]xtra (?:inputs are|fields) not permitted",  # pydantic: Mistral, Cerebras
        r"'loc': '([\w.]{1,400})', 'msg': 'Extra inputs",  # vLLM
        rf"Extra inputs are not permitted, field: {_PATHS}",  # Fireworks
        rf"does not support (?:the )?(?:parameters?|arguments?|fields?):? [\[{{(]?{_PATHS}",  # LiteLLM, xAI
        rf"[Aa]rguments? not supported (?:on|with|by|for) this model: {_PATHS}",  # xAI
        rf"unknown field:? (?:parameter )?{_PATHS}",  # serde, Go, Cohere
        rf"extraneous key \[{_PATHS}",  # Bedrock
        rf"Additional properties are not allowed \({_PATHS}",  # jsonschema
        rf"unexpected keyword argument {_PATHS}",  # Python
        rf"parameters? {_PATHS}[`'\"]? specified in the request (?:is|are) not (?:valid|supported)",  # Ark
        r"invalid (\w{1,64}): only [\d.]{1,20} is allowed",  # Kimi
        r"(?<!\w)(\w{1,64})`? may only be set to",  # Anthropic
        _IS_REFUSED,
        rf"(?:does not|doesn't|do not) (?:support|accept|allow) (?:the |setting |custom )?{_PATHS}",
    )
)
# what stands before a field in the paths of some servers
_WRAPPERS: Final = frozenset({"body", "request", "parameter", "parameters", "params", "extra_body", "function"})
# refusals that do not use the field's name
_REFUSED_IN_WORDS: Final = (
    ("chat_template is not supported for Mistral tokenizers", "chat_template_kwargs"),  # vLLM
    ("does not support thinking", "reasoning_effort"),  # Ollama
    ("think value", "reasoning_effort"),  # Ollama: `think value "low" is not supported for this model`
    ("reasoning_effort to 'none'", "reasoning_effort"),  # OpenAI: not together with tools
    ("is not supported by Mistral models", "reasoning_effort"),  # vLLM
    ("reasoning_config is not configured", "thinking_token_budget"),  # vLLM
    ("needs the reasoning start and end strings", "thinking_token_budget"),  # vLLM (vllm-project/vllm#57830)
    ("Reasoning is mandatory", "reasoning"),  # OpenRouter
    ("This response_format type is unavailable", "response_format"),  # DeepSeek
    ("cannot both be specified", "top_p"),  # Anthropic: temperature and top_p
    ("stop sequences are not supported", "stop"),
    ("not support stop sequences", "stop"),
)
# the opposite: a required field, the thinking of a turn, is missing
_WANTED: Final = re.compile(r"must be passed back|reasoning_content is missing")
# Gemini's placeholder signature for a call that did not come from a Gemini model
_NO_SIGNATURE: Final = "skip_thought_signature_validator"
# properties of a backend that a refusal reveals: its wording, the profile field and the value
_WAYS: Final[tuple[tuple[re.Pattern[str], str, Any], ...]] = (
    (_WANTED, "needs_thinking", True),  # DeepSeek, Kimi
    (re.compile(r"missing\s{1,9}a\s{1,9}`?thought_signature"), "missing_signature", _NO_SIGNATURE),  # Gemini
    (re.compile("Unexpected role 'user' after role 'tool'"), "parts_user_from_tool", True),  # Mistral
    (re.compile("Use 'max_completion_tokens' instead"), "max_tokens_field", "max_completion_tokens"),  # OpenAI
    (re.compile("Tool call id was (.{0,400}) with a length of 9"), "tool_id_length", 9),  # Mistral
)
# OpenAI
_MOST_DESCRIPTION: Final = re.compile(
    r"tools\[\d{1,9}\]\.function\.description'?: string too long\. "
    r"Expected a string with maximum length (\d{1,9})(?!\d)"
)
_TOOL_CHOICE: Final = "tool_choice"
# Kimi, DeepSeek, DashScope and Anthropic refuse to demand a call of a model that thinks
_OF_THINKING: Final = re.compile(r"thinking|reason", re.IGNORECASE)
_REFUSES: Final = re.compile(
    r"invalid|unsupported|not (?:be )?(?:supported|allowed|permitted|valid|available|implemented)|support|must be"
    r"|should be|expected|unknown|unexpected|unrecogni[sz]ed|extra inputs",
    re.IGNORECASE,
)
# with these, a server says how it must be started to know tools at all
_NEEDS_OPTION: Final = re.compile(r"tool choice requires --|requires --(?:tool-call-parser|enable-auto)")
# Gemini names each keyword on a separate line
_SCHEMA_KEYWORD: Final = re.compile(r"""Unknown name "([\w$]{1,64})" at '(?:tools|request\.tools)\[""")
# a server that cannot make a grammar of a schema, and does not say of which: llama.cpp, vLLM's and SGLang's xgrammar
_NO_GRAMMAR: Final = re.compile(
    r"failed to (?:parse|initialize|compile|convert)[^\n]{0,40}(?:grammar|schema)|schema conversion failed"
    r"|not supported by xgrammar|(?:invalid|unsupported) (?:json )?(?:schema|grammar)|grammar (?:error|compilation)"
    r"|pattern must start with|moonshot flavored json schema|could not understand the instance"
    r"|error resolving ref|invalid schema for function",
    re.IGNORECASE,
)
# a keyword at the end of a path into a schema (Gemini), or quoted in words about one
_KEYWORD_IN_PATH: Final = re.compile(r"\.(\w{1,32}): (?:only|must|unsupported|not|is|invalid|unknown)\b[^\n]{0,60}")
_KEYWORD: Final = r"[`'\"](\$?[A-Za-z]{1,32})[`'\"]"
_KEYWORDS_IN_WORDS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_KEYWORD} (?:keyword |field )?(?:is|are) (?:not (?:supported|permitted|allowed|valid)|unsupported)",
        rf"(?:unsupported|unimplemented|unknown) (?:json )?(?:schema )?(?:key|keyword|field)s?:? ?[\[{{(]? ?{_KEYWORD}",
        rf"(?:does not|doesn't) support (?:the )?(?:json )?(?:schema )?(?:keyword |field |property )?{_KEYWORD}",
    )
)
# keywords that only narrow what a model may write: a tool works without them
_SPARE_KEYWORDS: Final = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "contains",
        "contentEncoding",
        "contentMediaType",
        "dependentRequired",
        "dependentSchemas",
        "deprecated",
        "else",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "if",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "pattern",
        "patternProperties",
        "propertyNames",
        "readOnly",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
        "writeOnly",
    }
)
_MOST_TOOLS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"a max of (\d{1,9}) tools can be supported",  # Kimi
        r"'tools': array too long\. Expected an array with maximum length (\d{1,9})(?!\d)",  # OpenAI
        r"'tools' : maximum number of items is (\d{1,9})(?!\d)",  # Groq
        r"[Mm]aximum (?:number of tools|tools|tool count)(?: allowed| supported)?(?: is|:| of)? (\d{1,9})(?!\d)",
        r"[Tt]oo many tools[^\n\d]{0,40}(?:\d{1,9}[^\n\d]{1,30})?(?:[Mm]ax|limit|at most)[^\n\d]{0,30}(\d{1,9})(?!\d)",
        r"(?:at most|up to|no more than|more than) (\d{1,9}) (?:tools|functions)(?!\w)",
    )
)
_NO_IMAGES: Final = re.compile(
    r"image input is not supported|not a multimodal model|support image|unknown variant `image_url`", re.IGNORECASE
)
# LM Studio
_NO_IMAGE_URLS: Final = re.compile(
    r"must be a base64.encoded image|urls? (?:are|is) not (?:supported|allowed)|only (?:supports? )?base64"
    r"|failed to (?:download|fetch)[^\n]{0,40}(?:image|url|media)|support (?:image|remote|external|http)s? urls?",
    re.IGNORECASE,
)
_BAD_IMAGE: Final = re.compile(
    r"(?:failed to|could not|cannot|unable to|can't) (?:load|decode|process|identify|read|open|parse|fetch|download)"
    r"|(?:invalid|unsupported|corrupt|corrupted|malformed) (?:base64|image|media|picture)|invalid_image"
    r"|image_parse_error"
    r"|image (?:format |type |data |url |media type )?(?:is )?(?:not supported|not valid|unsupported|invalid|corrupt)",
    re.IGNORECASE,
)
# those that every server with images reads
_PLAIN_IMAGES: Final = frozenset({"image/png", "image/jpeg"})
# LiteLLM and Bedrock
_CALLS_NEED_TOOLS: Final = re.compile(
    r"without `?tools=|must define tools|toolConfig field must be defined|tools must be (?:defined|provided) when"
)
_MOST_IN_WORDS: Final = (
    r"(?i:max(?:imum)?[_ ]?(?:completion|output|new|generation)?_?[_ ]?tokens?)(?![a-z])[^\n]{0,160}?"
    r"(?i:<=|≤|at most|up to|no more than|not exceed|less than or equal to|lower than or equal to|(?:maximum|limit)"
    r"(?: value| allowed| limit)?(?: of| is|:)|[\[(]\d,|between \d{1,3} and|from \d{1,3} to) ?"
    r"[`'(]?(\d{1,3}(?:,\d{3}){1,2}|\d{1,9})(?![\d,]\d| ?\(exclusive)"
)
_MOST_TOKENS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"max_(?:completion_)?tokens: \d{1,9} > (\d{1,9})(?!\d)",
        r"cannot be greater than max_model_len=(\d{1,9})(?!\d)",
        r"supports at most (\d{1,9}) completion tokens",
        r"max_(?:completion_)?tokens`? must be less than or equal to `?(\d{1,9})(?!\d)",
        r"range of max_tokens is \[1, ?(\d{1,9})\]",
        # in any other words: Ark, OpenAI, DashScope, Z.ai, Bedrock, Cohere
        _MOST_IN_WORDS,
        # Gemini
        r"maxOutputTokens value of \d{1,9} but the supported range is from 1 \(inclusive\) to (\d{1,9}) \(exclusive\)",
    )
)
_BOTH_TOO_LONG: Final = re.compile(r"exceed context limit: (\d{1,9}) \+ \d{1,9} > (\d{1,9})(?!\d)")
# vLLM, twice: the output asked for, and the context
_AT_LEAST: Final = re.compile(
    r"maximum context length is (?P<window>\d{1,9}) tokens\. However, you requested "
    r"(?P<output>[1-9]\d{0,8}) output tokens"
    r"|requested (?P<output_2>[1-9]\d{0,8}) output tokens\. However, the model's context length is only "
    r"(?P<window_2>\d{1,9}) tokens"
)
# an answer with fewer tokens than this is not worth requesting: the conversation must be compacted
_LEAST_ROOM: Final = 1024
# the most that the actual token count of a prompt may exceed the estimate, as a factor
_DOUBT: Final = 1.15

# schema keywords that are kept for a model: a client could name any number of them
_MOST_KEYWORDS: Final = 100

_LIST: Final = re.compile(r"[`'\"]?(?:, ?| and )[`'\"]?")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_WORD: Final = re.compile(r"[^\W\d]\w*")
# letters that JSON does not need to escape; written so, words cannot be recognised
_HIDDEN: Final = re.compile(rb"\\u00[2-7]")
_LOWER: Final = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_NO_LETTERS: Final = bytes(code for code in range(128) if not chr(code).isalnum())


class Remedy(Struct, frozen=True):
    """How to retry: with another profile or, for this request only, with fewer tokens.

    `learnable`: the profile may be kept for requests of others. It may not if the client may have written the words
    that the remedy was found by: backends repeat parts of a request in their errors.
    """

    profile: Profile
    max_tokens: int | None = None
    learnable: bool = True


def find_remedy(
    fault: BackendFault, chat: ChatRequest, profile: Profile, estimated_input: int, sent: bytes | bytearray = b""
) -> Remedy | None:
    """How to change a refused request; None if no change would help. `sent`: the request's body as it was sent."""
    if fault.status not in (400, 404) or not fault.said:
        return None
    for rule in _RULES:
        said = _Said(fault.said)
        if (better := rule(said, chat, profile)) is not None and better != profile:
            written = _may_hold(sent, said.found) or any(_is_value(sent, field) for field in said.fields)
            written = written or (bool(said.once) and sent.lower().count(said.once) > 1)
            written = written or said.passing
            return Remedy(profile=better, learnable=not written and len(better.schema_drops) <= _MOST_KEYWORDS)
    room = _room(fault, estimated_input)
    return None if room is None else Remedy(profile=profile, max_tokens=room)


class _Said:
    """A backend's words, and which of them were looked for and found."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[str] = []
        # the request's fields that the backend named
        self.fields: list[str] = []
        # a word that a client has not written if the request has it once
        self.once = b""
        # whether what was found is about this request only
        self.passing = False

    def search(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.search(self.text)
        if match:
            self.found.append(_fixed_words(match))
        return match

    def findall(self, pattern: re.Pattern[str]) -> list[str]:
        """What the first group of `pattern` matched, wherever it did."""
        matches = list(pattern.finditer(self.text))
        self.found += map(_fixed_words, matches)
        return [match[1] for match in matches]

    def has(self, words: str) -> bool:
        if words not in self.text:
            return False
        self.found.append(words)
        return True


def _fixed_words(match: re.Match[str]) -> str:
    """The longest part of a match outside its groups, which may repeat a part of the request. If that is a single word,
    which any request may contain, the whole match.
    """
    text, start, parts = match.string, match.start(), []
    for group_start, group_end in match.regs[1:]:
        if group_start >= 0:
            parts.append(text[start:group_start])
            start = group_end
    longest = max([*parts, text[start : match.end()]], key=len)
    return longest if len(_WORD.findall(longest)) > 1 else match[0]


def _may_hold(sent: bytes | bytearray, found: Sequence[str]) -> bool:
    """Whether a request may contain any of these words: in any case, with any punctuation, also as JSON in JSON."""
    if _HIDDEN.search(sent):
        return True
    for escaped in (b"\\n", b"\\r", b"\\t"):
        sent = sent.replace(escaped, b"")
    letters = sent.translate(_LOWER, _NO_LETTERS)
    return any(words.encode().translate(_LOWER, _NO_LETTERS) in letters for words in found)


def _is_value(sent: bytes | bytearray, field: str) -> bool:
    """Whether a request has the name of one of its fields in another place, too, where it could be a whole value."""
    name = re.escape(field.encode())
    return bool(field) and len(re.findall(rb"""["'`:;,\\]%b["'`:;,\\]""" % name, sent, re.IGNORECASE)) > 1


def _other_images(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    """Images as the backend reads them; in the end, none in this request: another may have images that it can read."""
    urls = [
        part["image_url"]["url"]
        for message in chat["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    if not urls or _NO_IMAGES.search(said.text):
        return None
    fetched = not all(url.startswith("data:") for url in urls)
    if fetched and profile.fetches_images and said.search(_NO_IMAGE_URLS):
        return structs.replace(profile, fetches_images=False)
    if "image" not in said.text.lower() or not said.search(_BAD_IMAGE):
        return None
    types = {url[5 : url.find(";")] for url in urls if url.startswith("data:")}
    if profile.image_types is None and not types <= _PLAIN_IMAGES:
        return structs.replace(profile, image_types=_PLAIN_IMAGES)
    if fetched and profile.fetches_images:
        return structs.replace(profile, fetches_images=False)
    said.passing = True
    return structs.replace(profile, sees_images=False)


def _tools_for_calls(said: _Said, _: ChatRequest, profile: Profile) -> Profile | None:
    return structs.replace(profile, calls_need_tools=True) if said.search(_CALLS_NEED_TOOLS) else None


def _without_images(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    sent = any(isinstance(message["content"], list) for message in chat["messages"])
    return structs.replace(profile, sees_images=False) if sent and said.search(_NO_IMAGES) else None


def _other_way(said: _Said, _: ChatRequest, profile: Profile) -> Profile | None:
    for words, name, value in _WAYS:
        if said.search(words):
            return structs.replace(profile, **{name: value})
    return None


def _fewer_tools(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    most = _number(said, _MOST_TOOLS)
    return structs.replace(profile, max_tools=most) if 0 < most < len(chat.get("tools", ())) else None


def _shorter_descriptions(said: _Said, _: ChatRequest, profile: Profile) -> Profile | None:
    most = said.search(_MOST_DESCRIPTION)
    return structs.replace(profile, max_description=int(most[1])) if most else None


def _plainer_schemas(said: _Said, _: ChatRequest, profile: Profile) -> Profile | None:
    keywords = profile.schema_drops.union(said.findall(_SCHEMA_KEYWORD))
    return structs.replace(profile, schema_drops=keywords)


def _spare_schemas(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    """The profile without the keywords that the words name, or without all that can be spared if they name none."""
    if not ("tools" in chat or "response_format" in chat):
        return None
    named = _SPARE_KEYWORDS.intersection(said.findall(_KEYWORD_IN_PATH))
    for pattern in _KEYWORDS_IN_WORDS:
        named = named or _SPARE_KEYWORDS.intersection(said.findall(pattern))
    if named and not named <= profile.schema_drops:
        return structs.replace(profile, schema_drops=profile.schema_drops | named)
    if said.search(_NO_GRAMMAR):
        return structs.replace(profile, schema_drops=profile.schema_drops | _SPARE_KEYWORDS)
    return None


def _other_choice(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    """How to demand a call otherwise: without thinking, with one tool on offer, or not at all."""
    choice = chat.get("tool_choice")
    if choice is None or _TOOL_CHOICE not in said.text or _NEEDS_OPTION.search(said.text):
        return None
    # the words around it may be any: what matters is that the client has not written the name
    said.once = _TOOL_CHOICE.encode()
    forced = choice not in ("auto", "none")
    if forced and _thinks(chat) and profile.thinks_when_forced and _OF_THINKING.search(said.text):
        return structs.replace(profile, thinks_when_forced=False)
    if not _REFUSES.search(said.text):
        return None
    if isinstance(choice, dict):
        return structs.replace(profile, names_tool=False)
    return structs.replace(profile, drops=profile.drops | {_TOOL_CHOICE})


def _thinks(chat: ChatRequest) -> bool:
    """Whether a request switches thinking on."""
    fields: dict[str, Any] = {**chat}
    kwargs, thinking = fields.get("chat_template_kwargs") or {}, fields.get("thinking") or {}
    return bool(
        kwargs.get("enable_thinking")
        or fields.get("enable_thinking")
        or thinking.get("type") == "enabled"
        or fields.get("reasoning")
        or fields.get("reasoning_effort", "none") != "none"
    )


def _fewer_tokens(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    asked = chat.get("max_tokens") or chat.get("max_completion_tokens") or 0
    most = _number(said, _MOST_TOKENS)
    return structs.replace(profile, most_tokens=most) if 0 < most < asked else None


def _number(said: _Said, patterns: Sequence[re.Pattern[str]]) -> int:
    """The number found by the first pattern that matches; 0 if none does."""
    found = (match for pattern in patterns if (match := said.search(pattern)))
    return next((int(match[1].replace(",", "")) - match[0].endswith("(exclusive)") for match in found), 0)


def _without_field(said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    if said.search(_WANTED):
        return None
    for pattern in _REFUSED_FIELD:
        # a name in the words may be of something else: a field that is not in the request is looked for on
        found, said.found = said.found, []
        named = [path for paths in said.findall(pattern) for path in _LIST.split(paths)]
        if better := _without(named, said, chat, profile):
            said.found += found
            return better
        said.found = found
    meant = (field for words, field in _REFUSED_IN_WORDS if field in chat and said.has(words))
    return _without([next(meant, "")], said, chat, profile)


def _without(paths: Sequence[str], said: _Said, chat: ChatRequest, profile: Profile) -> Profile | None:
    """The profile without the fields at these paths that the request has and can do without; None if there are none."""
    better = profile
    for path in paths:
        names = [name for name in _NAME.findall(path) if name not in _WRAPPERS]
        if not names:
            continue
        field, last = names[0], names[-1]
        if last == profile.reasoning_field and (field == "messages" or last not in chat or "messages" in said.text):
            better = structs.replace(better, reasoning_field=None)
        elif last == "cache_control":
            better = structs.replace(better, cache_marks=())
        elif field in _OPTIONAL and field in chat:
            said.fields.append(field)
            better = structs.replace(better, drops=better.drops | {field})
        elif field == "max_completion_tokens" == profile.max_tokens_field:
            better = structs.replace(better, max_tokens_field="max_tokens")
    return better if better != profile else None


_RULES: Final[tuple[Callable[[_Said, ChatRequest, Profile], Profile | None], ...]] = (
    _other_images,
    _without_images,
    _tools_for_calls,
    _other_way,
    _fewer_tools,
    _shorter_descriptions,
    _plainer_schemas,
    _other_choice,
    _spare_schemas,
    _fewer_tokens,
    _without_field,
)


def _room(fault: BackendFault, estimated_input: int) -> int | None:
    """The tokens left for the answer if only prompt and answer together exceed the context window; otherwise None."""
    if both := _BOTH_TOO_LONG.search(fault.message):
        room = int(both[2]) - int(both[1])
    elif at_least := _AT_LEAST.search(fault.said):
        # vLLM gives a lower bound of the prompt's tokens, not the count (vllm-project/vllm#42474)
        window = int(at_least["window"] or at_least["window_2"])
        output = int(at_least["output"] or at_least["output_2"])
        room = min(window - int(estimated_input * _DOUBT), output - 1)
    else:
        return None
    return room if room >= _LEAST_ROOM else None
