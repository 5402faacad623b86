"""What a child process of ours does when its parent is killed: it goes too."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing should be loaded between fork and exec


def die_with_parent(wanted: signal.Signals, *, parent_pid: int | None = None) -> None:
    """Ask the kernel to send `wanted` to this process once the *thread* that forked it ends.

    Call it in the child: first thing in a worker, or as `preexec_fn` (it holds over exec, not over a change of user).
    A child that has lost `parent_pid` before it got here is killed at once. Does nothing but on Linux.
    """
    if sys.platform != "linux":
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(wanted), 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
