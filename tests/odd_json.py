"""JSON as nobody should send it, for Hypothesis: values of any shape, and a good value with one odd part."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

# no deadline: machines are busy; no database: each run stands for itself
fuzz = settings(max_examples=150, deadline=None, database=None)


def json_values(words: Sequence[str], keys: Sequence[str], *, most_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Any JSON value. `words` are texts that mean something to the reader under test, `keys` names that it looks for."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=4),
        max_leaves=most_leaves,
    )


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each part of a value, as keys and positions; that to the whole is empty."""
    found = [path]
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += paths_in(item, (*path, key))
    return found


def with_odd(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """A copy of a value with something odd at the end of the path."""
    if not path:
        return odd
    changed = copy.copy(value)
    changed[path[0]] = with_odd(value[path[0]], path[1:], odd)
    return changed
