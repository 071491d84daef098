"""What the program can do: one module for each command.

A command's module has `make_parser() -> ArgumentParser`, and `run(options: dict[str, Any]) -> int`, which takes what
was parsed and returns the exit code. It may raise SettingsError (exit code 2) and KeyboardInterrupt (130). What takes
time to import is imported by `run`.
"""
