"""What to do about an error, for whoever runs the gateway."""

from typing import Final

# by outcome and status of the answer; an answer that fails once it has begun has status 200
_ADVICE: Final[dict[tuple[str, int | None], str]] = {
    ("refused", 400): "The client sent what the Messages API does not take; the message names the field.",
    ("refused", 401): "Give the client the right key: ANTHROPIC_AUTH_TOKEN in its settings, and no sk-ant-… token.",
    ("refused", 404): "Choose a model from the list below, or give it another name with MODEL_MAP.",
    ("refused", 408): "The client was too slow with its request; REQUEST_TIMEOUT_SECS allows more.",
    ("refused", 413): "The request is larger than MAX_BODY_MIB allows; compact the conversation, or raise it.",
    ("refused", 429): "The client's key is at its own limit; raise requests= or streams= of that key.",
    ("refused", 500): "A fault of the gateway: its log tells more under the request id. Please report it.",
    ("refused", 529): "The breaker is open, MAX_STREAMS is reached, or the gateway is ending; clients come again.",
    ("backend_fault", 200): "The backend failed in the middle of an answer; its own log should say why.",
    ("backend_fault", 400): "The backend refuses the request; if all are refused, set BACKEND_PROFILE to its kind.",
    ("backend_fault", 401): "The backend refuses the key: check the client's token, or BACKEND_API_KEY.",
    ("backend_fault", 402): "The account at the backend has no credit.",
    ("backend_fault", 403): "The backend does not let this key use the model; check what the key may do.",
    ("backend_fault", 404): "The backend has no such path or model: check BACKEND_URL and the model's name.",
    ("backend_fault", 413): "The prompt is too large for the backend; the client compacts, or choose a longer context.",
    ("backend_fault", 429): "The backend limits how much you ask; clients wait and ask again.",
    ("backend_fault", 500): "The backend failed; its own log should say why.",
    ("backend_fault", 502): "Check that the backend runs and that BACKEND_URL leads to it.",
    ("backend_fault", 503): "The backend is starting or overloaded; clients ask again.",
    ("backend_fault", 504): "The backend was silent too long: it is overloaded, or BACKEND_TIMEOUT_SECS is too short.",
    ("backend_fault", 529): "The backend is overloaded; clients ask again.",
    ("client_gone", None): "The client was cut because it took nothing; CLIENT_TIMEOUT_SECS allows more.",
}
_OTHERWISE: Final = "The gateway's log has a line for it."


def advice(outcome: str, status: int | None) -> str:
    """One sentence for an outcome and a status."""
    if found := _ADVICE.get((outcome, status)):
        return found
    if outcome == "client_gone":
        return _ADVICE["client_gone", None]
    if outcome == "backend_fault" and status is not None:
        return _ADVICE["backend_fault", 400 if status < 500 else 500]
    return _OTHERWISE
