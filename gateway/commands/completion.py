"""`claude-gateway completion`: a script by which a shell completes commands, flags, and the values of some."""

import argparse
from importlib import import_module
from typing import Any, Final

from gateway.backend.profiles import PROFILES
from gateway.commands.table import COMMANDS

_DESCRIPTION: Final = """\
Print a script that completes commands and flags. To have it in each new shell:

  bash  echo 'eval "$(claude-gateway completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(claude-gateway completion zsh)"' >> ~/.zshrc     (behind compinit)
  fish  claude-gateway completion fish > ~/.config/fish/completions/claude-gateway.fish
"""
_SHELLS: Final = ("bash", "zsh", "fish")
# the values of flags whose set is closed, by what stands for them in the help
_VALUES: Final = {
    "BOOL": ("true", "false"),
    "LEVEL": ("debug", "info", "warning", "error"),
    "FORMAT": ("auto", "console", "json"),
}
# an argument that may be anything; without a word for it, zsh completes no flags beside it
_ANYTHING: Final = {"bash": "", "zsh": "{true}", "fish": ""}
_PROFILES: Final = ("auto", *PROFILES)


def make_parser() -> argparse.ArgumentParser:
    """The one argument of `completion`."""
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
    """All commands as parts of one: `serve`, whose flags need no command, with the others below it. `files` is shtab's
    mark of an argument that is a file.
    """
    whole = argparse.ArgumentParser(prog="claude-gateway", parents=[_parser("serve", files)], add_help=False)
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        commands.add_parser(name, parents=[_parser(name, files)], add_help=False, help=command.summary)
    return whole


def _parser(name: str, files: dict[str, Any]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = import_module(COMMANDS[name].module).make_parser()
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to see what there is
        if action.metavar == "FILE":
            action.complete = files  # type: ignore[attr-defined]  # where shtab looks for its mark
        elif not action.option_strings and not action.choices:
            action.complete = _ANYTHING  # type: ignore[attr-defined]  # as above
        elif action.dest == "backend_profile":
            action.choices = _PROFILES
        else:
            action.choices = action.choices or _VALUES.get(str(action.metavar))
    return parser
