"""The schemas of Anthropic's own client tools, compared with the types of the official SDK where it has them."""

from typing import Any

import msgspec
import pytest

from gateway.anthropic.client_tools import TOOLSETS, client_tools, is_deferred
from gateway.anthropic.request import Tool

# the SDK's required fields of each member's input, and its other fields
COMPUTER = {
    "cursor_position": ("", ""),
    "double_click": ("", "coordinate text"),
    "hold_key": ("duration text", ""),
    "key": ("text", "repeat"),
    "left_click": ("", "coordinate text"),
    "left_click_drag": ("coordinate start_coordinate", "text"),
    "left_mouse_down": ("", ""),
    "left_mouse_up": ("", ""),
    "middle_click": ("", "coordinate text"),
    "mouse_move": ("coordinate", ""),
    "right_click": ("", "coordinate text"),
    "screenshot": ("", ""),
    "scroll": ("scroll_amount scroll_direction", "coordinate text"),
    "triple_click": ("", "coordinate text"),
    "type": ("text", ""),
    "wait": ("duration", ""),
    "zoom": ("region", ""),
}
BROWSER = {
    "close_tab": ("tab_id", ""),
    "double_click": ("target", "modifiers tab_id"),
    "find": ("query", "tab_id"),
    "form_input": ("target value", "tab_id"),
    "get_page_text": ("", "tab_id"),
    "hold_key": ("duration text", "tab_id"),
    "hover": ("target", "tab_id"),
    "key": ("text", "repeat tab_id"),
    "left_click": ("target", "modifiers tab_id"),
    "left_click_drag": ("from target", "tab_id"),
    "left_mouse_down": ("target", "tab_id"),
    "left_mouse_up": ("target", "tab_id"),
    "list_tabs": ("", ""),
    "middle_click": ("target", "modifiers tab_id"),
    "mouse_move": ("target", "tab_id"),
    "navigate": ("url", "tab_id"),
    "new_tab": ("", ""),
    "read_page": ("", "depth filter ref tab_id"),
    "right_click": ("target", "modifiers tab_id"),
    "screenshot": ("", "tab_id"),
    "scroll": ("scroll_direction target", "scroll_amount tab_id"),
    "scroll_to": ("target", "tab_id"),
    "switch_tab": ("tab_id", ""),
    "triple_click": ("target", "modifiers tab_id"),
    "type": ("text", "tab_id"),
    "wait": ("duration", "tab_id"),
    "zoom": ("region", "tab_id"),
}
OFF_BY_DEFAULT = {
    "file_upload": ("target", "document_ids paths tab_id"),
    "javascript_exec": ("text", "tab_id"),
    "read_console": ("", "tab_id"),
    "read_network": ("", "tab_id"),
}


def tool(**fields: Any) -> Tool:
    return (
        msgspec.convert(fields, Tool)
        if "configs" not in fields
        else msgspec.json.decode(msgspec.json.encode(fields), type=Tool)
    )


def offered(**fields: Any) -> dict[str, Any]:
    """The schemas of what an entry stands for, by name."""
    return {each.name: msgspec.json.decode(each.input_schema) for each in client_tools(tool(**fields)) or ()}


def fields_of(schema: Any) -> tuple[str, str]:
    required = sorted(schema.get("required", ()))
    return " ".join(required), " ".join(sorted(set(schema["properties"]) - set(required)))


@pytest.mark.parametrize(
    ("kind", "members"), [("computer_toolset_20260801", COMPUTER), ("browser_toolset_20260801", BROWSER)]
)
def test_a_toolset_has_the_members_and_fields_that_clients_know(kind: str, members: dict[str, Any]) -> None:
    assert {name: fields_of(schema) for name, schema in offered(type=kind).items()} == members
    assert {each.toolset for each in client_tools(tool(type=kind)) or ()} == {TOOLSETS[kind].name}


def test_members_that_are_off_are_offered_once_the_client_turns_them_on() -> None:
    configs = {name: {"enabled": True} for name in OFF_BY_DEFAULT}

    schemas = offered(type="browser_toolset_20260801", configs=configs)

    assert {name: fields_of(schema) for name, schema in schemas.items()} == BROWSER | OFF_BY_DEFAULT


@pytest.mark.parametrize("off", [{"enabled": False}, {"enabled": "yes"}, False])
def test_members_that_the_client_turns_off_are_not_offered(off: Any) -> None:
    schemas = offered(type="computer_toolset_20260801", configs={"zoom": off, "type": {"enabled": None}, "key": None})

    assert set(schemas) == set(COMPUTER) - {"zoom"}


def test_a_toolset_is_loaded_later_if_its_members_are() -> None:
    assert is_deferred(tool(type="browser_toolset_20260801", configs={"find": {"defer_loading": True}}))
    assert not is_deferred(tool(type="browser_toolset_20260801", configs={"find": {"enabled": True}}))
    assert is_deferred(tool(type="bash_20250124", name="bash", defer_loading=True))


EDITOR = "file_text insert_line new_str old_str view_range"
ONE_TOOL: dict[str, tuple[dict[str, Any], str, tuple[str, str]]] = {
    "bash_20241022": ({}, "bash", ("", "command restart")),
    "bash_20250124": ({}, "bash", ("", "command restart")),
    "text_editor_20241022": ({}, "str_replace_editor", ("command path", EDITOR)),
    "text_editor_20250124": ({}, "str_replace_editor", ("command path", EDITOR)),
    "text_editor_20250429": ({}, "str_replace_based_edit_tool", ("command path", EDITOR)),
    "text_editor_20250728": (
        {"max_characters": 9000},
        "str_replace_based_edit_tool",
        ("command path", "file_text insert_line insert_text new_str old_str view_range"),
    ),
    "memory_20250818": (
        {},
        "memory",
        ("command", "file_text insert_line insert_text new_path new_str old_path old_str path view_range"),
    ),
    "computer_20241022": ({}, "computer", ("action", "coordinate text")),
    "computer_20250124": (
        {"enable_zoom": True},
        "computer",
        ("action", "coordinate duration scroll_amount scroll_direction start_coordinate text"),
    ),
    "computer_20251124": (
        {"enable_zoom": True},
        "computer",
        ("action", "coordinate duration region scroll_amount scroll_direction start_coordinate text"),
    ),
}


@pytest.mark.parametrize(("kind", "case"), ONE_TOOL.items(), ids=ONE_TOOL)
def test_each_version_of_a_tool_has_the_fields_that_it_documents(
    kind: str, case: tuple[dict[str, Any], str, tuple[str, str]]
) -> None:
    settings, name, fields = case

    [(offered_name, schema)] = offered(type=kind, **settings).items()

    assert (offered_name, fields_of(schema)) == (name, fields)
    assert list(offered(type=kind, name="my_own", **settings)) == ["my_own"]


def test_only_editors_that_can_undo_offer_it() -> None:
    commands = {
        kind: next(iter(offered(type=kind).values()))["properties"]["command"]["enum"]
        for kind in ONE_TOOL
        if "editor" in kind
    }
    assert {kind for kind, names in commands.items() if "undo_edit" in names} == {
        "text_editor_20241022",
        "text_editor_20250124",
    }


def test_what_the_client_says_of_the_screen_and_of_long_files_is_told() -> None:
    screen = tool(type="computer_20250124", name="computer", display_width_px=1024, display_height_px=768)
    editor = tool(type="text_editor_20250728", name="e", max_characters=9000)

    assert "1024" in (client_tools(screen) or [])[0].description
    assert "9000" in (client_tools(editor) or [])[0].description


@pytest.mark.parametrize("kind", ["custom", None, "web_search_20250305", "bash_20990101", "mcp_toolset"])
def test_other_types_are_no_client_tools(kind: str | None) -> None:
    assert client_tools(tool(type=kind, name="x")) is None
