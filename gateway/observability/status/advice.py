"""What to do about an error: advice for the gateway's operator."""

from typing import Final

# by outcome and HTTP status; a stream that fails after its start has status 200
_ADVICE: Final[dict[tuple[str, int | None], str]] = {
    ("refused", 400): "The client sent a request that the Messages API does not accept; the message names the field.",
    ("refused", 401): "Give the client the right key: ANTHROPIC_AUTH_TOKEN in its settings, and no sk-ant-… token.",
    ("refused", 404): "Choose a model from the list below, or map the name to one with MODEL_MAP.",
    ("refused", 408): "The client was too slow to send its request; raise REQUEST_TIMEOUT_SECS to allow more time.",
    ("refused", 413): "The request is larger than MAX_BODY_MIB; compact the conversation, or raise the limit.",
    ("refused", 429): "The client's key has reached its limit; raise requests= or streams= of that key.",
    ("refused", 500): "An error in the gateway: its log says more under the request id. Please report it.",
    ("refused", 529): "The breaker is open, MAX_STREAMS is reached, or the gateway is shutting down; clients retry.",
    ("backend_fault", 200): "The backend failed in the middle of an answer; its own log should say why.",
    ("backend_fault", 400): "The backend refuses the request; if it refuses all, set BACKEND_PROFILE to its kind.",
    ("backend_fault", 401): "The backend refuses the key: check the client's token, or BACKEND_API_KEY.",
    ("backend_fault", 402): "The account at the backend has no credit.",
    ("backend_fault", 403): "The backend does not let this key use the model; check the key's permissions.",
    ("backend_fault", 404): "The backend has no such path or model: check BACKEND_URL and the model's name.",
    ("backend_fault", 413): "The prompt is too large for the backend; the client compacts, or use a larger context.",
    ("backend_fault", 429): "The backend's rate limit is reached; clients wait and retry.",
    ("backend_fault", 500): "The backend failed; its own log should say why.",
    ("backend_fault", 502): "Check that the backend is running and that BACKEND_URL leads to it.",
    ("backend_fault", 503): "The backend is starting or overloaded; clients retry.",
    ("backend_fault", 504): "The backend was silent too long: it is overloaded, or BACKEND_TIMEOUT_SECS is too short.",
    ("backend_fault", 529): "The backend is overloaded; clients retry.",
    (
        "client_gone",
        None,
    ): "The client was disconnected because it read nothing; raise CLIENT_TIMEOUT_SECS to allow more.",
}
_OTHERWISE: Final = "The gateway's log has a line about it."


def advice(outcome: str, status: int | None) -> str:
    """The advice for an outcome and an HTTP status."""
    if found := _ADVICE.get((outcome, status)):
        return found
    if outcome == "client_gone":
        return _ADVICE["client_gone", None]
    if outcome == "backend_fault" and status is not None:
        return _ADVICE["backend_fault", 400 if status < 500 else 500]
    return _OTHERWISE
