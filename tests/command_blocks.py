"""The Markdown documents: their shell blocks, how each is run, and their links.

Above each block of shell stands a comment that says who runs it:

    <!-- ci: NAME -->                    .ci/run does, as it stands there
    <!-- tested: FILE NAME -->           the test, or the fixture, of that name; it takes the text by `blocks_of`
    <!-- not run: REASON -->             nobody does, for one of few reasons
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "gateway/**/*.md", "deploy/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a document. `mark` is what the comment above it says, `kind` the language that it names."""

    document: str
    line: int
    kind: str
    mark: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str) -> list[Block]:
    """All fenced blocks of a document."""
    text = (ROOT / document).read_text()
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found["kind"], found["mark"] or "", found["text"])
        for found in _BLOCK.finditer(text)
    ]


def shell_blocks() -> list[Block]:
    """All blocks that hold commands."""
    return [block for document in DOCUMENTS for block in blocks(document) if block.kind == "sh"]


def blocks_of(name: str) -> list[Block]:
    """The blocks that the test or fixture of this name runs; at least one."""
    found = [block for block in shell_blocks() if re.fullmatch(rf"tested: \S+ {name}", block.mark)]
    assert found, f"no document names {name}"
    return found


def anchors(document: Path) -> set[str]:
    """What links can lead to inside of a document, by GitHub's rules."""
    prose = re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(prose)}


def broken_links(document: str) -> list[str]:
    """The links of a document that lead to no file, or to no heading in it. The web is not asked."""
    path = ROOT / document
    prose = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in _LINK.findall(prose) if not re.match(r"https?://|mailto:", link)]
    return [link for link in links if not _leads_somewhere(path, link)]


def _leads_somewhere(document: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = document.parent / file if file else document
    return target.exists() and (not anchor or anchor in anchors(target))
