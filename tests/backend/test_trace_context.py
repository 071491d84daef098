"""What of a client's trace goes on to the backend, seen where it becomes header lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.backend.trace_context import UNTRACED, pass_on, read_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
LINE = f"traceparent: {PARENT}\r\n".encode()


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def passed(parent: str, *states: str) -> bytes:
    return pass_on(headers(("traceparent", parent), *(("tracestate", state) for state in states))).headers


@pytest.mark.parametrize(
    ("parent", "line"),
    [
        (PARENT, PARENT),
        (f" {PARENT}\t", PARENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-03", f"00-{TRACE}-{SPAN}-03"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", PARENT),
    ],
    ids=["whole", "blanks", "not sampled", "random", "unknown flags", "later version", "later version with more"],
)
def test_a_valid_parent_is_written_in_the_form_of_this_version(parent: str, line: str) -> None:
    assert passed(parent) == f"traceparent: {line}\r\n".encode()


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        PARENT[:-1],
        f"{PARENT}0",
        f"{PARENT}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"{PARENT}\r\nX-Injected: 1",
        f"cc-{TRACE}-{SPAN}-01-\r\nX-Injected: 1",
        f"{PARENT},{PARENT}",
    ],
)
def test_an_invalid_parent_is_none(parent: str) -> None:
    assert passed(parent, "a=1") == b""


def test_two_parents_are_none() -> None:
    assert pass_on(headers(("traceparent", PARENT), ("Traceparent", PARENT))).headers == b""


def test_without_a_parent_nothing_is_made() -> None:
    assert pass_on(headers(("tracestate", "a=1"))) is UNTRACED
    assert UNTRACED.call().headers == b""


MANY = ",".join(f"k{number}=v" for number in range(32))


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (["rojo=00f067aa0ba902b7"], "rojo=00f067aa0ba902b7"),
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1 ,\tb=2, ,"], "a=1,b=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["fw529a3039@dt=FfAxMjM0NTY3ODk"], "fw529a3039@dt=FfAxMjM0NTY3ODk"),
        (["a_-*/1=with blanks and ~!"], "a_-*/1=with blanks and ~!"),
        ([MANY], MANY),
    ],
)
def test_a_valid_state_goes_along(states: list[str], line: str) -> None:
    assert passed(PARENT, *states) == LINE + f"tracestate: {line}\r\n".encode()


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "=1",
        "a=",
        "A=1",
        "1a=1",
        "a=1=2",
        "a=ü",
        "a=1,a=2",
        "a=1,,B",
        f"{MANY},one=more",
        f"{'a' * 257}=1",
        f"a={'1' * 257}",
        "a=1\r\nX-Injected: 1",
        "a=1\nX: 1",
        "a=\x00",
    ],
)
def test_an_invalid_state_stays_behind_and_the_parent_does_not(state: str) -> None:
    assert passed(PARENT, state) == LINE


TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)


@given(parent=TEXTS | TEXTS.map(lambda text: PARENT + text), states=st.lists(TEXTS | TEXTS.map("a={}".format)))
def test_whatever_comes_at_most_two_lines_go(parent: str, states: list[str]) -> None:
    lines = passed(parent, *states)

    assert lines == b"" or lines.startswith(LINE)
    assert lines.count(b"\n") == lines.count(b"\r") == lines.count(b"\r\n") <= 2
    assert lines.removeprefix(LINE).startswith(b"tracestate: ") or lines in (b"", LINE)


def test_what_is_read_are_numbers() -> None:
    context = read_context(headers(("traceparent", PARENT), ("tracestate", "a=1")))

    assert context is not None
    assert (context.trace_id, context.span_id, context.flags) == (int(TRACE, 16), int(SPAN, 16), 1)
    assert context.state == "a=1"
