"""Maps a backend's errors to Anthropic's: status and type, the backend's own message, and what to do.

    ApiError
      BackendFault    the backend failed, or refused the request; `counts` says whether the breaker counts it

Source: https://docs.claude.com/en/api/errors, and the recorded errors in `tests/samples/backends/` (`err_*.http`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.anthropic.errors import ApiError
from gateway.openai.errors import BASE_RESP, ErrorBody, error_from, read_error, tells_error
from gateway.translate.refusals.overflow import overflow_message

# Claude Code honours a `retry-after` of at most 60 s, and gives up at once if it is longer
_LONGEST_RETRY_AFTER: Final = 60
# client errors whose status is passed on; others become 400
_PASSED: Final = frozenset({400, 402, 403, 404, 408, 409, 413, 429})

# llama.cpp answers 500 to some invalid requests (tests/samples/backends/llama-server-b10434/err_image_data_url.http)
_CLIENT_FAULT: Final = re.compile(
    r"image input is not supported|Failed to parse (?:tools|tool call arguments|messages)|parse_error"
    r"|Unsupported (?:tool|content)|unsupported content|[Ff]ailed to (?:parse|initialize) (?:grammar|samplers)"
    r"|JSON schema conversion failed|Invalid tool_choice|[Ff]ailed to (?:load|decode) image"
)
# a lack of capacity is the fault of neither the request nor the account (musistudio/claude-code-router#436)
_CAPACITY: Final = re.compile(
    r"No infrastructure available|temporarily rate-limited upstream|overloaded", re.IGNORECASE
)
_NO_MODEL: Final = re.compile(
    r"model .{0,200}(?:does not exist|not found)|(?:no such|unknown) model|model not exist|模型不存在", re.IGNORECASE
)
# OpenRouter's 404 for a model that it has, but not with the features or under the rules that the request needs
_NO_ENDPOINT: Final = re.compile(
    r"No endpoints? (?:found|available) (?:that|match|with)|No allowed providers|All providers have been ignored"
    r"|data policy|guardrail restrictions|does not support (?:tool|function|chat)",
    re.IGNORECASE,
)
# OpenCode's 401 for a name that it does not have
_NOT_SERVED: Final = re.compile(r"\bModelError\b")
# errors for an unknown path; one that names a model is about the model
_NO_PATH: Final = re.compile(
    r"no message|(?:404:? )?(?:page |file |path |url |route )?not found\.?|cannot post .*|unexpected endpoint .*"
    r"|invalid url .*|the requested url .*",
    re.IGNORECASE | re.DOTALL,
)
# no money: with any status from 400 (DashScope) to 429 (z.ai), in the words or as the code
_NO_CREDIT: Final = re.compile(
    r"insufficient[ _](?:(?:account|user|api|remaining|available|token)[ _])?(?:credits?|balance|quota|funds)"
    r"|exceeded_current_quota|creditserror|arrearage|accountoverdue|overdue (?:balance|payment)"
    r"|account is in good standing"
    r"|balance is (?:too low|insufficient|not enough|negative|exhausted|\$?0)"
    r"|balance (?:insufficient|not enough|too low|exhausted)|balance was exhausted"
    r"|not enough (?:credits?|balance|funds|quota)|quota is not enough"
    r"|余额不足|欠费|额度不足|额度已用尽|充值",
    re.IGNORECASE,
)
# the rest: one pattern of all of them would be slow
_NO_MONEY: Final = re.compile(
    r"credits? (?:are |is |has been |have been |has |have )?(?:exhausted|depleted|expired|run out|used up)"
    r"|(?:out of|no more|no remaining|more|any|all available|included) credits\b|credit limit (?:exceeded|reached)"
    r"|check your (?:account balance|billing details on our)|recharge|top[ -]up your"
    r"|billing[_ ](?:hard[_ ])?limit|billing[_ ]not[_ ]active|billing_error|billing to be enabled"
    r"|spend(?:ing)?[ _](?:limit|cap)|payment[ _]required|no payment method|valid (?:credit card|payment method)"
    r"|past invoices|budget (?:has been )?exceeded|budget_exceeded|exceeded (?:your |the )?(?:monthly )?budget"
    r"|key limit exceeded|limit for this billing cycle|(?:plan|package|subscription) has expired",
    re.IGNORECASE,
)
# a limit of the rate may offer to buy a higher one
_RATE: Final = re.compile(
    r"per[ _](?:min(?:ute)?|second|hour|day)\b|\b(?:TPM|RPM|TPD|RPD)\b|rate.limit (?:reached|exceeded)|retry in \d",
    re.IGNORECASE,
)
# a key that is wrong, with 400 (Gemini, xAI) or 403
_WRONG_KEY: Final = re.compile(
    r"api.?key (?:is )?(?:not valid|invalid|not found|expired)|(?:invalid|incorrect|wrong) api.?key|invalid_api_key"
    r"|invalidapikey|api_key_invalid|please pass a valid api key|无效的令牌|invalid token",
    re.IGNORECASE,
)
# a key that is right, and may not do this; with 401 (LiteLLM, OpenAI) or 404 (OpenAI)
_NO_RIGHT: Final = re.compile(
    r"key_model_access_denied|not allowed to access|insufficient permissions|missing scopes"
    r"|organization must be verified|not authorized to access|no permission to access|permission[_ ]denied"
    r"|(?:account|key|team|project|organization|user) (?:does not|doesn't) have (?:access|permission)"
    r"|没有权限|无权访问",
    re.IGNORECASE,
)
# what was asked or answered is against a policy: to ask again is no help
_POLICY: Final = re.compile(
    r"content[_ ]filter|content[_ ]policy|content management policy|data_?inspection_?failed|inappropriate content"
    r"|contentfilter|sensitive_?content|new_sensitive|content exists risk|considered high risk|prohibited_content"
    r"|(?:input|prompt|request|content|message)s? (?:was |were |has been |is )?(?:flagged|blocked by)"
    r"|violat(?:es?|ing|ion of) (?:our |the |its |openai's )?(?:usage|content|safety|acceptable)"
    r"|responsible ?ai ?policy|requires moderation|safety_check|敏感内容|不安全或敏感|违规",
    re.IGNORECASE,
)
# what a backend says itself stands at the beginning; what it repeats of a request comes later
_OWN_CHARACTERS: Final = 400

_WORDLESS: Final = "the backend answered {status} without giving a reason: check its log"
# what to do, as the backend's message says only what happened
_ADVICE: Final[Mapping[int, str]] = {
    402: " (add credit to the backend account, or use another key)",
    403: " (the key has no permission for this: use another key or model)",
    408: " (the backend took too long: try again)",
    413: " (the request is too large for the backend: send less, or raise its limit)",
    429: " (the backend's limit for this key: wait, or send less at a time)",
    529: " (the backend has no capacity right now: try again)",
}

# an error inside a 200 answer: its code may be a status; otherwise its code or type implies one
_STATUS: Final = re.compile("[45][0-9][0-9]")
_STATUS_OF_WORD: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "BadRequestError": 400,
    "BadRequest": 400,
    "InvalidParameter": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "data_inspection_failed": 400,
    "DataInspectionFailed": 400,
    "invalid_api_key": 401,
    "AuthenticationError": 401,
    "billing_error": 402,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "NotFoundError": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "RateLimitError": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "timeout_error": 504,
}
# the same for words in any case: of Google, AWS, Alibaba and others
_SEPARATORS: Final = re.compile("[^A-Za-z0-9]+")
_STATUS_OF_FOLDED: Final[Mapping[str, int]] = {
    _SEPARATORS.sub("", word).lower(): status for word, status in _STATUS_OF_WORD.items()
} | {
    word: status
    for status, words in {
        400: "invalidargument failedprecondition outofrange validationerror validationexception invalidrequest "
        "badrequest invalidparameter unprocessableentity unprocessableentityerror invalidrequestexception",
        401: "unauthenticated unauthorized authenticationfailed invalidapikeyerror unauthorizedexception",
        402: "paymentrequired insufficientbalance insufficientcredits insufficientcredit arrearage",
        403: "permissiondenied forbidden permissiondeniederror accessdenied accessdeniedexception",
        404: "notfound modelnotfound modelnotfounderror resourcenotfoundexception",
        408: "requesttimeout",
        429: "resourceexhausted ratelimit ratelimited ratelimitexceedederror toomanyrequests throttling "
        "throttlingexception throttlingratequota servicequotaexceededexception",
        504: "deadlineexceeded timeout gatewaytimeout modeltimeoutexception timeouterror",
        529: "overloaded unavailable serviceunavailable serviceunavailableerror serviceunavailableexception "
        "modelnotreadyexception engineoverloaderror engineoverloaded",
    }.items()
    for word in words.split()
}
# https://platform.minimax.io/docs/api-reference/errorcode
_STATUS_OF_MINIMAX: Final[Mapping[str, int]] = {
    "1001": 504,
    "1002": 429,
    "1004": 401,
    "1008": 402,
    "1026": 400,
    "1027": 400,
    "1039": 429,
    "1041": 429,
    "1042": 400,
    "2013": 400,
    "2045": 429,
    "2049": 401,
    "2056": 429,
}
_NAMED_STATUS: Final = re.compile(r"(?:error code|status(?: code)?|HTTP)[ :=]{1,3}([45][0-9]{2})\b", re.IGNORECASE)
_STATUS_BY_WORDS: Final = (
    (_WRONG_KEY, 401),
    (_NO_RIGHT, 403),
    (_NO_MODEL, 404),
    (re.compile(r"rate.?limit|request limit|too many requests|quota exceeded|exceeded your quota", re.IGNORECASE), 429),
    (re.compile(r"unauthori[sz]ed|authentication (?:failed|error)|login fail", re.IGNORECASE), 401),
    (re.compile(r"invalid (?:param|request|argument|tool|schema|json)|validation error", re.IGNORECASE), 400),
)


class BackendFault(ApiError):
    """An error that the backend returned or caused.

    `counts`: it reflects the backend's health (5xx, 408, a broken stream), not the request or the account. `taken`: the
    backend may have started on the request. `said`: the backend's own words in the message, if any; they may repeat the
    prompt or the answer, so the client may see them but no log may.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        counts: bool = True,
        taken: bool = True,
        said: str = "",
        retry_after: int | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(status, message, retry_after=retry_after, should_retry=should_retry)
        self.counts = counts
        self.taken = taken
        self.said = said

    @property
    def quotes(self) -> bool:
        """Whether the message quotes the backend."""
        return bool(self.said)


def fault_from_response(status: int, headers: Mapping[str, str], body: bytes) -> BackendFault:
    """The fault in a response with an error status."""
    return _fault(status, read_error(body), retry_after(headers))


def fault_in_answer(data: bytes) -> BackendFault:
    """The fault for an error inside a 200 answer: in a chunk, in the data of an `error` event, or in a body."""
    error = read_error(data)
    return _fault(_status_in_answer(error), error, None)


def fault_of_choice(value: Any) -> BackendFault:
    """The fault for the `error` of a choice."""
    error = error_from(value)
    return _fault(_status_in_answer(error), error, None)


def is_error_in_answer(data: bytes) -> bool:
    """Whether data without a choice are an error, in one of the forms without `error`."""
    try:
        return tells_error(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def cut_short() -> BackendFault:
    """The fault for an answer that ended without any sign that it is complete."""
    return BackendFault(502, "the backend's answer broke off before its end; try again")


def malformed(excerpt: str) -> BackendFault:
    """The fault for an answer that is not a chat completion."""
    text = f"the backend sent something that is not a chat completion: {excerpt} (check BACKEND_URL and its log)"
    return BackendFault(502, text, said=excerpt)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """`retry-after` in whole seconds, rounded up; None if it is missing or a date."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        return None
    return int(-(-seconds // 1)) if 0 <= seconds < 1e9 else None


def kind_of(fault: Exception) -> str:
    """The kind of a failed call, for metrics and traces; a retryable 502 is a truncated or malformed answer."""
    if not isinstance(fault, ApiError):
        return "server_error"
    if isinstance(fault, BackendFault) and not fault.taken:
        return "unreachable"
    if fault.status == 502:
        return "bad_answer" if fault.should_retry else "misconfigured"
    kind = fault.type.removesuffix("_error")
    return "server_error" if kind == "api" else kind


def _status_in_answer(error: ErrorBody) -> int:
    """The status of an error that came without one: from its code, its type or its words; 500 if none of them says."""
    if _STATUS.fullmatch(error.code):
        return int(error.code)
    if error.type == BASE_RESP and error.code in _STATUS_OF_MINIMAX:
        return _STATUS_OF_MINIMAX[error.code]
    for word in (error.code, error.type):
        if status := _STATUS_OF_WORD.get(word) or _STATUS_OF_FOLDED.get(_SEPARATORS.sub("", word).lower()):
            return status
    own = error.message[:_OWN_CHARACTERS]
    if named := _NAMED_STATUS.search(own):
        return int(named[1])
    return next((status for pattern, status in _STATUS_BY_WORDS if pattern.search(own)), 500)


def _status_by_words(status: int, words: str) -> int:
    """The status that fits what the backend says better than its own."""
    if status != 429 and _POLICY.search(words):
        return 400
    if status in (401, 404) and _NO_RIGHT.search(words):
        return 403
    if status in (400, 403) and _WRONG_KEY.search(words):
        return 401
    if status == 401 and _NOT_SERVED.search(words):
        return 404
    # at a 404, Claude Code blames the model's name
    return 400 if status == 404 and _NO_ENDPOINT.search(words) else status


def _fault(status: int, error: ErrorBody, wait: int | None) -> BackendFault:
    """The client's error for a backend error, chosen by the backend's status and message."""
    if status in (400, 413, 422, 500) and (overflow := overflow_message(error)):
        return BackendFault(400, overflow, counts=False, said=error.message)
    message = f"backend: {error.message}" if error.message != "no message" else _WORDLESS.format(status=status)
    own = f"{error.message[:_OWN_CHARACTERS]} {error.type} {error.code}"
    if status == 402 or ((_NO_CREDIT.search(own) or _NO_MONEY.search(own)) and not _RATE.search(own)):
        # retrying does not add credit
        message += _ADVICE[402]
        return BackendFault(402, message, counts=False, said=error.message, should_retry=False)
    if status == 404 and _NO_PATH.fullmatch(error.message):
        # Claude Code would blame the model's name for a 404
        message = (
            "the backend has nothing at this path (404): correct BACKEND_URL; `claude-gateway check` finds the path"
        )
        return BackendFault(502, message, counts=False, should_retry=False)
    status = _status_by_words(status, own)
    counts = status >= 500 or status == 408
    if status == 500 and _CLIENT_FAULT.search(error.message):
        status, counts = 400, False
    elif status == 400 and _NO_MODEL.search(error.message):
        status = 404
    elif status == 503 or ((status == 429 or status >= 500) and _CAPACITY.search(error.message)):
        status = 529
    elif status == 401:
        message += " (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)"
    elif status < 500 and status not in _PASSED:
        status = 400
    message += _ADVICE.get(status, "")
    if wait is not None:
        wait = min(wait, _LONGEST_RETRY_AFTER)
    return BackendFault(status, message, counts=counts, said=error.message, retry_after=wait)
