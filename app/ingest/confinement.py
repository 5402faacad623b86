"""How the parse child ties its own hands, before it imports any parser. Linux."""

import ctypes
import os
import resource
import signal

import msgspec

from app.ingest.caps import ParseCaps, ParseHints

_PR_SET_PDEATHSIG = 1
_NICENESS = 10  # answers come before documents


class Confinement(msgspec.Struct):
    """What the parent tells the child about its limits and its task."""

    parent_pid: int
    cpu_s: int
    memory_bytes: int
    caps: ParseCaps
    hints: ParseHints = ParseHints()


def confine(limits: Confinement) -> None:
    """Limit memory and processor time, forbid writing files, give way to others, die with the parent.

    Done here and not between fork and exec: code run there in a process with threads may deadlock.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != limits.parent_pid:  # it died before the line above
        raise SystemExit(1)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
