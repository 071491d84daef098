"""The memory that a process may use, as the machine and its control groups say."""

from pathlib import Path

import pytest

from gateway.door.memory import memory_mib

V2 = "sys/fs/cgroup/"
V1 = "sys/fs/cgroup/memory/"


@pytest.mark.parametrize(
    ("group", "files", "mib"),
    [
        ("0::/a/b\n", {V2 + "a/b/memory.max": "max\n", V2 + "a/memory.max": f"{64 * 2**20}\n"}, 64),
        ("0::/a/b\n", {V2 + "memory.max": f"{32 * 2**20}\n"}, 32),
        ("4:cpu:/x\n3:memory:/a\n", {V1 + "a/memory.limit_in_bytes": f"{16 * 2**20}\n"}, 16),
        ("3:memory:/outside\n", {V1 + "memory.limit_in_bytes": f"{8 * 2**20}\n"}, 8),
    ],
    ids=["a group around it", "a container", "version 1", "a container, version 1"],
)
def test_the_smallest_limit_counts(group: str, files: dict[str, str], mib: int, tmp_path: Path) -> None:
    for name, text in {"proc/self/cgroup": group, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_mib(tmp_path) == mib


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_mib(tmp_path) >= memory_mib()
