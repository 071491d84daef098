"""The tools that a request offers to the backend, and the notes for the model on the others.

The result for a tool list that comes with each turn is cached for each profile.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.anthropic.request import Tool, ToolChoice
from gateway.anthropic.tool_list_cache import SharedTools
from gateway.openai.profile import Profile
from gateway.openai.request import EncodedTools, ToolSpec
from gateway.translate.to_backend.tool_limits import fit_tools
from gateway.translate.to_backend.tools import left_out_note, translate_tools

# cached results per list; each model has a profile, and a backend's refusals can change it (`refusals.remedy`)
_MOST_PROFILES: Final = 16


class OfferedTools(NamedTuple):
    """The tools offered, and `notes` for the system prompt. Shared by requests; must not be changed."""

    specs: Sequence[ToolSpec]
    notes: Sequence[str]


_NOTHING: Final = OfferedTools((), ())


def offer_tools(tools: Sequence[Tool] | None, choice: ToolChoice | None, profile: Profile) -> OfferedTools:
    """The tools that the backend accepts. Raises InvalidRequest for a tool without a name."""
    if not tools:
        return _NOTHING
    if not isinstance(tools, SharedTools) or (choice is not None and choice.name):
        return _offer(tools, choice, profile)
    # by identity, which is cheap and misses no field; holding the profile keeps its id from being another's
    made: tuple[Profile, OfferedTools] | None = tools.made.get(id(profile))
    if made is None:
        if len(tools.made) >= _MOST_PROFILES:
            tools.made.clear()
        specs, notes = _offer(tools, choice, profile)
        made = tools.made[id(profile)] = (profile, OfferedTools(EncodedTools(specs), notes))
    return made[1]


def _offer(tools: Sequence[Tool], choice: ToolChoice | None, profile: Profile) -> OfferedTools:
    translated, left_out = translate_tools(tools)
    specs, too_many, notes = fit_tools(translated, choice, profile)
    missing = left_out + too_many
    return OfferedTools(specs, [left_out_note(missing), *notes] if missing else notes)
