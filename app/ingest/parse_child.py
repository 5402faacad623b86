"""The parse child: `python -m app.ingest.parse_child <filename> <confinement as JSON>`.

Reads one file from standard input, writes one answer to standard output, ends. Started by `app/ingest/sandbox.py`.
"""

import os
import sys

import msgspec

from app.domain.documents import ParseFailed
from app.ingest.confinement import Confinement, confine
from app.ingest.wire import Answer, pack


def main(arguments: list[str]) -> None:
    """Parse and answer; a crash is the parent's to explain.

    Ends without the interpreter's tear-down: the parser library's threads can crash in it (xberg 1.3.9), and
    everything that matters has been written.
    """
    filename, confinement = arguments
    limits = msgspec.json.decode(confinement, type=Confinement)
    answers = os.dup(1)
    os.dup2(2, 1)  # native libraries may print; only the answer goes to the pipe
    confine(limits)
    from app.ingest.parsers import parse

    try:
        with open(0, "rb") as file:
            data = file.read(limits.caps.size_bytes + 1)
        answer = Answer(document=parse(data, filename, limits.caps, limits.hints))
    except ParseFailed as failure:
        answer = Answer(failure=failure.message)
    except MemoryError:
        answer = Answer(failure=f"{filename} needs more memory than a document is given.")
    with os.fdopen(answers, "wb") as pipe:
        pipe.write(pack(answer))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
