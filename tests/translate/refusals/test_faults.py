"""A backend's errors as Anthropic's: status, type, words, and whether it helps to try again.

Texts that tell of a prompt that is too long are in test_overflow.py.
"""

import json
from typing import Any

import pytest

from gateway.translate.refusals.faults import (
    BackendFault,
    cut_short,
    fault_from_response,
    fault_in_answer,
    malformed,
    retry_after,
)


def fault(status: int, body: Any, **headers: str) -> BackendFault:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fault_from_response(status, {name.replace("_", "-"): value for name, value in headers.items()}, sent)


def said(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(
            401,
            said("Incorrect API key provided: sk-x.", type="invalid_request_error", code="invalid_api_key"),
            (
                401,
                "authentication_error",
                "Incorrect API key provided: sk-x. (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)",
            ),
            id="openai: wrong key",
        ),
        pytest.param(
            401,
            {"detail": "Invalid token"},
            (
                401,
                "authentication_error",
                "Invalid token (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)",
            ),
            id="chutes: wrong key",
        ),
        pytest.param(
            401,
            {"error": "Unauthorized"},
            (
                401,
                "authentication_error",
                "Unauthorized (the backend refuses the key: check ANTHROPIC_AUTH_TOKEN, or the gateway's BACKEND_API_KEY)",
            ),
            id="vllm: wrong key",
        ),
        pytest.param(
            402,
            said("Insufficient credits", code=402),
            (402, "billing_error", "Insufficient credits (add credit to the backend account, or use another key)"),
            id="openrouter: no credit",
        ),
        pytest.param(
            402,
            said("Insufficient Balance"),
            (402, "billing_error", "Insufficient Balance (add credit to the backend account, or use another key)"),
            id="deepseek: no credit",
        ),
        pytest.param(
            402,
            said("Payment Required"),
            (402, "billing_error", "Payment Required (add credit to the backend account, or use another key)"),
            id="payment required",
        ),
        pytest.param(
            429,
            said("You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota"),
            (
                402,
                "billing_error",
                "You exceeded your current quota. (add credit to the backend account, or use another key)",
            ),
            id="openai: no quota",
        ),
        pytest.param(
            403,
            said("Not allowed here"),
            (
                403,
                "permission_error",
                "Not allowed here (the key has no permission for this: use another key or model)",
            ),
            id="forbidden",
        ),
        pytest.param(
            404,
            said("The model `x` does not exist or you do not have access to it.", code="model_not_found"),
            (404, "not_found_error", "The model `x` does not exist or you do not have access to it."),
            id="openai: unknown model",
        ),
        pytest.param(
            404,
            said("The model `x` does not exist.", type="NotFoundError", code=404),
            (404, "not_found_error", "The model `x` does not exist."),
            id="vllm: unknown model",
        ),
        pytest.param(
            400,
            said("model 'x' not found", type="invalid_request_error", code=400),
            (404, "not_found_error", "model 'x' not found"),
            id="llama.cpp router: unknown model",
        ),
        pytest.param(
            405,
            {"detail": "Method Not Allowed"},
            (400, "invalid_request_error", "Method Not Allowed"),
            id="wrong method",
        ),
        pytest.param(
            422,
            {"detail": [{"loc": ["body", "top_k"], "msg": "extra fields not permitted"}]},
            (400, "invalid_request_error", "body.top_k: extra fields not permitted"),
            id="fastapi: unprocessable",
        ),
        pytest.param(
            400,
            said("`tools` must not be an empty array", type="BadRequestError", param=None, code=400),
            (400, "invalid_request_error", "`tools` must not be an empty array"),
            id="bad request",
        ),
        pytest.param(
            400,
            {"object": "error", "message": "Bad value", "type": "BadRequestError", "code": 400},
            (400, "invalid_request_error", "Bad value"),
            id="flat",
        ),
        pytest.param(
            400,
            [{"error": {"code": 400, "message": "Invalid JSON payload received.", "status": "INVALID_ARGUMENT"}}],
            (400, "invalid_request_error", "Invalid JSON payload received."),
            id="gemini: an array",
        ),
        pytest.param(
            400,
            said("unknown method: overloaded"),
            (400, "invalid_request_error", "unknown method: overloaded"),
            id="a word of capacity in a bad request",
        ),
        pytest.param(409, said("Conflict"), (409, "conflict_error", "Conflict"), id="conflict"),
        pytest.param(
            413,
            said("Body too large"),
            (
                413,
                "request_too_large",
                "Body too large (the request is too large for the backend: send less, or raise its limit)",
            ),
            id="too large",
        ),
        pytest.param(418, said("Teapot"), (400, "invalid_request_error", "Teapot"), id="another client error"),
        pytest.param(
            500,
            said(
                "image input is not supported - hint: you may need to provide the mmproj", type="server_error", code=500
            ),
            (400, "invalid_request_error", "image input is not supported - hint: you may need to provide the mmproj"),
            id="llama.cpp: image",
        ),
        pytest.param(
            500,
            said("[json.exception.parse_error.101] parse error at line 1, column 64", type="server_error", code=500),
            (400, "invalid_request_error", "[json.exception.parse_error.101] parse error at line 1, column 64"),
            id="llama.cpp: bad JSON",
        ),
        pytest.param(
            500,
            said("Failed to parse tools: Unsupported tool type: x", type="server_error"),
            (400, "invalid_request_error", "Failed to parse tools: Unsupported tool type: x"),
            id="llama.cpp: tool type",
        ),
        pytest.param(
            500,
            said("Failed to parse tool call arguments as JSON: x"),
            (400, "invalid_request_error", "Failed to parse tool call arguments as JSON: x"),
            id="llama.cpp: arguments in the history",
        ),
    ],
)
def test_faults_that_do_not_heal(status: int, body: Any, expected: tuple[int, str, str]) -> None:
    found = fault(status, body, retry_after="5")
    assert (found.status, found.type, found.message) == (expected[0], expected[1], f"backend: {expected[2]}")
    assert (found.should_retry, found.counts, found.quotes) == (False, False, True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(
            408,
            said("Too slow"),
            (408, "timeout_error", "Too slow (the backend took too long: try again)"),
            id="timeout",
        ),
        pytest.param(
            429,
            said(
                "Rate limit reached for model: Limit 6000, Requested 7000 tokens per minute", code="rate_limit_exceeded"
            ),
            (
                429,
                "rate_limit_error",
                "Rate limit reached for model: Limit 6000, Requested 7000 tokens per minute (the backend's limit for this key: wait, or send less at a time)",
            ),
            id="rate limit",
        ),
        pytest.param(
            429,
            {"detail": "No infrastructure available to serve request"},
            (
                529,
                "overloaded_error",
                "No infrastructure available to serve request (the backend has no capacity right now: try again)",
            ),
            id="chutes: no capacity",
        ),
        pytest.param(
            500,
            {"detail": "No infrastructure available to serve request"},
            (
                529,
                "overloaded_error",
                "No infrastructure available to serve request (the backend has no capacity right now: try again)",
            ),
            id="chutes: no capacity, another status",
        ),
        pytest.param(
            429,
            said(
                "Provider returned error",
                code=429,
                metadata={"raw": '{"error":"x is temporarily rate-limited upstream"}'},
            ),
            (
                529,
                "overloaded_error",
                "Provider returned error: x is temporarily rate-limited upstream (the backend has no capacity right now: try again)",
            ),
            id="openrouter: no capacity",
        ),
        pytest.param(
            503,
            said("Loading model", type="unavailable_error", code=503),
            (529, "overloaded_error", "Loading model (the backend has no capacity right now: try again)"),
            id="llama.cpp: loading",
        ),
        pytest.param(
            500,
            said("EngineCore encountered an issue.", type="InternalServerError", code=500),
            (500, "api_error", "EngineCore encountered an issue."),
            id="vllm: dead engine",
        ),
        pytest.param(
            500,
            said("The model produced output that does not match the expected peg-native format", type="server_error"),
            (500, "api_error", "The model produced output that does not match the expected peg-native format"),
            id="llama.cpp: odd output",
        ),
        pytest.param(
            502,
            said("upstream: parse_error"),
            (502, "api_error", "upstream: parse_error"),
            id="a proxy's own trouble",
        ),
        pytest.param(
            503,
            said("model 'x' not found on any worker"),
            (
                529,
                "overloaded_error",
                "model 'x' not found on any worker (the backend has no capacity right now: try again)",
            ),
            id="a model that is not there yet",
        ),
        pytest.param(502, said("Bad Gateway"), (502, "api_error", "Bad Gateway"), id="bad gateway"),
        pytest.param(
            504, said("Upstream timed out"), (504, "timeout_error", "Upstream timed out"), id="gateway timeout"
        ),
        pytest.param(
            529,
            said("Overloaded"),
            (529, "overloaded_error", "Overloaded (the backend has no capacity right now: try again)"),
            id="overloaded",
        ),
    ],
)
def test_faults_that_heal(status: int, body: Any, expected: tuple[int, str, str]) -> None:
    found = fault(status, body, retry_after="5")
    assert (found.status, found.type, found.message) == (expected[0], expected[1], f"backend: {expected[2]}")
    # a limit is the account's, and says nothing of the backend's health
    assert (found.should_retry, found.counts, found.quotes) == (True, status != 429, True)
    assert found.headers() == {"x-should-retry": "true", "retry-after": "5"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"type": "error", "error": {"type": "CreditsError", "message": "Insufficient balance. Manage it here: x"}}),
        (401, {"type": "error", "error": {"type": "CreditsError", "message": "No payment method. Add one here: x"}}),
        (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
        (429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}}),
        (400, said("Access denied, please make sure your account is in good standing.", code="Arrearage")),
        (403, said("The request failed because your account has an overdue balance.", code="AccountOverdueError")),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
        (429, said("Your account org-x is suspended, please check your account balance", type="exceeded_current_quota_error")),
        (403, said("Your newly created team doesn't have any credits yet.")),
        (429, said("Your team x has either used all available credits or reached its monthly spending limit.")),
        (400, said("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error")),
        (402, said("This request requires more credits, or fewer max_tokens.", code=402)),
        (403, said("Key limit exceeded (weekly limit). Manage it using https://openrouter.ai/settings/keys", code=403)),
        (429, said("Your account is not active, please check your billing details on our website.", code="billing_not_active")),
        (400, said("Billing hard limit has been reached", code="billing_hard_limit_reached")),
        (412, said("Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices")),
        (429, said("Your prepayment credits are depleted. Please go to AI Studio to manage your billing.", code=429)),
        (403, said("This API method requires billing to be enabled.", code=403, status="PERMISSION_DENIED")),
        (400, said("Budget has been exceeded! Current cost: 1.1, Max budget: 1.0", type="budget_exceeded", code=400)),
        (403, said("用户额度不足, 剩余额度: 0.00", type="new_api_error", code="insufficient_user_quota")),
    ],
    ids=["OpenCode", "OpenCode, no card", "Zhipu", "z.ai", "DashScope", "Ark", "SiliconFlow", "Kimi", "xAI, new", "xAI", "Anthropic", "OpenRouter", "OpenRouter's key", "OpenAI, inactive", "OpenAI, limit", "Fireworks", "Gemini", "Gemini, free", "LiteLLM", "new-api"],
)  # fmt: skip
def test_no_money_is_a_billing_error_whatever_the_status(status: int, body: Any) -> None:
    for found in (fault(status, body, retry_after="5"), fault_in_answer(json.dumps(body).encode())):
        assert (found.status, found.type, found.should_retry, found.counts) == (402, "billing_error", False, False)
        assert "add credit to the backend account" in found.message
        assert "refuses the key" not in found.message


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3. Please add a payment method to your account.",
        "Rate limit reached for model x on tokens per minute (TPM): Limit 6000. Upgrade at https://console.groq.com/settings/billing",
        "You exceeded your current quota, please check your plan and billing details. Please retry in 12.5s.",
    ],
)  # fmt: skip
def test_a_rate_that_more_money_would_raise_is_a_rate(message: str) -> None:
    found = fault(429, said(message))
    assert (found.status, found.type, found.should_retry) == (429, "rate_limit_error", True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, said("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"), 401),
        (400, said("Incorrect API key provided: xx***yy. You can obtain one from x."), 401),
        (403, said("Invalid API Key", code="invalid_api_key"), 401),
        (401, said("key not allowed to access model. This key can only access models=['x'].", type="key_model_access_denied"), 403),
        (401, said("You have insufficient permissions for this operation. Missing scopes: model.request."), 403),
        (404, said("Your organization must be verified to use the model `gpt-5`.", code="model_not_found"), 403),
        (404, said("No endpoints found that support tool use. To learn more, visit: x", code=404), 400),
        (404, said("No endpoints found matching your data policy (Free model publication).", code=404), 400),
        (404, said("No endpoints found that can handle the requested parameters.", code=404), 400),
        (404, said("No allowed providers are available for the selected model.", code=404), 400),
        (404, said("No endpoints found for z-ai/glm-9.", code=404), 404),
        (401, {"type": "error", "error": {"type": "ModelError", "message": "Model x is not supported"}}, 404),
        (400, said("Model Not Exist"), 404),
    ],
    ids=["Gemini's key", "xAI's key", "a key", "LiteLLM", "OpenAI's scopes", "OpenAI's verified", "tools", "policy", "parameters", "providers", "a name", "OpenCode's name", "DeepSeek's name"],
)  # fmt: skip
def test_the_words_say_more_than_the_status(status: int, body: Any, expected: int) -> None:
    found = fault(status, body)
    assert (found.status, found.should_retry, found.counts) == (expected, False, False)
    assert ("refuses the key" in found.message) == (expected == 401)


@pytest.mark.parametrize(
    "body",
    [
        said("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", code="content_filter"),
        said("Input data may contain inappropriate content.", type="data_inspection_failed", code="data_inspection_failed"),
        said("Output data may contain inappropriate content.", code="DataInspectionFailed"),
        said("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"),
        said("Your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"),
        said("The request was rejected because it was considered high risk", type="content_filter"),
        said("Content Exists Risk", type="invalid_request_error"),
        said("Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
        said("input new_sensitive (1026)"),
        said("The request failed because the input text may contain sensitive information.", code="InputTextSensitiveContentDetected"),
    ],
    ids=["Azure", "DashScope", "DashScope's output", "Zhipu", "OpenAI", "Kimi", "DeepSeek", "xAI", "MiniMax", "Ark"],
)  # fmt: skip
def test_what_is_against_a_policy_is_not_asked_again(body: Any) -> None:
    for found in (fault(400, body), fault(403, body), fault(500, body), fault_in_answer(json.dumps(body).encode())):
        assert (found.status, found.should_retry, found.counts, found.quotes) == (400, False, False, True)
        assert "refuses the key" not in found.message


@pytest.mark.parametrize("body", [b"", b"<html><h1>502</h1></html>", b"{}", b"[]", b'{"error":{}}', b'{"error":""}'])
def test_an_error_without_words_names_its_status(body: bytes) -> None:
    assert fault(502, body).message == "the backend answered 502 without giving a reason: check its log"


def test_the_backends_own_words_are_told_apart() -> None:
    assert fault(401, said("Wrong key")).said == fault(500, said("Wrong key")).said == "Wrong key"
    assert fault(402, said("Insufficient credits")).said == "Insufficient credits"
    assert fault(400, said("Input is too long for requested model.")).said == "Input is too long for requested model."
    assert malformed("'x'").said == "'x'"
    assert cut_short().said == ""


def test_an_account_without_credit_is_not_told_to_wait() -> None:
    found = fault(429, said("insufficient_quota"), retry_after="3600")
    assert found.headers() == {"x-should-retry": "false"}


def test_the_envelope_is_anthropics() -> None:
    assert json.loads(fault(404, said("No such model", code=404)).body("req_1")) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "backend: No such model"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("5", 5),
        (" 7 ", 7),
        ("0.2", 1),
        ("2.5", 3),
        ("3600", 3600),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e12", None),
        ("soon", None),
        ("", None),
        pytest.param("Sun, 22 Nov 2026 12:00:00 GMT", None, id="a date"),
    ],
)
def test_retry_after_in_whole_seconds(value: str, seconds: int | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_no_retry_after() -> None:
    assert retry_after({}) is None
    assert fault(429, said("Slow down")).headers() == {"x-should-retry": "true"}


@pytest.mark.parametrize(("asked", "given"), [("59", "59"), ("60", "60"), ("61", "60"), ("3600", "60")])
def test_a_client_is_never_told_to_wait_so_long_that_it_gives_up(asked: str, given: str) -> None:
    assert fault(429, said("Slow down"), retry_after=asked).headers()["retry-after"] == given


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param({"code": 404}, 404, id="a number"),
        pytest.param({"code": "404"}, 404, id="a number in text"),
        pytest.param({"code": 399}, 500, id="no error's number"),
        pytest.param({"code": 600}, 500, id="no status"),
        pytest.param({"code": 4040}, 500, id="too long"),
        pytest.param({"code": None, "type": "invalid_request_error"}, 400, id="anthropic's type"),
        pytest.param({"type": "BadRequestError"}, 400, id="vllm's type"),
        pytest.param({"type": "NotFoundError"}, 404, id="vllm's other type"),
        pytest.param({"type": "authentication_error"}, 401, id="authentication"),
        pytest.param({"type": "permission_error"}, 403, id="permission"),
        pytest.param({"type": "not_found_error"}, 404, id="not found"),
        pytest.param({"type": "rate_limit_error"}, 429, id="rate limit"),
        pytest.param({"type": "requests", "code": "rate_limit_exceeded"}, 429, id="openai's code"),
        pytest.param({"type": "insufficient_quota", "code": "insufficient_quota"}, 402, id="quota"),
        pytest.param({"type": "overloaded_error"}, 529, id="overloaded"),
        pytest.param({"type": "timeout_error"}, 504, id="timeout"),
        pytest.param({"type": "server_error"}, 500, id="server"),
        pytest.param({}, 500, id="nothing"),
    ],
)
def test_an_error_inside_an_answer_says_its_status_itself(error: dict[str, Any], status: int) -> None:
    found = fault_in_answer(json.dumps({"error": {"message": "No", **error}}).encode())
    assert (found.status, found.counts) == (status, status >= 500)


def test_faults_of_our_own_making() -> None:
    assert (cut_short().status, cut_short().counts, cut_short().quotes) == (502, True, False)
    found = malformed("'x'")
    assert (found.status, found.message, found.quotes) == (
        502,
        "the backend sent something that is not a chat completion: 'x' (check BACKEND_URL and its log)",
        True,
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail":"Not Found"}',
        b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}',
        b"404 page not found",
        b"404: Not Found",
        b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}',
        b"<html><head><title>404 Not Found</title></head></html>",
        b"",
    ],
    ids=["FastAPI", "llama.cpp", "Go", "aiohttp", "LM Studio", "nginx", "nothing"],
)
def test_a_path_that_the_backend_does_not_have_is_a_wrong_setting(body: bytes) -> None:
    found = fault_from_response(404, {}, body)
    assert found.status == 502  # at a 404, Claude Code tells its user to pick another model
    assert (
        found.message
        == "the backend has nothing at this path (404): correct BACKEND_URL; `claude-gateway check` finds the path"
    )
    assert (found.counts, found.should_retry) == (False, False)


@pytest.mark.parametrize("message", ["The model `x` does not exist.", "model 'x' not found", "No such file: x"])
def test_a_404_about_something_else_stays_one(message: str) -> None:
    found = fault_from_response(404, {}, json.dumps({"error": {"message": message}}).encode())
    assert (found.status, found.message) == (404, f"backend: {message}")


@pytest.mark.parametrize(
    "body",
    [
        said("x" * 200_000),
        {"error": {"message": {"x": "y" * 200_000}}},
        {"detail": [{"loc": ["body"], "msg": "z" * 200_000}]},
        ("w" * 200_000).encode(),
        said("Provider returned error", metadata={"raw": json.dumps(said("v" * 200_000))}),
        said("maximum context length is 9 tokens" + "u" * 200_000),
        b'{"message":"t","code":' + b"1" * 5_000 + b"}",
        b"1" * 5_000,
        said("s", code="r" * 200_000, type="q" * 200_000),
    ],
    ids=["text", "object", "FastAPI", "no JSON", "OpenRouter", "too long", "code", "number", "words"],
)
def test_a_message_is_bounded(body: Any) -> None:
    error = fault(400, body)

    assert error.status == 400
    assert len(error.message) < 4096 + 300
    assert len(error.said) <= 4096
