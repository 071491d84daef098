"""The program's commands, one module each.

A command's module defines `make_parser() -> ArgumentParser` and `run(options: dict[str, Any]) -> int`, which takes the
parsed options and returns the exit code. `run` may raise SettingsError (exit code 2) and KeyboardInterrupt (130). It
imports slow modules itself, to keep `--help` and completion fast.
"""
