"""Writing the settings, and undoing that."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.commands.setup.client_settings import ONBOARDING, OWNED, Choice, edit, onboard, restore

GLM = "zai-org/GLM-4.5-Air"
CHOICE = Choice("http://127.0.0.1:8080", "cpk_secret", GLM, context=131072)
ENV = {
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",
    "ANTHROPIC_AUTH_TOKEN": "cpk_secret",
    "ANTHROPIC_DEFAULT_OPUS_MODEL": GLM,
    "ANTHROPIC_DEFAULT_SONNET_MODEL": GLM,
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": GLM,
    "ANTHROPIC_DEFAULT_FABLE_MODEL": GLM,
    "CLAUDE_CODE_SUBAGENT_MODEL": GLM,
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "131072",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "131072",
    "API_TIMEOUT_MS": "6000000",
    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    "CLAUDE_CODE_AUTO_MODE_SERVER": "0",
}


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "{}"])
def test_an_empty_file_gets_all_settings_in_order(text: str) -> None:
    edited, changes = edit(text, CHOICE)

    expected = {"model": GLM, "alwaysThinkingEnabled": True, "env": ENV}
    assert edited.rstrip("\n") == json.dumps(expected, indent=2)
    assert len(changes) == len(ENV) + 2
    assert "cpk_secret" not in "".join(changes)
    assert "+ env.ANTHROPIC_AUTH_TOKEN = (hidden)" in changes


def test_what_would_win_over_the_choice_goes_and_the_rest_stays() -> None:
    rivals = dict.fromkeys(("ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"), "x")
    clouds = {f"CLAUDE_CODE_USE_{name}": "1" for name in ("BEDROCK", "VERTEX", "FOUNDRY")}
    before = {"env": {**rivals, **clouds, "EDITOR": "vi"}, "apiKeyHelper": "pass show key", "model": GLM, "hooks": {}}

    edited, changes = edit(json.dumps(before), CHOICE)

    after = {"env": {"EDITOR": "vi", **ENV}, "model": GLM, "hooks": {}, "alwaysThinkingEnabled": True}
    assert json.loads(edited) == after
    removed = [change for change in changes if change.startswith("-")]
    assert removed == [*(f"- env.{name}" for name in (*rivals, *clouds)), "- apiKeyHelper"]


@pytest.mark.parametrize(
    ("context", "output", "told"),
    [
        (131072, None, None),
        (131072, 8192, "8192"),
        (131072, 65536, None),
        (65536, None, "16384"),
        (65536, 4096, "4096"),
        (None, None, None),
        (None, 4096, "4096"),
    ],
)
def test_limits_follow_the_model(context: int | None, output: int | None, told: str | None) -> None:
    stale = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1", "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "1"}
    stale["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = "1"

    edited, _ = edit(json.dumps({"env": stale}), replace(CHOICE, context=context, output=output))

    env: dict[str, Any] = json.loads(edited)["env"]
    window = None if context is None else str(context)
    assert env.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS") == window
    # below 100,000 the client would warn at each start
    assert env.get("CLAUDE_CODE_AUTO_COMPACT_WINDOW") == (context and str(max(context, 100_000)))
    assert env.get("CLAUDE_CODE_MAX_OUTPUT_TOKENS") == told


@pytest.mark.parametrize(
    ("before", "thinks", "after"),
    [({}, None, True), ({}, True, True), ({}, False, None), ({"alwaysThinkingEnabled": False}, True, False)],
)
def test_thinking_is_asked_for_unless_the_user_or_the_model_says_no(
    before: dict[str, bool], thinks: bool | None, after: bool | None
) -> None:
    edited, _ = edit(json.dumps(before), replace(CHOICE, thinks=thinks))
    assert json.loads(edited).get("alwaysThinkingEnabled") is after


def test_a_second_time_changes_nothing() -> None:
    edited, _ = edit('{"permissions": {}}', CHOICE)
    assert edit(edited, CHOICE) == (edited, [])
    assert onboard('{"hasCompletedOnboarding":true}') == ('{"hasCompletedOnboarding":true}', [])


@pytest.mark.parametrize(
    "before",
    [
        "",
        "{}",
        '{"model":"opus" , "n": 1e400}\n',
        '{\n\t"apiKeyHelper": "x",\n\t"env": {"ANTHROPIC_BASE_URL": "http://other", "A": "1"}\n}\n',
        '{"env": {}}',
    ],
)
def test_an_untouched_set_up_is_undone_to_the_byte(before: str) -> None:
    edited, changes = edit(before, CHOICE)
    restored, undone = restore(edited, before, OWNED)
    assert restored == before
    assert len(undone) == len(changes)


def test_what_the_user_changed_since_survives_the_undoing() -> None:
    before = '{\n  "model": "opus"\n}\n'
    since, _ = edit(before, CHOICE)
    since = since.replace('"opus"', '"x"').replace("{\n", '{\n  "theme": "dark",\n', 1)

    restored, changes = restore(since, before, OWNED)

    assert restored == '{\n  "theme": "dark",\n  "model": "opus"\n}\n'
    assert changes[0] == '~ model = "opus"'


def test_the_greeting_is_marked_and_unmarked() -> None:
    edited, changes = onboard('{"numStartups": 3}')
    assert (edited, changes) == (
        '{"numStartups": 3,"hasCompletedOnboarding": true}',
        ["+ hasCompletedOnboarding = true"],
    )
    assert restore(edited, '{"numStartups": 3}', (ONBOARDING,))[0] == '{"numStartups": 3}'
