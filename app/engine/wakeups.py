"""Who waits for a turn that another process drives, or for a session to be free."""

from collections import defaultdict

import anyio

from app.domain.ids import SessionId


class Wakeups:
    """Events by name; a name is forgotten when nobody waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[anyio.Event]] = defaultdict(set)

    def wake(self, name: str) -> None:
        """Wake all who wait for `name`."""
        for event in self._waiting.pop(name, ()):
            event.set()

    async def wait(self, name: str, timeout_s: float) -> None:
        """Return when `name` is woken, or after `timeout_s`: whoever waits looks for itself."""
        event = anyio.Event()
        self._waiting[name].add(event)
        try:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        finally:
            if name in self._waiting:
                self._waiting[name].discard(event)
                if not self._waiting[name]:
                    del self._waiting[name]


def session_name(session_id: SessionId | None) -> str:
    """Return the name under which to wait for a session to be free."""
    return f"session:{session_id}"
