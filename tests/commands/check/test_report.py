"""The report for people: the rows at any width, and the README's example of them."""

import io
import re
from pathlib import Path

from rich.console import Console

from gateway.commands.check.report import Summary, TerminalReport, exit_code
from gateway.commands.check.rows import Mark, Row
from gateway.commands.check.runner import PROBES

README = (Path(__file__).parents[3] / "README.md").read_text()


def row(mark: Mark, *, needed: bool = True, said: str = "so it is", remedy: str = "") -> Row:
    return Row(key="key", title="Key", needed=needed, mark=mark, said=said, remedy=remedy, seconds=0.1, facts={})


def summary(*, complete: bool = True) -> Summary:
    return Summary(
        version="1", backend="http://h/v1/chat/completions", model="m", profile="auto", complete=complete, seconds=1.0,
        requests=3, input_tokens=1234, output_tokens=56, settings={}, client={},
    )  # fmt: skip


def shown(*rows: Row, complete: bool = True, width: int = 80) -> str:
    out = io.StringIO()
    report = TerminalReport(Console(file=out, width=width, highlight=False), "http://h/v1/chat/completions")
    for one in rows:
        report.begin(one.title)
        report.add(one)
    report.end(rows, summary(complete=complete))
    return out.getvalue()


def test_each_mark_has_its_sign_and_the_legend_tells_them() -> None:
    text = shown(*(row(mark) for mark in ("good", "partly", "bad", "unknown")))

    for sign in "✓~✗!":
        assert f"\n{sign} Key             so it is" in text
    assert "\n✓ works   ~ works partly   ✗ does not work   ! unknown\n" in text
    assert "3 requests, 1,234 tokens in and 56 out, 1 s" in text


def test_what_others_say_is_no_markup() -> None:
    assert "[bold]not ours[/] [red" in shown(row("bad", said="[bold]not ours[/] [red"))


def test_a_narrow_terminal_shows_all_words() -> None:
    text = shown(row("bad", said="one two three four five six", remedy="seven eight nine ten"), width=32)

    assert [
        word
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        if word not in text
    ] == []
    assert all(len(line) <= 32 for line in text.splitlines())


def test_the_last_line_says_whether_it_works() -> None:
    assert shown(row("good")).endswith("Claude Code works with this backend.\n")
    assert shown(row("partly")).endswith("Claude Code works with this backend; see above for what is limited.\n")
    assert shown(row("bad")).endswith("Claude Code cannot work with this backend as it is: see Key.\n")
    assert shown(row("bad", needed=False)).endswith("see above for what is limited.\n")
    assert shown(row("good"), complete=False).endswith("The check did not finish.\n")


def test_exit_codes() -> None:
    codes = {mark: exit_code([row(mark)], summary()) for mark in ("good", "partly", "bad", "unknown", "skipped")}

    assert codes == {"good": 0, "partly": 0, "bad": 1, "unknown": 0, "skipped": 1}
    assert exit_code([row("bad", needed=False)], summary()) == 0
    assert exit_code([], summary(complete=False)) == 1


def test_each_need_of_a_row_is_a_row_before_it() -> None:
    keys = [probe.key for probe in PROBES]

    assert len(set(keys)) == len(keys)
    assert [probe.key for number, probe in enumerate(PROBES) if not set(probe.needs) <= set(keys[:number])] == []


def test_the_readme_shows_rows_that_there_are() -> None:
    section = README[README.index("## Check your backend") :]
    titles = re.findall(r"^[✓~✗!] (\w+(?: \w+)*) {2,}\S", section, re.MULTILINE)

    assert len(titles) > 5
    assert set(titles) <= {probe.title for probe in PROBES}
