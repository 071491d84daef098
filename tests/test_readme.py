"""The README says what is true."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.commands.setup.client_settings import Choice, edit
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def settings_table() -> str:
    rows = ["| variable, flag | default | |", "|---|---|---|"]
    for setting in fields(Settings):
        names = [f"`{setting.name.upper()}`"]
        if not setting.metadata["secret"]:
            names.append(f"`--{setting.name.replace('_', '-')}`")
        default = f"`{setting.metadata['default']}`" if setting.metadata["default"] else ""
        rows.append(f"| {', '.join(names)} | {default} | {setting.metadata['help']} |")
    return "\n".join(rows)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)

    assert found is not None
    assert found[1] == settings_table()


def test_the_clients_settings_are_those_that_setup_writes() -> None:
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)

    assert block is not None
    model, token = "zai-org/GLM-4.5-Air", "cpk_your_backend_key"
    written, _ = edit("", Choice(url="http://127.0.0.1:8080", token=token, model=model, context=131072))
    assert json.loads(block[1]) == json.loads(written)


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_commands_that_ci_runs_are_one_line_each(name: str) -> None:
    block = re.search(rf"<!-- ci: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)

    assert block is not None
    assert block[1].count("\n") == 1


def test_the_top_level_holds_what_the_design_names() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    expected = "setup.cfg pyproject.toml README.md gateway tests deploy Caddyfile LICENSE CHANGELOG.md"
    assert names - {"build", "dist"} == set(expected.split())


def test_the_files_and_tests_that_the_tests_readme_names_exist() -> None:
    tests = ROOT / "tests"
    text = (tests / "README.md").read_text()

    files = re.findall(r"`([\w/.-]*(?:\.py|/))`", text)
    groups = re.findall(r"`([\w/]+\.py)` (test_\w+(?:, test_\w+)*)", text)
    named = [(file, name) for file, names in groups for name in names.split(", ")]

    assert len(named) == len(re.findall(r"(?<![\w/])test_\w+\b(?!\.py)", text.partition("## Promises")[2]))
    assert [file for file in files if not any((folder / file).exists() for folder in (tests, ROOT))] == []
    assert [(file, name) for file, name in named if f"def {name}(" not in (tests / file).read_text()] == []


def test_the_words_of_errors_in_the_troubleshooting_are_the_gateways() -> None:
    section = README.partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
    seen = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ") and "---" not in row][1:]
    # of strings in several pieces, the source's pieces put together; values stand in braces
    sources = [path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py"))]
    words = re.sub(r'"\s*f?"', "", "\n".join(sources))

    # what a model leaves in its text, what the client has of its own, and what the system says
    others = {"<tool_call>", "<function=", "/model", "Address already in use"}
    quoted = {text for row in seen for text in re.findall(r"`([^`]+)`", row)} - others

    assert len(quoted) > 10
    assert [text for text in quoted if text not in words] == []
