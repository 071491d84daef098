"""`claude-gateway completion`: prints a shell script that completes commands, flags, and some flags' values."""

import argparse
from importlib import import_module
from typing import Any, Final

from gateway.backend.profiles import PROFILES
from gateway.commands.table import COMMANDS

_DESCRIPTION: Final = """\
Print a script that completes commands and flags. To load it in every new shell:

  bash  echo 'eval "$(claude-gateway completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(claude-gateway completion zsh)"' >> ~/.zshrc     (after compinit)
  fish  claude-gateway completion fish > ~/.config/fish/completions/claude-gateway.fish
"""
_SHELLS: Final = ("bash", "zsh", "fish")
# metavars of flags that take one of a fixed set of values
_VALUES: Final = {
    "BOOL": ("true", "false"),
    "LEVEL": ("debug", "info", "warning", "error"),
    "FORMAT": ("auto", "console", "json"),
}
# an argument that may be anything; without an entry for it, zsh completes no flags either
_ANYTHING: Final = {"bash": "", "zsh": "{true}", "fish": ""}
_PROFILES: Final = ("auto", *PROFILES)


def make_parser() -> argparse.ArgumentParser:
    """The argument of `completion`."""
    parser = argparse.ArgumentParser(
        prog="claude-gateway completion",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=_SHELLS)
    return parser


def run(options: dict[str, Any]) -> int:
    """Print the script for a shell."""
    import shtab

    print(shtab.complete(_whole_parser(shtab.FILE), options["shell"]))
    return 0


def _whole_parser(files: dict[str, Any]) -> argparse.ArgumentParser:
    """One parser for all commands: `serve`, whose flags need no command, with the others as its subcommands. `files` is
    shtab's marker for an argument that is a file.
    """
    whole = argparse.ArgumentParser(prog="claude-gateway", parents=[_parser("serve", files)], add_help=False)
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        commands.add_parser(name, parents=[_parser(name, files)], add_help=False, help=command.summary)
    return whole


def _parser(name: str, files: dict[str, Any]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = import_module(COMMANDS[name].module).make_parser()
    for action in parser._actions:  # noqa: SLF001  # argparse has no public list of its actions
        if action.metavar == "FILE":
            action.complete = files  # type: ignore[attr-defined]  # where shtab looks for its marker
        elif not action.option_strings and not action.choices:
            action.complete = _ANYTHING  # type: ignore[attr-defined]  # as above
        elif action.dest == "backend_profile":
            action.choices = _PROFILES
        else:
            action.choices = action.choices or _VALUES.get(str(action.metavar))
    return parser
