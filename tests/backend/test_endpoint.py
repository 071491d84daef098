import pytest

from gateway.backend.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("given", "chat", "models"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1/models"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1/models"),
        ("http://h:1/v1", "http://h:1/v1/chat/completions", "http://h:1/v1/models"),
        ("http://h:1/v1/", "http://h:1/v1/chat/completions", "http://h:1/v1/models"),
        (" http://h:1/v1/chat/completions ", "http://h:1/v1/chat/completions", "http://h:1/v1/models"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions", "https://openrouter.ai/api/v1/models"),
        ("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4/chat/completions", "https://api.z.ai/api/paas/v4/models"),
        ("https://g.com/v1beta/openai", "https://g.com/v1beta/openai/chat/completions", "https://g.com/v1beta/openai/models"),
        ("https://a.com/openai/v1?api-version=1", "https://a.com/openai/v1/chat/completions?api-version=1", "https://a.com/openai/v1/models?api-version=1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions", "http://[::1]:8000/v1/models"),
    ],
)  # fmt: skip
def test_root_version_and_full_path_mean_the_same(given: str, chat: str, models: str) -> None:
    endpoint = parse_endpoint(given)

    assert (str(endpoint.chat), str(endpoint.models)) == (chat, models)


def test_what_is_shown_holds_no_secret() -> None:
    endpoint = parse_endpoint("https://h.com/v1?key=secret")

    assert endpoint.shown == "https://h.com/v1/chat/completions"
    assert endpoint.models_shown == "https://h.com/v1/models"
    assert endpoint.host == "h.com"


@pytest.mark.parametrize("given", ["https://user:secret@h.com/v1", "https://secret@h.com", "https://:secret@h.com"])
def test_a_user_and_a_password_are_refused(given: str) -> None:
    with pytest.raises(
        ValueError, match="must not contain a user or password: put a key into BACKEND_API_KEY"
    ) as caught:
        parse_endpoint(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["", "localhost:8000", "ftp://h", "/v1", "http://", "http://h:port", "http://h:99999", "http://[::1"]
)
def test_what_is_no_url_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        parse_endpoint(given)
