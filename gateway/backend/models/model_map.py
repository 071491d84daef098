"""The user's own names for models: `haiku=small/Model,claude-*=big/Model`.

Claude Code requests Anthropic's models in sub-agents and side tasks, whichever model the user chose; this maps them to
the backend's.
"""

from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

# keywords for whole families of names
_FAMILIES: Final = {
    "haiku": "claude*haiku*",
    "sonnet": "claude*sonnet*",
    "opus": "claude*opus*",
}
_DEFAULT: Final = "default"


class ModelMap(Struct, frozen=True):
    """Patterns in lower case and the models that they stand for, in the order in which they are tried; `default` stands
    for whatever no pattern matches.
    """

    rules: tuple[tuple[str, str], ...] = ()
    default: str | None = None

    def target(self, name: str) -> str | None:
        """The backend's model for a client's name, or None if no pattern matches."""
        lowered = name.lower()
        return next((model for pattern, model in self.rules if fnmatchcase(lowered, pattern)), self.default)


def parse_model_map(value: str) -> ModelMap:
    """Parse `pattern=model,…`. A pattern may contain `*` and `?`, or be haiku, sonnet, opus, or default, which stands
    for every other name wherever it is in the list.

    Raises ValueError, which says what is allowed.
    """
    rules: list[tuple[str, str]] = []
    default = None
    for entry in filter(None, (part.strip() for part in value.split(","))):
        pattern, equals, model = (part.strip() for part in entry.partition("="))
        if not (pattern and equals and model):
            raise ValueError("must be a list such as haiku=small-model,claude-*=big-model")
        if pattern.lower() == _DEFAULT:
            default = default or model
        else:
            rules.append((_FAMILIES.get(pattern.lower(), pattern.lower()), model))
    return ModelMap(rules=tuple(rules), default=default)
