"""Between processes: telling peers which turns have more, hearing from them, and being asked to stop."""

import anyio
import structlog

from app.domain.ids import TurnId
from app.engine.lease import Lease
from app.engine.turns import STOPS, TurnEngine
from repositories.failures import DATABASE_FAILURES
from repositories.listener import Listener
from repositories.unit_of_work import Database

log = structlog.get_logger()

TURNS = "parley_turns"
"""Channel on which a process tells which turns have new events; the payload is turn ids, space separated."""

_TELL_EVERY_S = 0.05
_PAYLOAD_IDS = 200  # 37 bytes each, within the 8000 a payload may have


class Peers:
    """Sends and hears wake-ups; every waiter also looks by itself now and then, so that a lost one costs time only."""

    def __init__(self, database: Database, listener: Listener, engine: TurnEngine, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._engine = engine
        listener.subscribe(TURNS, self._heard_turns)
        listener.subscribe(STOPS, lambda payload: engine.stop_local(TurnId(payload)))

    def _heard_turns(self, payload: str) -> None:
        for turn_id in payload.split():
            self._engine.wakeups.wake(turn_id)

    async def run(self) -> None:
        """Tell peers of what was written, gathered and off the commit path, until cancelled."""
        while True:
            await anyio.sleep(_TELL_EVERY_S)
            written = self._engine.writer.take_written()
            if not written or not self._lease.has_peers:
                continue
            payloads = [" ".join(written[n : n + _PAYLOAD_IDS]) for n in range(0, len(written), _PAYLOAD_IDS)]
            try:
                async with self._database.service() as service:
                    await service.notify(TURNS, payloads)
            except DATABASE_FAILURES as error:
                log.warning("peers_not_told", error=str(error)[:300])
