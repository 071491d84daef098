"""How much memory this process may use: the machine's, or less if a control group limits it, as in a container.

https://docs.kernel.org/admin-guide/cgroup-v2.html (`memory.max`); `memory.limit_in_bytes` is version 1's.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MIB: Final = 1024 * 1024
# assumed where the system does not tell
_USUAL_MIB: Final = 4096


def memory_mib(root: Path = Path("/")) -> int:
    """The memory in MiB. `root` has the files of `/proc` and `/sys`."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _USUAL_MIB
    return min([machine, *_limits(root)]) // _MIB


def _limits(root: Path) -> Iterator[int]:
    """The limits of this process's groups, in bytes."""
    for file in _files(root):
        try:
            yield int(file.read_text())
        except (OSError, ValueError):
            # no such group, or "max"
            continue


def _files(root: Path) -> Iterator[Path]:
    groups = root / "sys/fs/cgroup"
    yield groups / "memory/memory.limit_in_bytes"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        top = groups / "memory" if "memory" in controllers.split(",") else groups
        name = "memory.limit_in_bytes" if top != groups else "memory.max"
        if controllers and top == groups:
            continue
        inner = top / group.lstrip("/")
        yield from (folder / name for folder in (inner, *inner.parents) if folder.is_relative_to(top))
    # in a container, the group's own path is not to be seen
    yield groups / "memory.max"
