"""One LISTEN connection per process: wake-ups from Postgres, handed to whoever subscribed (design.md 1.7)."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg
import structlog
from sqlalchemy import make_url

if TYPE_CHECKING:
    from asyncpg import Connection, Record

log = structlog.get_logger()

Callback = Callable[[str], None]
"""Told the payload of one notification; must not block, and may be told the same thing twice."""

_QUEUED = 10_000  # notifications not handed out yet; past it the subscribers are told to look for themselves
_ALIVE = "SELECT 1"


class Listener:
    """Hands notifications of Postgres to callbacks, over a connection of its own that is made again when it drops.

    Callbacks run on the event loop, one after the other, from `run`. What was sent while the connection was away is
    lost: `on_reconnect` callbacks run after every connect (the first too), so that pollers catch up.
    """

    def __init__(
        self,
        database_url: str,
        *,
        check_s: float = 15.0,
        backoff_s: float = 0.1,
        most_backoff_s: float = 10.0,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._check_s = check_s
        self._backoff_s = backoff_s
        self._most_backoff_s = most_backoff_s
        self._connect_timeout_s = connect_timeout_s
        self._callbacks: dict[str, list[Callback]] = defaultdict(list)
        self._catch_ups: list[Callable[[], None]] = []
        self._connection: Connection[Record] | None = None
        self._heard: list[tuple[str, str]] = []
        self._has_overflown = False
        self._wake = anyio.Event()
        self.is_connected = False

    def subscribe(self, channel: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with each payload sent on `channel`; the returned function ends that.

        A channel first named while the listener runs is listened to from about now on: its `on_reconnect` runs again.
        """
        self._callbacks[channel].append(callback)
        self._wake.set()

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._callbacks[channel].remove(callback)

        return unsubscribe

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever notifications may have been missed: after each connect, the first included."""
        self._catch_ups.append(callback)

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff_s = self._backoff_s
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=self._connect_timeout_s)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("listener_cannot_connect", error=str(error), retry_s=backoff_s)
                await anyio.sleep(backoff_s)
                backoff_s = min(self._most_backoff_s, backoff_s * 2)
                continue
            backoff_s = self._backoff_s
            try:
                await self._listen(connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("listener_lost_connection", error=str(error))
            finally:
                self.is_connected = False
                connection.terminate()  # never waits for a peer that may be gone
            await anyio.sleep(backoff_s)

    async def _listen(self, connection: "Connection[Record]") -> None:
        """Hand out what is heard; returns when the connection has dropped."""
        self._wake = anyio.Event()
        self._heard.clear()
        connection.add_termination_listener(lambda _: self._wake.set())
        listened: set[str] = set()
        while not connection.is_closed():
            wanted = {channel for channel, callbacks in self._callbacks.items() if callbacks}
            for channel in wanted - listened:
                await connection.add_listener(channel, self._hear)
            if wanted - listened or not self.is_connected:
                listened |= wanted
                self.is_connected = True
                self._catch_up()
            self._hand_out()
            with anyio.move_on_after(self._check_s) as pause:
                await self._wake.wait()
            self._wake = anyio.Event()
            if pause.cancelled_caught:
                await connection.fetchval(_ALIVE, timeout=self._connect_timeout_s)  # a silent drop shows here

    def _hear(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        if len(self._heard) >= _QUEUED:
            self._has_overflown = True
        else:
            self._heard.append((channel, str(payload)))
        self._wake.set()

    def _hand_out(self) -> None:
        while self._heard:
            heard, self._heard = self._heard, []
            for channel, payload in heard:
                for callback in tuple(self._callbacks.get(channel, ())):
                    self._guarded(callback, payload)
        if self._has_overflown:
            self._has_overflown = False
            self._catch_up()

    def _catch_up(self) -> None:
        for callback in self._catch_ups:
            self._guarded(callback)

    def _guarded(self, callback: Callable[..., None], *arguments: str) -> None:
        """Call; one subscriber's mistake must not deafen the others."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("listener_callback_failed")
