"""How much memory the embedded PostgreSQL may use, by what there is."""

import os
from pathlib import Path

_MIB = 1024 * 1024
_LEAST_MIB, _MOST_MIB = 64, 1024
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_settings(group_limit: Path = _GROUP_LIMIT) -> dict[str, str]:
    """Return PostgreSQL's settings for a machine or container of this size.

    A sixteenth for shared buffers, between 64 MiB and 1 GiB: they are taken from the system page by page, as data is
    read, so a small database never holds so much. What the system itself may cache is told as half.
    """
    total = _total_mib(group_limit)
    buffers = min(_MOST_MIB, max(_LEAST_MIB, total // 16))
    return {"shared_buffers": f"{buffers}MB", "effective_cache_size": f"{max(buffers, total // 2)}MB"}


def _total_mib(group_limit: Path) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        told = group_limit.read_text().strip()
    except OSError:  # no container, or an older kind
        told = "max"
    return min(total, int(told) if told.isdecimal() else total) // _MIB
