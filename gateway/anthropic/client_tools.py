"""The tools whose schemas Anthropic defines and clients run. Claude knows them by their type; other models must be
told.

    bash, text editor, memory, computer    one tool each, by a name that the client chooses among few
    computer and browser toolsets          many tools (members) in one entry without a name; a call of a member carries
                                           the toolset's name, as both toolsets have a `left_click`

Each version has its own row: clients run what their version documents, and nothing else. Sources:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-reference, and the types of
anthropics/anthropic-sdk-python (`types/computer_*_input.py`, `types/browser_*_input.py`, `types/beta/`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from gateway.anthropic.request import Tool

Schema = dict[str, Any]


class ClientTool(NamedTuple):
    """One tool as a model is told of it. `toolset` is the name of the toolset that it is a member of, if any."""

    name: str
    description: str
    input_schema: Raw
    toolset: str | None = None


class _Member(NamedTuple):
    """A member of a toolset; unless `on`, it is offered only if the client enables it."""

    description: str
    schema: Raw
    on: bool = True


class Toolset(NamedTuple):
    """A toolset: the name that calls of its members carry, and the members."""

    name: str
    members: Mapping[str, _Member]


_decode_configs = msgspec.json.Decoder(dict[str, Any] | None).decode


def client_tools(tool: Tool) -> list[ClientTool] | None:
    """The tools that an entry of `tools` stands for; None if Anthropic defines no client tool of its type."""
    kind = tool.type or ""
    if make := _TOOLS.get(kind):
        return [make(tool)]
    toolset = TOOLSETS.get(kind)
    if toolset is None:
        return None
    return [
        ClientTool(name, member.description, member.schema, toolset.name)
        for name, member in toolset.members.items()
        if _setting(tool, name, "enabled", default=member.on)
    ]


def is_deferred(tool: Tool) -> bool:
    """Whether the client loads the tool, or the members of the toolset, later. It is the same for all members."""
    toolset = TOOLSETS.get(tool.type or "")
    if toolset is None:
        return bool(tool.defer_loading)
    return any(_setting(tool, name, "defer_loading", default=False) for name in toolset.members)


def _setting(tool: Tool, member: str, name: str, *, default: bool) -> bool:
    configs = _configs(tool)
    config = configs.get(member)
    value = config.get(name) if isinstance(config, dict) else config
    # what is no boolean turns nothing on
    return default if value is None else value is True


def _configs(tool: Tool) -> dict[str, Any]:
    try:
        return _decode_configs(tool.configs or b"null") or {}
    except msgspec.DecodeError:
        return {}


def _schema(required: tuple[str, ...] = (), /, **properties: Schema) -> Raw:
    schema: Schema = {"type": "object", "properties": {name.rstrip("_"): value for name, value in properties.items()}}
    if required:
        schema["required"] = list(required)
    return Raw(msgspec.json.encode(schema))


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _one_of(*values: str, description: str = "") -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)}
    return schema | ({"description": description} if description else {})


def _integer(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _integers(number: int, description: str) -> Schema:
    items = {"type": "integer"}
    return {"type": "array", "items": items, "minItems": number, "maxItems": number, "description": description}


# bash


def _bash(tool: Tool) -> ClientTool:
    return ClientTool(
        tool.name or "bash",
        "Run a command in a bash shell. The shell keeps its state between calls. Give either a command, or restart.",
        _schema(command=_text("the command to run"), restart={"type": "boolean", "description": "start a new shell"}),
    )


# the text editor and the memory tool

_PATH: Final = _text("the path of the file or directory")
_VIEW_RANGE: Final = _integers(2, "for view: the first and last line, counted from 1; -1 is the end of the file")
_EDITS: Final[dict[str, Schema]] = {
    "file_text": _text("for create: the content of the new file"),
    "old_str": _text("for str_replace: the text to replace, exactly as in the file, where it must occur once"),
}
_NEW_STR: Final = _text("for str_replace: the text that replaces it")
_INSERT_LINE: Final = _integer("for insert: the line after which to insert; 0 is the beginning of the file")
_INSERT_TEXT: Final = _text("for insert: the text to insert")


def _editor(name: str, *, undo: bool = False, insert_text: bool = False) -> Callable[[Tool], ClientTool]:
    commands = ("view", "create", "str_replace", "insert", *(("undo_edit",) if undo else ()))
    inserted = {"insert_text": _INSERT_TEXT} if insert_text else {}
    new = (
        _NEW_STR if insert_text else _text("for str_replace: the text that replaces it; for insert: the text to insert")
    )
    schema = _schema(
        ("command", "path"),
        command=_one_of(*commands),
        path=_PATH,
        **_EDITS,
        new_str=new,
        insert_line=_INSERT_LINE,
        **inserted,
        view_range=_VIEW_RANGE,
    )

    def make(tool: Tool) -> ClientTool:
        shown = f" A view shows at most {tool.max_characters} characters." if tool.max_characters else ""
        undone = " undo_edit takes back the last edit of a file." if undo else ""
        return ClientTool(
            tool.name or name,
            f"View, create and edit text files, and list directories.{undone}{shown}",
            schema,
        )

    return make


def _memory(tool: Tool) -> ClientTool:
    return ClientTool(
        tool.name or "memory",
        "Keep notes in files below /memories, which are still there in later conversations. View /memories before "
        "you begin, and record what will be worth knowing.",
        _schema(
            ("command",),
            command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
            path=_text("the path of the file or directory, below /memories; for all commands except rename"),
            **_EDITS,
            new_str=_NEW_STR,
            insert_line=_INSERT_LINE,
            insert_text=_INSERT_TEXT,
            view_range=_VIEW_RANGE,
            old_path=_text("for rename: the path until now"),
            new_path=_text("for rename: the path from now on"),
        ),
    )


# the computer

_POINT: Final = "x and y in pixels, from the upper left corner"
_COORDINATE: Final = _integers(2, _POINT)
_HELD: Final = _text("keys to hold meanwhile, such as ctrl+shift")
_DIRECTION: Final = _one_of("up", "down", "left", "right")
_REGION: Final = _integers(4, "x0, y0, x1, y1 in pixels: the upper left and the lower right corner")
_KEYS: Final = "a key or a combination, such as Return, Page_Down or ctrl+s"

_ACTIONS_2024: Final = (
    "key",
    "type",
    "mouse_move",
    "left_click",
    "left_click_drag",
    "right_click",
    "middle_click",
    "double_click",
    "screenshot",
    "cursor_position",
)
_ACTIONS_2025: Final = (
    *_ACTIONS_2024,
    "left_mouse_down",
    "left_mouse_up",
    "scroll",
    "hold_key",
    "wait",
    "triple_click",
)


def _computer(actions: tuple[str, ...], *, zooms: bool = False) -> Callable[[Tool], ClientTool]:
    def make(tool: Tool) -> ClientTool:
        zoom = zooms and tool.enable_zoom is True
        properties: dict[str, Schema] = {
            "action": _one_of(*actions, *(("zoom",) if zoom else ())),
            "coordinate": _integers(2, f"where to act: {_POINT}; for left_click_drag: where to release"),
            "text": _text(f"for type: the text; for key and hold_key: {_KEYS}; for clicks and scroll: keys to hold"),
        }
        if actions is not _ACTIONS_2024:
            properties |= {
                "start_coordinate": _integers(2, f"for left_click_drag: where to press: {_POINT}"),
                "scroll_direction": _one_of("up", "down", "left", "right", description="for scroll"),
                "scroll_amount": _integer("for scroll: the number of clicks of the wheel"),
                "duration": {"type": "number", "description": "for wait and hold_key: seconds"},
            }
        if zoom:
            properties["region"] = {**_REGION, "description": f"for zoom: {_REGION['description']}"}
        width, height = tool.display_width_px, tool.display_height_px
        size = f" The screen has {width} × {height} pixels." if width and height else ""  # noqa: RUF001  # the sign for a size
        return ClientTool(
            tool.name or "computer",
            "Use a computer with mouse and keyboard, and look at its screen: take a screenshot first, and again to see "
            f"what an action did.{size}",
            _schema(("action",), **properties),
        )

    return make


_TOOLS: Final[Mapping[str, Callable[[Tool], ClientTool]]] = {
    "bash_20241022": _bash,
    "bash_20250124": _bash,
    "text_editor_20241022": _editor("str_replace_editor", undo=True),
    "text_editor_20250124": _editor("str_replace_editor", undo=True),
    "text_editor_20250429": _editor("str_replace_based_edit_tool"),
    "text_editor_20250728": _editor("str_replace_based_edit_tool", insert_text=True),
    "memory_20250818": _memory,
    "computer_20241022": _computer(_ACTIONS_2024),
    "computer_20250124": _computer(_ACTIONS_2025),
    "computer_20251124": _computer(_ACTIONS_2025, zooms=True),
}

# toolsets


def _at(text: str) -> _Member:
    return _Member(f"{text} at the coordinate, or where the cursor is.", _schema(coordinate=_COORDINATE, text=_HELD))


_COMPUTER: Final[Mapping[str, _Member]] = {
    "cursor_position": _Member("Tell where the cursor is.", _schema()),
    "double_click": _at("Double-click the left mouse button"),
    "hold_key": _Member(
        "Hold a key for a time.",
        _schema(("text", "duration"), text=_text(_KEYS), duration=_integer("seconds")),
    ),
    "key": _Member("Press a key.", _schema(("text",), text=_text(_KEYS), repeat=_integer("how often; 1 if absent"))),
    "left_click": _at("Click the left mouse button"),
    "left_click_drag": _Member(
        "Press the left mouse button at the start, drag, and release it at the coordinate.",
        _schema(("start_coordinate", "coordinate"), start_coordinate=_COORDINATE, coordinate=_COORDINATE, text=_HELD),
    ),
    "left_mouse_down": _Member("Press the left mouse button where the cursor is, and hold it.", _schema()),
    "left_mouse_up": _Member("Release the left mouse button.", _schema()),
    "middle_click": _at("Click the middle mouse button"),
    "mouse_move": _Member(
        "Move the cursor without a click, to hover.", _schema(("coordinate",), coordinate=_COORDINATE)
    ),
    "right_click": _at("Click the right mouse button"),
    "screenshot": _Member("Take a screenshot.", _schema()),
    "scroll": _Member(
        "Scroll at the coordinate, or where the cursor is.",
        _schema(
            ("scroll_direction", "scroll_amount"),
            scroll_direction=_DIRECTION,
            scroll_amount=_integer("clicks of the wheel"),
            coordinate=_COORDINATE,
            text=_HELD,
        ),
    ),
    "triple_click": _at("Triple-click the left mouse button"),
    "type": _Member("Type text.", _schema(("text",), text=_text("the text"))),
    "wait": _Member("Wait.", _schema(("duration",), duration=_integer("seconds"))),
    "zoom": _Member(
        "Take a screenshot of a region, enlarged. Its corners are in pixels of the whole screenshot.",
        _schema(("region",), region=_REGION),
    ),
}

_TAB: Final = _text("the tab; the active one if absent")
_SPOT: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["coordinate"]},
        "x": {"type": "integer"},
        "y": {"type": "integer"},
    },
    "required": ["type", "x", "y"],
    "description": "a point of the viewport, in pixels",
}
_ELEMENT: Final[Schema] = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["ref"]}, "ref": {"type": "string"}},
    "required": ["type", "ref"],
    "description": "an element, by a reference such as ref_7 from read_page or find; it is stale after navigation",
}
_TARGET: Final[Schema] = {"anyOf": [_SPOT, _ELEMENT]}


def _on(text: str) -> _Member:
    return _Member(
        f"{text} at a point or on an element.",
        _schema(
            ("target",), target=_TARGET, modifiers=_text("keys to hold meanwhile, such as ctrl+shift"), tab_id=_TAB
        ),
    )


def _seconds(text: str) -> Schema:
    return {"type": "number", "description": f"{text}; at most 30"}


def _list_of_texts(description: str) -> Schema:
    return {"type": "array", "items": {"type": "string"}, "description": description}


_BROWSER: Final[Mapping[str, _Member]] = {
    "close_tab": _Member("Close a tab.", _schema(("tab_id",), tab_id=_text("the tab"))),
    "double_click": _on("Double-click"),
    "file_upload": _Member(
        "Choose files in a file input. Give paths, document_ids or both.",
        _schema(
            ("target",),
            target=_ELEMENT,
            paths=_list_of_texts("paths where the browser runs"),
            document_ids=_list_of_texts("references of files that have been made ready"),
            tab_id=_TAB,
        ),
        on=False,
    ),
    "find": _Member(
        "Find elements by a description in words. Returns at most 20, with references.",
        _schema(("query",), query=_text("such as: the search bar"), tab_id=_TAB),
    ),
    "form_input": _Member(
        "Set the value of an input, a text area, a selection or a checkbox.",
        _schema(
            ("target", "value"),
            target=_ELEMENT,
            value={
                "anyOf": [{"type": "string"}, {"type": "boolean"}, {"type": "number"}],
                "description": "a boolean for a checkbox, an option's value or text for a selection",
            },
            tab_id=_TAB,
        ),
    ),
    "get_page_text": _Member("Read the page's text, the article first.", _schema(tab_id=_TAB)),
    "hold_key": _Member(
        "Hold a key for a time.",
        _schema(("text", "duration"), text=_text(_KEYS), duration=_seconds("seconds"), tab_id=_TAB),
    ),
    "hover": _Member(
        "Move the cursor to a point or an element without a click.", _schema(("target",), target=_TARGET, tab_id=_TAB)
    ),
    "javascript_exec": _Member(
        "Run JavaScript in the page. Returns the value of the last expression; do not write return.",
        _schema(("text",), text=_text("the code"), tab_id=_TAB),
        on=False,
    ),
    "key": _Member(
        "Press keys.",
        _schema(
            ("text",),
            text=_text("a key or a combination, such as Return or ctrl+a, or several with spaces between them"),
            repeat=_integer("how often; 1 if absent"),
            tab_id=_TAB,
        ),
    ),
    "left_click": _on("Click"),
    "left_click_drag": _Member(
        "Press the mouse button at one point, drag, and release it at another.",
        _schema(("from", "target"), from_=_SPOT, target=_SPOT, tab_id=_TAB),
    ),
    "left_mouse_down": _Member(
        "Press the left mouse button and hold it.", _schema(("target",), target=_SPOT, tab_id=_TAB)
    ),
    "left_mouse_up": _Member("Release the left mouse button.", _schema(("target",), target=_SPOT, tab_id=_TAB)),
    "list_tabs": _Member("List the open tabs.", _schema()),
    "middle_click": _on("Click the middle mouse button"),
    "mouse_move": _Member(
        "Move the cursor to a point without a click.", _schema(("target",), target=_SPOT, tab_id=_TAB)
    ),
    "navigate": _Member(
        "Go to a URL, or through the history.",
        _schema(("url",), url=_text("a URL, or: back, forward, reload"), tab_id=_TAB),
    ),
    "new_tab": _Member("Open an empty tab. Returns its tab_id.", _schema()),
    "read_console": _Member(
        "Read what has been written to the console since the last call.", _schema(tab_id=_TAB), on=False
    ),
    "read_network": _Member("List the network requests since the last call.", _schema(tab_id=_TAB), on=False),
    "read_page": _Member(
        "Read the page as an accessibility tree, with references of its elements. A long page is cut: narrow it.",
        _schema(
            filter=_one_of("all", "interactive", description="visible elements if absent"),
            depth=_integer("how deep; 15 if absent"),
            ref=_text("the element at which to begin"),
            tab_id=_TAB,
        ),
    ),
    "right_click": _on("Right-click"),
    "screenshot": _Member("Take a screenshot of the viewport.", _schema(tab_id=_TAB)),
    "scroll": _Member(
        "Scroll at a point.",
        _schema(
            ("target", "scroll_direction"),
            target=_SPOT,
            scroll_direction=_DIRECTION,
            scroll_amount=_integer("clicks of the wheel, 1 to 10; 3 if absent"),
            tab_id=_TAB,
        ),
    ),
    "scroll_to": _Member("Scroll an element into view.", _schema(("target",), target=_ELEMENT, tab_id=_TAB)),
    "switch_tab": _Member("Make a tab the active one.", _schema(("tab_id",), tab_id=_text("the tab"))),
    "triple_click": _on("Triple-click"),
    "type": _Member("Type text where the focus is.", _schema(("text",), text=_text("the text"), tab_id=_TAB)),
    "wait": _Member("Wait.", _schema(("duration",), duration=_seconds("seconds"), tab_id=_TAB)),
    "zoom": _Member(
        "Take a screenshot of a region of the viewport, enlarged.",
        _schema(("region",), region=_REGION, tab_id=_TAB),
    ),
}

TOOLSETS: Final[Mapping[str, Toolset]] = {
    "computer_toolset_20260801": Toolset("computer", _COMPUTER),
    "browser_toolset_20260801": Toolset("browser", _BROWSER),
}
