"""Which commands there are. A command's module is imported when it is asked for, and no other."""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """A command: its line in the help of `claude-gateway`, and the module that has `make_parser` and `run`."""

    summary: str
    module: str


COMMANDS: Final = {
    "serve": Command("this (also without a command)", "gateway.commands.serve"),
    "health": Command("whether the gateway on this machine serves", "gateway.commands.health"),
    "demo": Command(
        "the gateway with an embedded backend, and one conversation through it", "gateway.commands.demo.command"
    ),
    "setup": Command("point Claude Code at a gateway, or undo it", "gateway.commands.setup.command"),
    "check": Command(
        "what a backend can do for Claude Code, and what to do about the rest", "gateway.commands.check.command"
    ),
    "watch": Command("follow a running gateway in the terminal", "gateway.commands.watch.command"),
    "completion": Command("completion of commands and flags for a shell", "gateway.commands.completion"),
}
