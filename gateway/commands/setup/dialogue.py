"""`claude-gateway setup` from its flags to the files: asks for what is missing, shows the changes, writes them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.commands.setup import client_settings, files, json_text
from gateway.commands.setup.client_settings import BASE_URL, MODEL, ONBOARDING, OWNED, TOKEN, Choice
from gateway.commands.setup.files import ClientFile, FileFault
from gateway.commands.setup.inputs import DEFAULT_URL, BadInput, checked_token, checked_url, given_token
from gateway.commands.setup.model_list import NoModels, Offer, fetch, is_local, named, warnings


@dataclass(frozen=True, slots=True)
class Flags:
    """The command's flags, and whether standard input is a terminal."""

    url: str | None = None
    model: str | None = None
    token_file: Path | None = None
    yes: bool = False
    dry_run: bool = False
    uninstall: bool = False
    terminal: bool = False

    @property
    def asks(self) -> bool:
        """Whether questions may be asked."""
        return self.terminal and not self.yes


def setup(flags: Flags, environment: Mapping[str, str]) -> int:
    """Set the client up, or undo the set-up. Prints what it does. Returns the exit code: 0, or 1 on failure."""
    try:
        settings = _read(files.settings_path(environment))
        state = _read(files.state_path(environment))
        if flags.uninstall:
            return _uninstall(flags, settings, state)
        choice, notes = _choose(flags, settings, environment)
        return _install(flags, settings, state, choice, notes)
    except (BadInput, FileFault, NoModels) as error:
        print(f"claude-gateway setup: {error}", file=sys.stderr)
        return 1


def _read(path: Path) -> ClientFile:
    """Read a file and check that it and its backup are JSON objects. Raises FileFault."""
    file = files.read(path)
    for place, text in ((file.path, file.text), (file.backup_path, file.backup or "")):
        try:
            if text.removeprefix("\ufeff").strip():
                json_text.parse(text)
        except json_text.InvalidJson as error:
            raise FileFault(
                f"{place}: not valid JSON: {error}: correct it, or move it away; nothing was changed"
            ) from None
    return file


def _choose(flags: Flags, settings: ClientFile, environment: Mapping[str, str]) -> tuple[Choice, list[str]]:
    """What the client shall use, and notes for the user. Raises BadInput, NoModels."""
    if not (flags.yes or flags.dry_run or flags.terminal):
        raise BadInput("no terminal to ask on: give --yes, with --model and --token-file")
    current = _string(settings, BASE_URL)
    url = _url(flags, current)
    token = _token(flags, settings, environment, same=url == current)
    offer = _offer(flags, fetch(url, token), _string(settings, MODEL))
    notes = warnings(offer)
    if url.startswith("http:") and not is_local(url):
        notes.append(f"{url} is not encrypted: others on the network can read your token and prompts.")
    if environment.get("ANTHROPIC_API_KEY"):
        notes.append("ANTHROPIC_API_KEY is set in this shell: unset it, or Claude Code sends it to the gateway too.")
    if settings.path.is_symlink():
        notes.append(f"{settings.path} is a link: your token is written to {settings.target}.")
    return Choice(url, token, offer.id, offer.context, offer.output, offer.thinks), notes


def _url(flags: Flags, current: str | None) -> str:
    if flags.url is None and flags.asks:
        from gateway.commands.setup.prompts import ask_url

        return ask_url(current or DEFAULT_URL)
    return checked_url(flags.url or current or DEFAULT_URL)


def _token(flags: Flags, settings: ClientFile, environment: Mapping[str, str], *, same: bool) -> str:
    token = given_token(flags.token_file, environment)
    # send a stored token only to the address that it was stored for
    if token is None and same and (kept := _string(settings, TOKEN)):
        token = checked_token(kept)
    if token is None and flags.asks:
        from gateway.commands.setup.prompts import ask_token

        token = ask_token()
    if token is None:
        raise BadInput("no token: give --token-file FILE, or set CLAUDE_GATEWAY_TOKEN (`none` if none is needed)")
    return token


def _offer(flags: Flags, offers: list[Offer], current: str | None) -> Offer:
    if flags.model is not None:
        return named(offers, flags.model)
    if flags.asks:
        from gateway.commands.setup.prompts import ask_model

        return ask_model(offers, current)
    if current in [offer.id for offer in offers]:
        return named(offers, current)
    if len(offers) == 1:
        return offers[0]
    names = ", ".join(offer.id for offer in offers[:10])
    raise BadInput(f"which model? Give --model NAME; available: {names}{' and more' * (len(offers) > 10)}")


def _install(flags: Flags, settings: ClientFile, state: ClientFile, choice: Choice, notes: list[str]) -> int:
    try:
        new_settings, changes = client_settings.edit(settings.text, choice)
    except json_text.InvalidJson as error:
        raise FileFault(f"{settings.path}: {error}: correct it; nothing was changed") from None
    new_state, state_changes = client_settings.onboard(state.text)
    _show(settings, new_settings, changes)
    _show(state, new_state, state_changes)
    for note in notes:
        print(f"Note: {note}")
    pending = [
        (file, text) for file, text in ((settings, new_settings), (state, new_state)) if files.pending(file, text)
    ]
    if not pending:
        print(f"Claude Code already uses {choice.model} through {choice.url}: nothing to change.")
        return 0
    if not _agreed(flags):
        return 0
    for file, text in pending:
        files.write(file, text, back_up=_unsaved(file, is_settings=file is settings) and text != file.text)
    print(f"Claude Code now uses {choice.model} through {choice.url}. Start it: claude")
    print("To undo this: claude-gateway setup --uninstall")
    return 0


def _unsaved(file: ClientFile, *, is_settings: bool) -> bool:
    """Whether to back the file up: it has no backup, or its settings name no gateway, so the backup is out of date."""
    return file.backup is None or (is_settings and json_text.get(_object(file.text), BASE_URL) is None)


def _uninstall(flags: Flags, settings: ClientFile, state: ClientFile) -> int:
    owned = {settings: OWNED, state: (ONBOARDING,)}
    undone = []
    for file, paths in owned.items():
        if file.backup is not None:
            text, changes = client_settings.restore(file.text, file.backup, paths)
            _show(replace(file, text=""), text, changes)
            undone.append((file, text))
    if not undone:
        print("There is no backup of a set-up: nothing to undo.")
        return 0
    if not _agreed(flags):
        return 0
    for file, text in undone:
        files.put_back(file, text)
    print("Claude Code's settings are as they were before.")
    return 0


def _show(file: ClientFile, text: str, changes: list[str]) -> None:
    if changes:
        print(f"{file.path}:")
        print("\n".join(f"  {change}" for change in changes))
    elif files.pending(file, text):
        print(f"{file.path}: readable by others: made private")


def _agreed(flags: Flags) -> bool:
    if flags.dry_run:
        print("Nothing was written: --dry-run.")
        return False
    if flags.yes:
        return True
    if not flags.terminal:
        raise BadInput("no terminal to ask on: give --yes")
    from gateway.commands.setup.prompts import confirm

    if not confirm():
        print("Nothing was written.")
        return False
    return True


def _object(text: str) -> str:
    return text if text.removeprefix("\ufeff").strip() else "{}"


def _string(file: ClientFile, path: json_text.Path) -> str | None:
    raw = json_text.get(_object(file.text), path)
    value: Any = json.loads(raw) if raw else None
    return value if isinstance(value, str) and value else None
