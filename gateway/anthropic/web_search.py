"""Web searches that clients leave to Anthropic's servers, and the answer where nobody can search.

Claude Code's WebSearch is a request of its own: it offers the server tool alone, and its one message begins with a
fixed phrase (`tests/samples/claude-code/2.1.330-web-search-side-call.json`). A model that is asked so invents its
results, and the client takes them for real. It shows an error in the result block as one.
"""

from typing import Final

import msgspec
from msgspec import Raw

from gateway.anthropic.ids import new_server_tool_use_id
from gateway.anthropic.request import MessagesRequest, Tool
from gateway.anthropic.writer import BlockWriter, Finish, Usage

_NAME: Final = "web_search"
_ASKS: Final = "Perform a web search for the query:"
_SAID: Final = (
    "The web search was not made: this gateway has no search provider. There are no results; do not make any up. "
    "Tell the user that web search is not available here."
)


def is_web_search(tool: Tool) -> bool:
    """Whether a tool is the web search of Anthropic's servers, of any version."""
    return (tool.type or "").startswith(f"{_NAME}_")


def searched_query(request: MessagesRequest) -> str | None:
    """What Claude Code's request for a web search asks for; None for any other request."""
    if not request.tools or not all(map(is_web_search, request.tools)):
        return None
    # a system turn may stand beside it
    turns = [message for message in request.messages if message.role != "system"]
    if len(turns) != 1 or isinstance(turns[0].content, Raw):
        return None
    content = turns[0].content
    texts = [content] if isinstance(content, str) else [block.text or "" for block in content if block.type == "text"]
    if not texts or not texts[-1].startswith(_ASKS):
        return None
    return texts[-1].removeprefix(_ASKS).strip()


def write_unavailable(query: str, writer: BlockWriter) -> Finish:
    """Write the answer to a search that cannot be made."""
    search = new_server_tool_use_id()
    writer.begin_server_tool_use(search, _NAME)
    writer.input_json(msgspec.json.encode({"query": query}).decode())
    writer.end_block()
    writer.web_search_error(search, "unavailable")
    writer.begin_text()
    writer.text(_SAID)
    writer.end_block()
    finish = Finish("end_turn", None, Usage(input_tokens=0, output_tokens=0))
    writer.finish(finish)
    return finish
