"""Runs the gateway, and counts the steps of the interpreter (bytecodes) in each function between two signals.

    python tests/bench/traced.py FILE

The first real-time signal begins, the second ends: then FILE gets `[[path, function, steps], …]` as JSON.
"""

import collections
import json
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

STEPS: collections.Counter[CodeType] = collections.Counter()


def _enter(frame: FrameType, _: str, __: Any) -> Any:
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    code = frame.f_code

    def step(_: FrameType, event: str, __: Any) -> Any:
        if event == "opcode":
            STEPS[code] += 1
        return step

    return step


def _begin(*_: object) -> None:
    sys.settrace(_enter)


def _end(*_: object) -> None:
    sys.settrace(None)
    found = [[code.co_filename, code.co_qualname, steps] for code, steps in STEPS.items()]
    whole = Path(f"{FILE}.part")
    whole.write_text(json.dumps(found))
    whole.rename(FILE)


if __name__ == "__main__":
    FILE = Path(sys.argv.pop())
    signal.signal(signal.SIGRTMIN, _begin)
    signal.signal(signal.SIGRTMIN + 1, _end)
    from gateway.cli import main

    main()
