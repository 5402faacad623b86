"""What tests ask of other processes."""

import psutil


def command_of(process: psutil.Process) -> str:
    """Return the command line; nothing of a process that has ended since it was listed, as helpers of Postgres do."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
