"""Is there a backend at all? Connection, TLS, key, models."""

from difflib import get_close_matches
from typing import Final

from yarl import URL

from gateway.anthropic.errors import ApiError
from gateway.commands.check.rows import Finding
from gateway.commands.check.visit import Visit
from gateway.commands.check.wire import NoReply, Reply, tls_finding
from gateway.openai.models import Model, decode_models
from gateway.translate.refusals.faults import BackendFault, fault_from_response

# the paths where servers and hosted APIs serve their model list
_ELSEWHERE: Final = (
    "/v1/models",
    "/api/v1/models",
    "/openai/v1/models",
    "/v1beta/openai/models",
    "/inference/v1/models",
    "/models",
)
_NO_CHAT: Final = ("embed", "rerank", "whisper", "tts", "moderation", "dall-e")
_NEXT: Final = "give the key with BACKEND_API_KEY, --token-file or --ask-token"


async def reachable(visit: Visit) -> Finding:
    """Does an HTTP server answer, and is the path that of an API?"""
    try:
        reply = await visit.wire.ask("GET", visit.endpoint.models)
    except NoReply as failure:
        visit.found.reply = failure
        if failure.insecure:
            return Finding("good", f"{visit.endpoint.host} answers")
        return failure.finding
    visit.found.reply = reply
    if reply.status in (404, 405):
        return await _path_is_wrong(visit, reply)
    if 300 <= reply.status < 400:
        target = reply.headers.get("location", "nowhere").partition("?")[0]
        return Finding("bad", f"it redirects to {visit.secrets.quote(target)}", "set BACKEND_URL to that address")
    if reply.status >= 500:
        said = f"it answers {reply.status}" + (f", with a web page: “{reply.title}”" if reply.is_page else "")
        return Finding(
            "bad", visit.secrets.quote(said), "check the server's log: it may be starting, or only a proxy is running"
        )
    if reply.is_page and reply.status not in (401, 403):
        return await _page(visit, reply)
    return Finding("good", f"{visit.endpoint.shown}", "", {"status": reply.status})


async def _page(visit: Visit, reply: Reply) -> Finding:
    title = f": “{visit.secrets.quote(reply.title)}”" if reply.title else ""
    found = await _elsewhere(visit)
    remedy = (
        f"set BACKEND_URL={found}"
        if found
        else "BACKEND_URL must lead to an API, not to a user interface or a login page: find its port and path in the "
        "server's documentation"
    )
    return Finding("bad", f"a web page answers, not an API{title}", remedy)


async def _path_is_wrong(visit: Visit, reply: Reply) -> Finding:
    """The model list is not at its path: the backend may have none, or BACKEND_URL's path may be wrong."""
    chat = await visit.wire.ask("POST", visit.endpoint.chat, {})
    if chat.status not in (404, 405) and not chat.is_page:
        return Finding("good", f"{visit.endpoint.shown}", "", {"status": chat.status})
    if found := await _elsewhere(visit):
        return Finding("bad", f"nothing at {visit.endpoint.models.path} ({reply.status})", f"set BACKEND_URL={found}")
    return Finding(
        "bad",
        f"a web server answers, but has neither {visit.endpoint.models.path} nor {visit.endpoint.chat.path}",
        "set BACKEND_URL to the full path of chat completions, as given in the server's documentation",
    )


async def _elsewhere(visit: Visit) -> str | None:
    """The BACKEND_URL that does lead to a model list, or None."""
    for path in _ELSEWHERE:
        url = visit.endpoint.models.with_path(path)
        if url == visit.endpoint.models:
            continue
        try:
            reply = await visit.wire.ask("GET", url)
        except NoReply:
            return None
        if reply.is_list or (reply.status in (401, 403) and not reply.is_page):
            return _setting(url)
    return None


def _setting(models: URL) -> str:
    base = models.path.removesuffix("/models")
    return str(models.with_path(base or "/chat/completions").with_query(None))


async def tls(visit: Visit) -> Finding:
    """Is the connection secure?"""
    reply = visit.found.reply
    if isinstance(reply, Reply):
        return await tls_finding(visit.endpoint.chat)
    return reply.finding if reply is not None else Finding("unknown", "not asked")


async def key(visit: Visit) -> Finding:
    """Does the backend accept the key, if it requires one? The model list may be public, so this also asks a model."""
    given = bool(visit.token or visit.settings.backend_api_key)
    reply = visit.found.reply
    if isinstance(reply, Reply) and reply.status in (401, 403):
        return _refused(visit, fault_from_response(reply.status, reply.headers, reply.body), given=given)
    _choose(visit)
    try:
        visit.found.hello = await visit.asker.ask("Say hello.", max_tokens=64, stream=False)
    except ApiError as fault:
        if fault.status in (401, 403):
            return _refused(visit, fault, given=given)
        if fault.status == 402:
            return Finding("bad", visit.secrets.quote(fault.message), "add credit to your account at the backend")
        # other faults belong to the next rows: a server that complains about the request has accepted the key
        if fault.status not in (400, 404):
            return Finding("unknown", "no answer came that would show it", "see the rows below")
    if not given:
        return Finding("good", "none is required: any word works as ANTHROPIC_AUTH_TOKEN")
    return Finding("good", "accepted")


def _refused(visit: Visit, fault: ApiError, *, given: bool) -> Finding:
    said = visit.secrets.quote(fault.said if isinstance(fault, BackendFault) and fault.said else fault.message)
    if not given:
        return Finding("bad", f"one is required ({said})", _NEXT, {"status": fault.status})
    words = "the key is refused" if fault.status == 401 else "the key is known but lacks the rights for this"
    remedy = "copy the whole key from the backend again, and check that it is for this backend"
    if fault.status == 403:
        remedy = "give the key access to this model at the backend, or use another key"
    return Finding("bad", f"{words} ({fault.status}: {said})", remedy, {"status": fault.status})


def _choose(visit: Visit) -> None:
    """Choose the model that the user or MODEL_MAP names, otherwise the first one that can chat."""
    reply = visit.found.reply
    if isinstance(reply, Reply) and reply.is_list:
        visit.found.models = decode_models(reply.body)
    listed = visit.found.models
    name = visit.wanted or visit.settings.model_map.target("claude-sonnet") or ""
    by_name = {model.id.lower(): model for model in reversed(listed)}
    chats = [model for model in listed if not any(word in model.id.lower() for word in _NO_CHAT)]
    first = (chats or listed or [Model(id="default")])[0]
    visit.choose((by_name.get(name.lower()) or Model(id=name)) if name else first)


async def models(visit: Visit) -> Finding:
    """Does the backend have the chosen model?"""
    reply, listed, chosen = visit.found.reply, visit.found.models, visit.asker.model
    facts = {"count": len(listed), "chosen": chosen}
    if isinstance(reply, Reply) and not reply.is_list:
        if visit.found.hello is None:
            return Finding("bad", "the backend serves no model list", "name one of its models: --model NAME", facts)
        said = f"the backend serves no model list; {chosen} answers"
        return Finding("partly", said, "Claude Code's /model cannot list models: name the model in its settings", facts)
    if not listed:
        return Finding(
            "bad", "the model list is empty", "load a model into the server (Ollama: ollama pull NAME)", facts
        )
    ids = [model.id for model in listed]
    if chosen not in ids:
        near = get_close_matches(chosen, ids, n=3, cutoff=0.4) or ids[:5]
        said, remedy = f"there is no model {chosen!r} among {len(ids)}", f"--model {' or '.join(near)}"
        return Finding("bad", said, remedy, facts)
    others = f", and {len(ids) - 1} more" if len(ids) > 1 else ""
    return Finding(
        "good", f"{chosen}{others}", "" if visit.wanted or len(ids) == 1 else "use --model NAME to check another", facts
    )
