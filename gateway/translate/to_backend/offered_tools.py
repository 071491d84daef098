"""The tools that a request offers to the backend, and what the model is told of the others.

Of a list that comes with each turn, this is made once for each way that backends have.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.anthropic.known_tools import SharedTools
from gateway.anthropic.request import Tool, ToolChoice
from gateway.openai.profile import Profile
from gateway.openai.request import EncodedTools, ToolSpec
from gateway.translate.to_backend.tool_limits import fit_tools
from gateway.translate.to_backend.tools import left_out_note, translate_tools

# backends in use together hardly have more; which ways a backend has, its refusals can teach
_MOST_WAYS: Final = 8


class OfferedTools(NamedTuple):
    """`notes` are for the system prompt. Nothing of it may be changed."""

    specs: Sequence[ToolSpec]
    notes: Sequence[str]


_NOTHING: Final = OfferedTools((), ())


def offer_tools(tools: Sequence[Tool] | None, choice: ToolChoice | None, profile: Profile) -> OfferedTools:
    """The tools that the backend takes. Raises InvalidRequest for a tool without a name."""
    if not tools:
        return _NOTHING
    if not isinstance(tools, SharedTools) or (choice is not None and choice.name):
        return _offer(tools, choice, profile)
    way = (profile.max_tools, profile.max_description, profile.schema_drops)
    offered: OfferedTools | None = tools.made.get(way)
    if offered is None:
        if len(tools.made) >= _MOST_WAYS:
            tools.made.clear()
        specs, notes = _offer(tools, choice, profile)
        offered = tools.made[way] = OfferedTools(EncodedTools(specs), notes)
    return offered


def _offer(tools: Sequence[Tool], choice: ToolChoice | None, profile: Profile) -> OfferedTools:
    translated, left_out = translate_tools(tools)
    specs, too_many, notes = fit_tools(translated, choice, profile)
    missing = left_out + too_many
    return OfferedTools(specs, [left_out_note(missing), *notes] if missing else notes)
