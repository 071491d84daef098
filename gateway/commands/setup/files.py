"""Claude Code's two files: where they are, how they are read and replaced, and their backups.

A file is replaced as a whole (a temporary file beside it, then a rename) and is readable by its owner only, since it
contains a token. A symbolic link stays a link: its target is replaced. The backup is beside the link and has the file's
contents from before the set-up; an empty backup means that there was no file.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_BACKUP: Final = ".before-claude-gateway"
_PRIVATE: Final = 0o600


class FileFault(Exception):
    """A file cannot be used. The message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class ClientFile:
    """One of the client's files. If it does not exist, `text` is "" and `mode` is None."""

    path: Path
    text: str
    mode: int | None
    backup: str | None

    @property
    def backup_path(self) -> Path:
        """The path of the backup, whether or not it exists."""
        return self.path.with_name(self.path.name + _BACKUP)

    @property
    def target(self) -> Path:
        """The path with symbolic links resolved."""
        return Path(os.path.realpath(self.path))


def settings_path(environment: Mapping[str, str]) -> Path:
    """The path of the user's Claude Code settings."""
    return _folder(environment) / "settings.json"


def state_path(environment: Mapping[str, str]) -> Path:
    """The path of the client's state file, which records whether onboarding is completed. The client looks for it in
    this order.
    """
    old = _folder(environment) / ".config.json"
    return old if old.exists() else Path(environment.get("CLAUDE_CONFIG_DIR") or _home(environment)) / ".claude.json"


def read(path: Path) -> ClientFile:
    """Read the file and its backup. Raises FileFault if either cannot be read."""
    backup = path.with_name(path.name + _BACKUP)
    return ClientFile(path, _text(path) or "", _mode(path), _text(backup))


def pending(file: ClientFile, text: str) -> bool:
    """Whether there is anything to write: the file differs from `text`, or other users can read it."""
    return text != file.text or (file.mode is not None and file.mode & 0o077 != 0)


def write(file: ClientFile, text: str, *, back_up: bool) -> ClientFile:
    """Replace the file, after writing its backup if `back_up`. Raises FileFault and then leaves the file unchanged."""
    if back_up:
        _replace(file.backup_path, file.text)
        file = replace(file, backup=file.text)
    _replace(file.target, text)
    return replace(file, text=text, mode=_PRIVATE)


def put_back(file: ClientFile, text: str) -> None:
    """Replace the file, or remove it if `text` is ""; then remove the backup. Raises FileFault."""
    if text:
        _replace(file.target, text)
    else:
        _remove(file.target)
    _remove(file.backup_path)


def _folder(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("CLAUDE_CONFIG_DIR") or _home(environment) / ".claude")


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise FileFault(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8, then run this again") from None
    except OSError as error:
        raise FileFault(f"{path}: cannot be read: {error.strerror}") from None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None


def _replace(path: Path, text: str) -> None:
    temporary = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp creates the file readable by its owner only
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise FileFault(f"{path}: cannot be written: {error.strerror}: nothing was changed in it") from None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileFault(f"{path}: cannot be removed: {error.strerror}") from None
