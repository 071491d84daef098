"""The command line: `claude-gateway [COMMAND] [flags]`; without a command it is `serve`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

from gateway.settings import SettingsError


class Command(NamedTuple):
    """A command: its line in the help of `claude-gateway`, and the module that has `make_parser` and `run`."""

    summary: str
    module: str


# a command's module is imported when it is asked for, and no other
COMMANDS: Final = {
    "serve": Command("this (also without a command)", "gateway.commands.serve"),
    "health": Command("whether the gateway on this machine serves", "gateway.commands.health"),
    "demo": Command("the gateway with an embedded backend, and one conversation through it", "gateway.commands.demo"),
    "setup": Command("point Claude Code at a gateway, or undo it", "gateway.commands.setup"),
    "check": Command("what a backend can do for Claude Code, and what to do about the rest", "gateway.commands.check"),
    "watch": Command("follow a running gateway in the terminal", "gateway.commands.watch"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 2 for a setting that cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and given[0] in COMMANDS else "serve"
    command = import_module(COMMANDS[name].module)
    parser = command.make_parser()
    if name == "serve":
        parser.description += "\n\n" + _overview()
    try:
        code: int = command.run(vars(parser.parse_args(given)))
    except SettingsError as error:
        print(f"claude-gateway: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(["commands:", *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())])
