"""The process that reads PDFs for a gateway: it has limits, and may be killed at any time.

It reads documents from standard input and writes their texts to standard output, one after the other, until its input
ends. A document is its length in bytes, 4 bytes big-endian, and its base64. An answer is a letter (`T` a text, `N` the
reason why there is none), its length in the same form, and UTF-8.
"""

import contextlib
import os
import struct
import sys
from pathlib import Path
from typing import Final

from gateway.documents.pdf import MOST_SECONDS, UnreadablePDF, pdf_text

LENGTH: Final = struct.Struct(">I")
TEXT: Final = b"T"
NO_TEXT: Final = b"N"
# of the address space, of which the interpreter and PDFium take some 200 MiB, and a document four times its size
_MEMORY_BYTES: Final = 768 * 1024 * 1024
# a page that takes longer than all of a document may
_GRACE_SECONDS: Final = 5


def main() -> None:
    """Serve until standard input ends."""
    documents, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # nothing but answers may come out there
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _limit_once()
    while len(head := documents.read(LENGTH.size)) == LENGTH.size:
        _limit_seconds()
        kind, text = _answer(documents.read(*LENGTH.unpack(head)))
        said = text.encode("utf-8", "replace")
        answers.write(kind + LENGTH.pack(len(said)) + said)
        answers.flush()


def _answer(data: bytes) -> tuple[bytes, str]:
    try:
        return TEXT, pdf_text(data)
    except UnreadablePDF as error:
        return NO_TEXT, str(error)


def _limit_once() -> None:
    """Memory, files and priority, where the system has such limits."""
    try:
        import resource
    except ImportError:
        return
    for name, most in (("RLIMIT_AS", _MEMORY_BYTES), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        resource.setrlimit(getattr(resource, name), (most, most))
    # streams go first, and where the machine's memory runs out, this process goes first
    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_seconds() -> None:
    """Processor time for the next document; the system ends the process (SIGXCPU) once it is used up."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + MOST_SECONDS) + _GRACE_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
