"""Tool calls in every form that backends stream them. Each case: the chunks, then the blocks that a client gets."""

from typing import Any

import pytest

from gateway.translate.both_ways.tool_names import backend_id
from tests.translate.conftest import NEW_ID, Chunk, answer, call, calls, delta, ended, live, text, thinking, tool

STOP = delta("tool_calls")
END = ended("tool_use")


def one_by_one(*pieces: Chunk) -> list[Chunk]:
    """A chunk for each piece, then the end."""
    return [*(calls(piece) for piece in pieces), STOP]


# the ways of openai, llama.cpp and vLLM


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(call(0, "call_1", "Read", ""), id="openai: empty arguments"),
        pytest.param(call(0, "call_1", "Read"), id="vllm: no arguments"),
        pytest.param(call(0, "call_1", "Read", type="function"), id="with a type"),
        pytest.param({**call(0, "call_1"), "function": {"name": "Read", "arguments": None}}, id="null arguments"),
    ],
)
def test_arguments_go_out_piece_by_piece_as_they_come(first: Chunk) -> None:
    chunks = one_by_one(first, call(0, arguments='{"pa'), call(0, arguments='th":'), call(0, arguments='"a b"}'))
    assert answer(*chunks) == tool(0, "call_1", "Read", '{"pa', 'th":', '"a b"}') + END


def test_arguments_in_the_chunk_of_the_name_are_kept() -> None:
    chunks = one_by_one(call(0, "call_1", "Read", "{"), call(0, arguments='"path":1}'))
    assert answer(*chunks) == tool(0, "call_1", "Read", "{", '"path":1}') + END


def test_a_call_that_is_whole_in_one_chunk() -> None:
    assert answer(*one_by_one(call(0, "c1", "Read", '{"path":"a"}'))) == tool(0, "c1", "Read", '{"path":"a"}') + END


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param({"path": "a", "n": [1, None]}, ['{"path":"a","n":[1,null]}'], id="an object"),
        pytest.param({}, ["{}"], id="an empty object"),
        pytest.param("{}", ["{}"], id="an empty object in text"),
        pytest.param(None, [], id="null"),
        pytest.param("", [], id="nothing"),
        pytest.param(' \n{"a":1}', ['{"a":1}'], id="blanks in front"),
        pytest.param(" ", [], id="blanks only"),
        pytest.param({"n": 10**30}, ['{"n":1000000000000000000000000000000}'], id="a huge number"),
        pytest.param("null", [], id="null in text"),
        pytest.param("true", ['{"__unparsedToolInput":{"raw":"true","len":4}}'], id="vllm: no object"),
        pytest.param([1], ['{"__unparsedToolInput":{"raw":"[1]","len":3}}'], id="a list"),
        pytest.param('"a', ['{"__unparsedToolInput":{"raw":"\\"a","len":2}}'], id="a text that was cut"),
        pytest.param('{"a":', ['{"a":'], id="cut by a limit"),
    ],
)
def test_arguments_of_every_type(arguments: Any, sent: list[str]) -> None:
    piece = {"index": 0, "id": "c1", "function": {"name": "Read", "arguments": arguments}}
    assert answer(*one_by_one(piece)) == tool(0, "c1", "Read", *sent) + END


def test_a_placeholder_gives_way_to_the_real_arguments() -> None:
    chunks = one_by_one(call(0, "c1", "Read", "{}"), call(0, arguments='{"path":'), call(0, arguments="1}"))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"path":', "1}") + END


def test_a_placeholder_gives_way_although_id_and_name_are_repeated() -> None:
    chunks = one_by_one(call(0, "c1", "Read", "{}"), call(0, "c1", "Read", '{"path":'), call(0, "c1", "Read", "1}"))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"path":', "1}") + END


@pytest.mark.parametrize("behind", ["", "\n", "{}"])
def test_a_placeholder_without_real_arguments_is_all_there_is(behind: str) -> None:
    chunks = one_by_one(call(0, "c1", "Read", "{}"), call(0, arguments=behind))
    assert answer(*chunks) == tool(0, "c1", "Read", "{}") + END


def test_real_arguments_behind_a_call_that_has_ended_are_another_call() -> None:
    chunks = [calls(call(0, "c1", "Read", "{}")), delta(content="Hm"), calls(call(0, "c1", "Read", '{"a":1}')), STOP]
    assert answer(*chunks) == (tool(0, "c1", "Read", "{}") + text(1, "Hm") + tool(2, NEW_ID, "Read", '{"a":1}') + END)


def test_blanks_in_front_of_the_object_are_no_delta_of_their_own() -> None:
    chunks = one_by_one(
        call(0, "c1", "Read", " "), call(0, arguments="\n"), call(0, arguments=' {"a": " '), call(0, arguments=' "}')
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a": " ', ' "}') + END


# index


@pytest.mark.parametrize("index", [pytest.param(5, id="5"), pytest.param("0", id="text"), pytest.param(-1, id="-1")])
def test_an_index_that_does_not_start_at_0(index: Any) -> None:
    chunks = one_by_one(call(index, "c1", "Read", "{"), call(index, arguments="}"))
    assert answer(*chunks) == tool(0, "c1", "Read", "{", "}") + END


@pytest.mark.parametrize(
    "index",
    [pytest.param("first", id="no number"), pytest.param("9" * 5000, id="huge"), pytest.param(0.5, id="a fraction")],
)
def test_an_index_that_is_none_counts_as_missing(index: Any) -> None:
    chunks = one_by_one(
        call(index, "c1", "Read", '{"a":1}'), call(index, "c2", "Write", '{"b"'), call(index, arguments=":2}")
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + tool(1, "c2", "Write", '{"b"', ":2}") + END


INDEXES = [pytest.param(None, id="no index"), pytest.param(0, id="index always 0")]
TWO = [*tool(0, "c1", "Read", '{"a":1}'), *tool(1, "c2", "Read", '{"b":2}'), *END]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("name", ["Read", "Write"])
def test_whole_calls_with_ids_stay_apart(index: int | None, name: str) -> None:
    chunks = one_by_one(call(index, "c1", "Read", '{"a":1}'), call(index, "c2", name, '{"b":2}'))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + tool(1, "c2", name, '{"b":2}') + END


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("name", ["Read", "Write"])
@pytest.mark.parametrize("call_id", [None, ""], ids=["no id", "empty id"])
def test_whole_calls_without_ids_stay_apart(index: int | None, name: str, call_id: str | None) -> None:
    chunks = one_by_one(call(index, call_id, "Read", '{"a":1}'), call(index, call_id, name, '{"b":2}'))
    assert answer(*chunks) == tool(0, NEW_ID, "Read", '{"a":1}') + tool(1, NEW_ID, name, '{"b":2}') + END


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("name", ["Read", "Write"])
@pytest.mark.parametrize("ids", [("c1", "c2"), (None, None)])
def test_calls_in_pieces_stay_apart(index: int | None, name: str, ids: tuple[str | None, str | None]) -> None:
    chunks = one_by_one(
        call(index, ids[0], "Read", ""),
        call(index, arguments='{"a":'),
        call(index, arguments="1}"),
        call(index, ids[1], name, ""),
        call(index, arguments='{"b":'),
        call(index, arguments="2}"),
    )
    first, second = (call_id or NEW_ID for call_id in ids)
    assert answer(*chunks) == tool(0, first, "Read", '{"a":', "1}") + tool(1, second, name, '{"b":', "2}") + END


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("ids", [("c1", "c2"), ("", "")], ids=["ids", "no ids"])
def test_a_call_with_an_empty_object_is_no_placeholder_for_the_next(index: int | None, ids: tuple[str, str]) -> None:
    first, second = (call_id or NEW_ID for call_id in ids)
    expected = tool(0, first, "List", "{}") + tool(1, second, "List", '{"b":2}') + END
    assert answer(*one_by_one(call(index, ids[0], "List", "{}"), call(index, ids[1], "List", '{"b":2}'))) == expected
    in_pieces = one_by_one(
        call(index, ids[0], "List", ""),
        call(index, arguments="{}"),
        call(index, ids[1], "List", ""),
        call(index, arguments='{"b":2}'),
    )
    assert answer(*in_pieces) == expected


@pytest.mark.parametrize("index", INDEXES)
def test_a_call_without_arguments_ends_with_the_next_id_and_name(index: int | None) -> None:
    chunks = one_by_one(call(index, "c1", "List"), call(index, "c2", "Read", '{"b":2}'))
    assert answer(*chunks) == tool(0, "c1", "List") + tool(1, "c2", "Read", '{"b":2}') + END


def test_calls_without_index_are_told_apart_by_their_ids() -> None:
    chunks = one_by_one(
        call(None, "c1", "Read"),
        call(None, "c2", "Read"),
        call(None, "c2", arguments='{"b":2}'),
        call(None, "c1", arguments='{"a":1}'),
    )
    assert answer(*chunks) == TWO


def test_an_id_without_index_may_come_before_its_name() -> None:
    chunks = one_by_one(
        call(None, "c1", "Read", '{"a":1}'), call(None, "c2", arguments='{"b":2}'), call(None, "c2", "Read")
    )
    assert answer(*chunks) == TWO


def test_ids_without_index_hold_when_text_comes_between() -> None:
    chunks = [
        calls(call(None, "c1", "Read", '{"a":1}')),
        delta(content="Hm"),
        calls(call(None, "c1", "Read", "")),
        STOP,
    ]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + text(1, "Hm") + END


# id


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("name", [None, "Read"], ids=["name once", "name repeated"])
def test_a_late_id_is_taken_while_the_call_waits_for_its_arguments(index: int | None, name: str | None) -> None:
    chunks = one_by_one(call(index, name="Read"), call(index, "c1", name), call(index, arguments="{}"))
    assert answer(*chunks) == tool(0, "c1", "Read", "{}") + END


def test_an_id_that_comes_behind_the_start_is_too_late() -> None:
    chunks = one_by_one(call(0, name="Read", arguments='{"a":'), call(0, "late", arguments="1}"))
    assert answer(*chunks) == tool(0, NEW_ID, "Read", '{"a":', "1}") + END


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(("c1", "c1", "c1"), id="repeated"),
        pytest.param(("c1", "", ""), id="empty later"),
        pytest.param(("c1", "x2", "x3"), id="new with each piece"),
    ],
)
@pytest.mark.parametrize("name", [None, "Read"], ids=["name once", "name in each piece"])
def test_ids_of_later_pieces_change_nothing(ids: tuple[str, str, str], name: str | None) -> None:
    chunks = one_by_one(
        call(0, ids[0], "Read", ""), call(0, ids[1], name, '{"a":'), call(0, ids[2], name, "1}"), call(0, ids[2])
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1}") + END


def test_new_ids_without_index_and_name_change_nothing_within_arguments() -> None:
    chunks = one_by_one(
        call(None, "c1", "Read", ""), call(None, "x2", arguments='{"a":'), call(None, "x3", arguments="1}")
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1}") + END


def test_a_new_id_behind_a_whole_call_does_not_hold_up_text() -> None:
    events = tool(0, "c1", "Read", '{"a":1}') + text(1, "Hm")
    assert live(calls(call(0, "c1", "Read", '{"a":1}')), calls(call(0, "x2", arguments="")), delta(content="Hm")) == [
        events[:2],
        [],
        events[2:-1],
    ]


@pytest.mark.parametrize("indexes", [(0, 1), (0, 0), (None, None)])
def test_an_id_given_twice_becomes_two(indexes: tuple[int | None, int | None]) -> None:
    chunks = one_by_one(call(indexes[0], "tool_0", "Read", '{"a":1}'), call(indexes[1], "tool_0", "Read", '{"b":2}'))
    assert answer(*chunks) == tool(0, "tool_0", "Read", '{"a":1}') + tool(1, NEW_ID, "Read", '{"b":2}') + END


def test_new_ids_differ() -> None:
    events = answer(*one_by_one(call(0, None, "Read", "{}"), call(1, None, "Read", "{}")))
    ids = {data["content_block"]["id"] for name, data in events if name == "content_block_start"}
    assert len(ids) == 2


def test_an_id_that_is_no_text_is_replaced() -> None:
    assert answer(*one_by_one(call(0, 17, "Read", "{}"))) == tool(0, NEW_ID, "Read", "{}") + END


def test_an_id_with_other_characters_is_encoded() -> None:
    events = answer(*one_by_one(call(0, "a.b9f3c1", "Bash", "{}")))
    assert events == tool(0, "toolu_b64_YS5iOWYzYzE", "Bash", "{}") + END


def test_an_id_that_comes_again_in_each_answer_is_new_for_the_client() -> None:
    ids = set()
    for call_id in ["functions.Bash:0", "call_0"] * 2:
        events = answer(*one_by_one(call(0, call_id, "Bash", "{}")))
        ids.add(events[0][1]["content_block"]["id"])
        assert backend_id(events[0][1]["content_block"]["id"]) == call_id
    assert len(ids) == 4


# name


def test_a_name_repeated_in_every_piece_is_no_longer_name() -> None:
    pieces = [call(0, "c1", "read_file", part) for part in ("", '{"a":', '{"b":', "1}", "}", "")]
    assert answer(*one_by_one(*pieces)) == tool(0, "c1", "read_file", '{"a":', '{"b":', "1}", "}") + END


def test_a_name_in_fragments_is_put_together() -> None:
    chunks = one_by_one(call(0, "c1", "read_"), call(0, name="fi"), call(0, name="le"), call(0, arguments="{}"))
    assert answer(*chunks) == tool(0, "c1", "read_file", "{}") + END


def test_a_name_that_grows_is_not_added_up() -> None:
    chunks = one_by_one(call(0, "c1", "read"), call(0, name="read_file"), call(0, arguments="{}"))
    assert answer(*chunks) == tool(0, "c1", "read_file", "{}") + END


def test_arguments_wait_for_a_late_name() -> None:
    chunks = one_by_one(
        call(0, "c1", arguments='{"a":'), call(0, arguments="1"), call(0, name="Read"), call(0, arguments="}")
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1", "}") + END


@pytest.mark.parametrize("index", INDEXES)
def test_whole_arguments_wait_for_a_late_name(index: int | None) -> None:
    chunks = one_by_one(call(index, arguments='{"a":1}'), call(index, "c1"), call(index, name="Read"))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + END


def test_a_name_behind_the_start_changes_nothing() -> None:
    chunks = one_by_one(call(0, "c1", "Read", '{"a":'), call(0, name="Other", arguments="1}"))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1}") + END


@pytest.mark.parametrize("name", [None, "", 5])
def test_a_call_without_a_name_is_shown_as_text(name: Any) -> None:
    chunks = [calls(call(0, "c1", name, '{"a":')), calls(call(0, "c1", name, "1}")), STOP]
    assert answer(*chunks) == text(0, '{"a":1}') + ended("end_turn")


def test_a_call_without_a_name_does_not_hold_up_the_next() -> None:
    chunks = one_by_one(call(0, "c1", arguments='{"a":1}'), call(1, "c2", "Read", "{"), call(1, arguments="}"))
    assert answer(*chunks) == text(0, '{"a":1}') + tool(1, "c2", "Read", "{", "}") + END


def test_a_shortened_name_becomes_the_clients_own() -> None:
    events = answer(*one_by_one(call(0, "c1", "short", "{}")), names={"short": "the_long_name"})
    assert events == tool(0, "c1", "the_long_name", "{}") + END


# padding


@pytest.mark.parametrize(
    "padding",
    [
        pytest.param([{}], id="empty piece"),
        pytest.param([{"index": 0}], id="index only"),
        pytest.param([call(0, "", "", "", type="function")], id="empty texts"),
        pytest.param([{"index": 0, "id": None, "function": {"name": None, "arguments": None}}], id="nulls"),
        pytest.param([], id="no pieces"),
    ],
)
def test_padding_is_no_call(padding: list[Chunk]) -> None:
    chunks = [delta(content="Hel", tool_calls=padding), delta(content="lo", tool_calls=padding), delta("stop")]
    assert answer(*chunks) == text(0, "Hel", "lo") + ended("end_turn")


def test_an_id_alone_is_no_call() -> None:
    assert answer(delta(content="Hello"), *one_by_one(call(0, "c1"))) == text(0, "Hello") + ended("end_turn")


# several calls


def test_parallel_calls_one_after_the_other_are_streamed_live() -> None:
    first, second = tool(0, "c1", "Read", "{", "}"), tool(1, "c2", "Read", "{", "}")
    assert live(
        calls(call(0, "c1", "Read", "")),
        calls(call(0, arguments="{")),
        calls(call(0, arguments="}")),
        calls(call(1, "c2", "Read", "")),
        calls(call(1, arguments="{")),
        calls(call(1, arguments="}")),
        delta(content="Done"),
    ) == [[], first[:2], first[2:3], first[3:], second[:2], second[2:3], [second[3], *text(2, "Done")[:-1]]]


def test_several_calls_in_one_chunk() -> None:
    chunks = [calls(call(0, "c1", "Read", '{"a":1}'), call(1, "c2", "Read", '{"b":2}')), STOP]
    assert answer(*chunks) == TWO


def test_two_pieces_of_one_call_in_one_chunk() -> None:
    chunks = [calls(call(0, "c1", "Read", '{"a":'), call(0, arguments="1}")), STOP]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1}") + END


def test_interleaved_calls_go_out_one_after_the_other() -> None:
    chunks = one_by_one(
        call(0, "c1", "Read"),
        call(1, "c2", "Write"),
        call(0, arguments='{"a"'),
        call(1, arguments='{"b"'),
        call(0, arguments=":1}"),
        call(1, arguments=":2}"),
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a"', ":1}") + tool(1, "c2", "Write", '{"b"', ":2}") + END


def test_calls_go_out_in_the_order_in_which_they_began() -> None:
    chunks = one_by_one(call(1, "c1", "Read"), call(0, "c2", "Read", '{"b":2}'), call(1, arguments='{"a":1}'))
    assert answer(*chunks) == TWO


def test_what_waits_goes_out_as_soon_as_the_calls_before_it_have_ended() -> None:
    first = tool(0, "c1", "A", "{", "}")
    second = tool(1, "c2", "B", '{"b":', "1}")
    third = tool(2, "c3", "C", "{", "}")
    assert live(
        calls(call(0, "c1", "A", "{"), call(1, "c2", "B", '{"b":'), call(2, "c3", "C")),
        calls(call(0, arguments="}")),
        calls(call(2, arguments="{")),
        calls(call(1, arguments="1}")),
        calls(call(2, arguments="}")),
    ) == [first[:2], first[2:3], [first[3], *second[:2]], second[2:3], [second[3], *third[:-1]]]


def test_what_waits_behind_a_whole_call_goes_out_when_text_comes() -> None:
    first, second = tool(0, "c1", "A", "{", "}"), tool(1, "c2", "B", '{"b":')
    assert live(
        calls(call(0, "c1", "A", "{"), call(1, "c2", "B", '{"b":'), call(0, arguments="}")), delta(content="Text")
    ) == [first[:-1], [first[-1], *second[:-1]]]


def test_a_call_whose_arguments_never_end_holds_the_next_until_the_end() -> None:
    chunks = one_by_one(call(0, "c1", "Read", '{"a":'), call(1, "c2", "Read", '{"b":2}'))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":') + tool(1, "c2", "Read", '{"b":2}') + END


def test_arguments_behind_the_end_of_a_call_are_dropped() -> None:
    chunks = one_by_one(
        call(0, "c1", "Read", '{"a":1}'),
        call(1, "c2", "Read", '{"b":'),
        call(0, arguments="}"),
        call(1, arguments="2}"),
    )
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + tool(1, "c2", "Read", '{"b":', "2}") + END


def test_arguments_behind_the_end_of_a_call_do_not_hide_that_it_has_ended() -> None:
    chunks = [
        calls(call(0, "c1", "Read", '{"a":1}')),
        delta(content="Text"),
        calls(call(0, arguments="}")),
        calls(call(0, name="Read", arguments='{"b":2}')),
        STOP,
    ]
    assert answer(*chunks) == (
        tool(0, "c1", "Read", '{"a":1}') + text(1, "Text") + tool(2, NEW_ID, "Read", '{"b":2}') + END
    )


@pytest.mark.parametrize("names", [1, 2], ids=["name once", "name repeated"])
def test_arguments_behind_whole_ones_stay_with_their_call(names: int) -> None:
    first = [call(0, "c1", "Read")] * names
    chunks = one_by_one(*first, call(0, arguments='{"a":1}'), call(0, "c1", arguments="}"))
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}', "}") + END


def test_arguments_are_not_taken_for_whole_before_they_are() -> None:
    parts = ['{"a":"}', '"', ',"b":{}', "}"]
    chunks = one_by_one(
        call(0, "c1", "A"),
        call(1, "c2", "B", "{}"),
        *(call(0, arguments=part) for part in parts),
        call(1, arguments=" "),
    )
    assert answer(*chunks) == tool(0, "c1", "A", *parts) + tool(1, "c2", "B", "{}") + END


@pytest.mark.parametrize("broken", ["{a}", '{"a":' * 3000 + "1" + "}" * 3000], ids=["bare key", "deep"])
def test_arguments_that_cannot_be_read_are_passed_on(broken: str) -> None:
    chunks = one_by_one(call(0, "c1", "A", broken), call(1, "c2", "B", "{}"))
    assert answer(*chunks) == tool(0, "c1", "A", broken) + tool(1, "c2", "B", "{}") + END


def test_arguments_that_are_no_object_are_wrapped_when_they_are_complete() -> None:
    chunks = one_by_one(
        call(0, "c1", "A", '"}'), call(0, arguments="{}"), call(1, "c2", "B", "{}"), call(0, arguments='"')
    )
    wrapped = '{"__unparsedToolInput":{"raw":"\\"}{}\\"","len":5}}'
    assert answer(*chunks) == tool(0, "c1", "A", wrapped) + tool(1, "c2", "B", "{}") + END


# other forms


def test_the_legacy_function_call() -> None:
    chunks = [
        delta(function_call={"name": "Read", "arguments": ""}),
        delta(function_call={"arguments": '{"a":'}),
        delta(function_call={"arguments": "1}"}),
        delta("function_call"),
    ]
    assert answer(*chunks) == tool(0, NEW_ID, "Read", '{"a":', "1}") + END


def test_a_function_call_beside_the_same_tool_call_is_no_second_call() -> None:
    said = {"name": "Read", "arguments": "{}"}
    chunk = delta(tool_calls=[{"index": 0, "id": "c1", "function": said}], function_call=said)
    assert answer(chunk, STOP) == tool(0, "c1", "Read", "{}") + END


def test_arguments_behind_the_finish_reason_are_kept() -> None:
    chunks = [calls(call(0, "c1", "Read", '{"a":')), STOP, calls(call(0, arguments="1}"))]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":', "1}") + END


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "eos", "end_turn"])
def test_a_call_makes_the_turn_a_tool_use_whatever_the_backend_says(finish: str) -> None:
    assert answer(calls(call(0, "c1", "Read", "{}")), delta(finish)) == tool(0, "c1", "Read", "{}") + END


def test_a_call_that_a_limit_cut_keeps_the_reason() -> None:
    events = answer(calls(call(0, "c1", "Write", '{"text":"abc')), delta("length"))
    assert events == tool(0, "c1", "Write", '{"text":"abc') + ended("max_tokens")


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "content_filter", "anything"])
def test_a_call_that_no_limit_cut_is_not_completed(finish: str) -> None:
    cut = '{"command": "rm -rf /srv/build'
    reason = "refusal" if finish == "content_filter" else "tool_use"
    # a client of a stream parses the arguments itself, and sees that they are no object
    assert answer(calls(call(0, "c1", "Bash", cut)), delta(finish)) == tool(0, "c1", "Bash", cut) + ended(reason)


# text and thinking around calls


def test_text_and_thinking_in_front_of_a_call_are_closed_first() -> None:
    chunks = [delta(reasoning="Hm"), delta(content="I read"), *one_by_one(call(0, "c1", "Read", "{}"))]
    assert answer(*chunks) == thinking(0, "Hm") + text(1, "I read") + tool(2, "c1", "Read", "{}") + END


def test_text_behind_a_call_gets_a_block_of_its_own() -> None:
    chunks = [delta(content="A"), calls(call(0, "c1", "Read", '{"a":1}')), delta(content="B"), delta(content="C"), STOP]
    assert answer(*chunks) == text(0, "A") + tool(1, "c1", "Read", '{"a":1}') + text(2, "B", "C") + END


def test_thinking_behind_a_call_gets_a_block_of_its_own() -> None:
    chunks = [calls(call(0, "c1", "Read", '{"a":1}')), delta(reasoning="Hm"), calls(call(1, "c2", "Read", "{}")), STOP]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + thinking(1, "Hm") + tool(2, "c2", "Read", "{}") + END


def test_text_within_arguments_comes_behind_the_call() -> None:
    chunks = [
        calls(call(0, "c1", "Read", '{"a":')),
        delta(content="Wait"),
        delta(content=" a bit"),
        delta(reasoning="Hm"),
        calls(call(0, arguments="1}")),
        delta(content="Done"),
        STOP,
    ]
    assert answer(*chunks) == (
        tool(0, "c1", "Read", '{"a":', "1}") + text(1, "Wait", " a bit") + thinking(2, "Hm") + text(3, "Done") + END
    )


def test_text_within_arguments_that_never_end_comes_at_the_end() -> None:
    chunks = [calls(call(0, "c1", "Read", '{"a":')), delta(content="Wait"), delta(content="\n"), STOP]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":') + text(1, "Wait") + END


def test_blanks_around_calls_are_no_blocks() -> None:
    chunks = [
        delta(content="\n\n"),
        calls(call(0, "c1", "Read", '{"a":1}')),
        delta(content="\n"),
        calls(call(1, "c2", "Read", '{"b":2}')),
        delta("stop", content="\n"),
    ]
    assert answer(*chunks) == TWO


def test_blanks_in_front_of_a_call_do_not_end_up_behind_it() -> None:
    chunks = [delta(content="\n\n"), calls(call(0, "c1", "Read", '{"a":1}')), delta(content="Text"), STOP]
    assert answer(*chunks) == tool(0, "c1", "Read", '{"a":1}') + text(1, "Text") + END


# what a backend wants back with a call

SIGNED = {"google": {"thought_signature": "CiQB"}}


def kept(index: int, call_id: str) -> list[Any]:
    data = f'claude-gateway:{{"extra_content":{{"{call_id}":{{"google":{{"thought_signature":"CiQB"}}}}}}}}'
    block = {"type": "redacted_thinking", "data": data}
    start = {"type": "content_block_start", "index": index, "content_block": block}
    return [
        ("content_block_start", start),
        ("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


def test_a_signature_goes_out_before_its_call() -> None:  # Gemini
    pieces = [call(0, "c1", "Read", "{}", extra_content=SIGNED), call(1, "c2", "Read", "{}")]
    assert answer(calls(*pieces), STOP) == [
        *kept(0, "c1"),
        *tool(1, "c1", "Read", "{}"),
        *tool(2, "c2", "Read", "{}"),
        *END,
    ]


def test_a_signature_that_comes_late_goes_out_behind_its_call() -> None:
    pieces = [calls(call(0, "c1", "Read", '{"a":')), calls(call(arguments="1}")), calls(call(extra_content=SIGNED))]
    assert answer(*pieces, STOP) == [*tool(0, "c1", "Read", '{"a":', "1}"), *kept(1, "c1"), *END]


def test_a_signature_names_the_id_that_the_client_gets() -> None:
    assert answer(calls(call(0, "call:1f", "Read", "{}", extra_content=SIGNED)), STOP) == [
        *kept(0, "toolu_b64_Y2FsbDoxZg"),
        *tool(1, "toolu_b64_Y2FsbDoxZg", "Read", "{}"),
        *END,
    ]


@pytest.mark.parametrize("extra", ["x", [], {}, None])
def test_what_is_no_signature_is_left_out(extra: Any) -> None:
    assert answer(calls(call(0, "c1", "Read", "{}", extra_content=extra)), STOP) == [*tool(0, "c1", "Read", "{}"), *END]
