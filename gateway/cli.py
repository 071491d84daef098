"""The command line: `claude-gateway [COMMAND] [flags]`. The default command is `serve`."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from gateway.commands.table import COMMANDS
from gateway.interprocess.addresses import AddressError
from gateway.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code; 2 for an invalid setting or address, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and given[0] in COMMANDS else "serve"
    command = import_module(COMMANDS[name].module)
    parser = command.make_parser()
    if name == "serve":
        parser.description += "\n\n" + _overview()
    try:
        _refuse_unknown(name, given)
        code: int = command.run(vars(parser.parse_args(given)))
    except (SettingsError, AddressError) as error:
        print(f"claude-gateway: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(["commands:", *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())])


def _refuse_unknown(name: str, given: Sequence[str]) -> None:
    """Refuse a first word that is neither a command nor a flag. Raises SettingsError."""
    if name != "serve" or not given or given[0].startswith("-"):
        return
    near = get_close_matches(given[0], COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
    raise SettingsError(f"there is no command {given[0][:40]!r}: {hint}")
