"""The settings to use, derived from the findings: the gateway's, and Claude Code's."""

from typing import Any, Final

from msgspec import structs

from gateway.backend.profiles import PROFILES
from gateway.commands.check.visit import Visit
from gateway.openai.profile import Profile

# the client's default output limit, which the settings override only where the model allows less
_CLIENT_OUTPUT: Final = 32_000
# the client reserves room for the answer: at most 1/4 of the window
_OUTPUT_PART: Final = 4
# the client raises a smaller compaction window to this value and warns at each start; the model's own window still
# applies
_LEAST_COMPACT_WINDOW: Final = 100_000


def profile_name(visit: Visit) -> str:
    """The BACKEND_PROFILE to set; `auto` if that selects the right profile."""
    if visit.settings.backend_profile is not None:
        return visit.settings.backend_profile.name
    if not (visit.guessed and visit.has_asker):
        return "auto"
    found, current = visit.found, visit.first_profile
    control = found.thinking_control or current.thinking_control
    field = found.reasoning if found.reasoning in ("reasoning", "reasoning_content") else current.reasoning_field
    if (control, field) == (current.thinking_control, current.reasoning_field):
        return "auto"
    fitting = [one for one in PROFILES.values() if (one.thinking_control, one.reasoning_field) == (control, field)]
    # sending thinking back in the wrong field does less harm than a thinking switch that has no effect
    fitting = fitting or [one for one in PROFILES.values() if one.thinking_control == control]
    best = min(fitting, key=lambda one: _differences(one, current))
    return "auto" if best.name == current.name else best.name


def _differences(one: Profile, other: Profile) -> int:
    mine, theirs = structs.asdict(one), structs.asdict(other)
    return sum(mine[name] != theirs[name] for name in mine)


def gateway_settings(visit: Visit) -> dict[str, str]:
    """Environment variables of `claude-gateway` for this backend, without its key."""
    url = visit.endpoint.chat
    wanted = {"BACKEND_URL": str(url.with_query(None)), "BACKEND_PROFILE": profile_name(visit)}
    return {name: value for name, value in wanted.items() if value != "auto"}


def client_settings(visit: Visit) -> dict[str, Any]:
    """The contents of `~/.claude/settings.json` for this backend, with a placeholder for the key."""
    settings, model = visit.settings, visit.asker.model
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104  # compared only
    env = {
        "ANTHROPIC_BASE_URL": f"http://{f'[{host}]' if ':' in host else host}:{settings.host_port}",
        "ANTHROPIC_AUTH_TOKEN": "<your key>" if visit.token or settings.backend_api_key else "any-word",
        **{f"ANTHROPIC_DEFAULT_{family}_MODEL": model for family in ("OPUS", "SONNET", "HAIKU", "FABLE")},
        "CLAUDE_CODE_SUBAGENT_MODEL": model,
        **_window_settings(visit),
        "API_TIMEOUT_MS": "6000000",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_AUTO_MODE_SERVER": "0",
    }
    return {"model": model, "alwaysThinkingEnabled": visit.found.thinks, "env": env}


def _window_settings(visit: Visit) -> dict[str, str]:
    window = visit.found.window
    if window is None:
        return {}
    told = {
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(window, _LEAST_COMPACT_WINDOW)),
    }
    output = min(visit.asker.profile.most_tokens or _CLIENT_OUTPUT, window // _OUTPUT_PART)
    return told | ({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(output)} if output < _CLIENT_OUTPUT else {})
