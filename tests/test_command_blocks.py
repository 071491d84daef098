"""Every command in a document is run by somebody, and every link leads somewhere."""

import re

import pytest

from tests.command_blocks import DOCUMENTS, ROOT, Block, anchors, broken_links, shell_blocks

# what cannot be had where the tests run; anything else is run
REASONS = {
    "a GPU",
    "Ollama is in no package registry",
    "LM Studio is a program for desktops",
    "a container engine and images of registries",
    "a cluster",
    "a machine with systemd, as root",
}
# written by a formatter for a reader's eyes, or no commands
OTHER_KINDS = {"", "json", "yaml", "python"}


def test_the_documents_are_found() -> None:
    assert {"README.md", "gateway/README.md", "deploy/README.md", "deploy/backends.md", "tests/README.md"} <= set(
        DOCUMENTS
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_exist(document: str) -> None:
    assert broken_links(document) == []


def test_headings_are_named_as_github_names_them() -> None:
    assert {"llamacpp", "lm-studio"} <= anchors(ROOT / "deploy/backends.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_of_commands_say_that_they_are_some(document: str) -> None:
    kinds = set(re.findall(r"^ *```(\w+)$", (ROOT / document).read_text(), re.MULTILINE))

    assert kinds - {"sh"} <= OTHER_KINDS


@pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.place)
def test_every_block_of_commands_is_run(block: Block) -> None:
    kind, _, what = block.mark.partition(": ")

    assert kind in ("ci", "tested", "not run"), f"no comment above {block.place} says who runs it"
    if kind == "ci":
        assert f"readme_command {what}" in (ROOT / ".ci/run").read_text()
    elif kind == "tested":
        file, name = what.split()
        source = (ROOT / file).read_text()
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE)
        assert f'blocks_of("{name}")' in source
    else:
        assert what in REASONS


def test_no_reason_is_left_over() -> None:
    assert {block.mark.removeprefix("not run: ") for block in shell_blocks() if block.mark.startswith("not run")} == (
        REASONS
    )
