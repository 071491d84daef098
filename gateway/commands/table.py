"""The table of commands. A command's module is imported only when that command is used."""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """A command: its line in the help of `claude-gateway`, and the module that defines `make_parser` and `run`."""

    summary: str
    module: str


COMMANDS: Final = {
    "serve": Command("run the gateway (the default command)", "gateway.commands.serve"),
    "health": Command("ask whether the gateway on this machine is serving", "gateway.commands.health"),
    "demo": Command(
        "run the gateway with an embedded backend, and show one conversation", "gateway.commands.demo.command"
    ),
    "setup": Command("point Claude Code at a gateway, or undo that", "gateway.commands.setup.command"),
    "check": Command("test whether a backend has all that Claude Code needs", "gateway.commands.check.command"),
    "watch": Command("follow a running gateway in the terminal", "gateway.commands.watch.command"),
    "completion": Command("print a shell's completion script", "gateway.commands.completion"),
}
