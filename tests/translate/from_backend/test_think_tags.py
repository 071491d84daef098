"""Thinking between tags in the text: each case whole, and cut at every position."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.translate.from_backend.think_tags import Piece, ThinkTags
from tests.translate.conftest import answer, call, calls, delta, ended, live, text, thinking, tool

STOP = delta("stop")
END = ended("end_turn")


def joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces with neighbours of one kind in one, and without those that are blank: a client sees no more."""
    found: list[Piece] = []
    for kind, said in pieces:
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + said)
        else:
            found.append((kind, said))
    return [(kind, said) for kind, said in found if said.strip()]


def split(*parts: str) -> list[Piece]:
    tags = ThinkTags()
    pieces = [piece for part in parts for piece in tags.split(part)]
    return joined(pieces + tags.restart())


THINKING, TEXT = True, False
CASES = [
    pytest.param("<think>Hm</think>Hi", [(THINKING, "Hm"), (TEXT, "Hi")], id="thinking, then text"),
    pytest.param("<think>\nHm\n</think>\n\nHi", [(THINKING, "\nHm\n"), (TEXT, "Hi")], id="line ends behind the tag"),
    pytest.param("\n <think>Hm</think> \nHi", [(THINKING, "Hm"), (TEXT, " \nHi")], id="blanks in front of the tag"),
    pytest.param("<think>A</think>\n<think>B</think>\nC", [(THINKING, "AB"), (TEXT, "C")], id="twice in a row"),
    pytest.param("<think></think>\n\nHi", [(TEXT, "Hi")], id="empty"),
    pytest.param("<think>\n\n</think>\n\nHi", [(TEXT, "Hi")], id="blank"),
    pytest.param("<think>Hm", [(THINKING, "Hm")], id="unclosed"),
    pytest.param("<think>Hm</thi", [(THINKING, "Hm</thi")], id="unclosed in the closing tag"),
    pytest.param(
        "<think>1 < 2 </ 3</think>Hi", [(THINKING, "1 < 2 </ 3"), (TEXT, "Hi")], id="much like the closing tag"
    ),
    pytest.param("<think><think>Hm</think>Hi", [(THINKING, "<think>Hm"), (TEXT, "Hi")], id="opened twice"),
    pytest.param("<think>Hm</think></think>Hi", [(THINKING, "Hm"), (TEXT, "</think>Hi")], id="closed twice"),
    pytest.param("Hi <think>Hm</think>", [(TEXT, "Hi <think>Hm</think>")], id="behind text"),
    pytest.param("<think>A</think>B<think>C</think>", [(THINKING, "A"), (TEXT, "B<think>C</think>")], id="behind both"),
    pytest.param("Hm</think>Hi", [(TEXT, "Hm</think>Hi")], id="closing tag alone"),
    pytest.param("</think>Hi", [(TEXT, "</think>Hi")], id="closing tag first"),
    pytest.param("<thin", [(TEXT, "<thin")], id="much like a tag at the end"),
    pytest.param("<thin ice", [(TEXT, "<thin ice")], id="much like a tag"),
    pytest.param("<reason>Hm</reason>", [(TEXT, "<reason>Hm</reason>")], id="another tag"),
    pytest.param("< think>Hm", [(TEXT, "< think>Hm")], id="tag with a blank"),
    pytest.param(" \n", [], id="blanks"),
    pytest.param(" \n<", [(TEXT, " \n<")], id="blanks and a bracket"),
    pytest.param("", [], id="nothing"),
]


@pytest.mark.parametrize(("said", "pieces"), CASES)
def test_whole(said: str, pieces: list[Piece]) -> None:
    assert split(said) == pieces


@pytest.mark.parametrize(("said", "pieces"), CASES)
def test_cut_at_every_position(said: str, pieces: list[Piece]) -> None:
    assert split(*said) == pieces
    for first in range(len(said)):
        for second in range(first, len(said)):
            assert split(said[:first], said[first:second], said[second:]) == pieces


THOROUGH = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
SCRAPS = st.sampled_from(["<", "think", ">", "</", "<think>", "</think>", "\n", " ", "a", "<think>b</think>"])


@THOROUGH
@given(st.lists(SCRAPS, max_size=12), st.data())
def test_the_outcome_does_not_depend_on_the_cuts(scraps: list[str], data: st.DataObject) -> None:
    said = "".join(scraps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=6)))
    parts = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert split(*parts) == split(said) == split(*scraps)


@THOROUGH
@given(st.text(alphabet="<>/think \n", max_size=40))
def test_text_without_an_opening_tag_in_front_is_left_alone(said: str) -> None:
    if not said.lstrip().startswith("<think>"):
        assert split(*said) == ([(TEXT, said)] if said.strip() else [])


def test_restart_makes_the_next_text_a_beginning() -> None:
    tags = ThinkTags()
    assert tags.split("Hi <think>") == [(TEXT, "Hi <think>")]
    assert tags.restart() == []
    assert tags.split("<think>Hm") == [(THINKING, "Hm")]


def test_restart_gives_what_was_held_back() -> None:
    tags = ThinkTags()
    assert tags.split("<thi") == []
    assert tags.restart() == [(TEXT, "<thi")]
    assert tags.split("<think>Hm</") == [(THINKING, "Hm")]
    assert tags.restart() == [(THINKING, "</")]
    assert tags.split("nk>") == [(TEXT, "nk>")]


# in an answer


def test_tags_become_blocks() -> None:
    chunks = [delta(content=part) for part in ("<th", "ink>\nH", "m\n</thin", "k>", "\n\nH", "i")]
    assert answer(*chunks, STOP) == thinking(0, "\nH", "m\n") + text(1, "H", "i") + END


def test_what_cannot_be_a_tag_is_not_held_back() -> None:
    block = text(0, "<thx", "<")
    assert live(delta(content="<th"), delta(content="x"), delta(content="<")) == [[], block[:2], block[2:3]]


def test_tags_behind_a_call_count_again() -> None:
    chunks = [
        delta(content="Hi <think>"),
        calls(call(0, "c1", "Read", "{}")),
        delta(content="<think>Hm"),
        delta(content="</think>Ok"),
        delta("stop"),
    ]
    assert answer(*chunks) == (
        text(0, "Hi <think>") + tool(1, "c1", "Read", "{}") + thinking(2, "Hm") + text(3, "Ok") + ended("tool_use")
    )


def test_a_call_ends_thinking_whose_tag_never_closed() -> None:
    chunks = [delta(content="<think>Hm</"), calls(call(0, "c1", "Read", "{}")), delta(content="Ok"), STOP]
    assert answer(*chunks) == (
        thinking(0, "Hm", "</") + tool(1, "c1", "Read", "{}") + text(2, "Ok") + ended("tool_use")
    )


def test_tags_behind_separate_thinking_count_too() -> None:
    chunks = [delta(reasoning="A"), delta(content="<think>B</think>C"), STOP]
    assert answer(*chunks) == thinking(0, "A", "B") + text(1, "C") + END
