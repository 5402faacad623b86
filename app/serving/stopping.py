"""How a process is told to stop: once, in order; twice, at once."""

import os
import signal
from collections.abc import Callable

import anyio
import structlog

log = structlog.get_logger()

_HARD_STOP_S = 20.0


class Stop:
    """What signals have asked for so far. `is_patient`: running turns may use the time that drain allows."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.hurried = anyio.Event()
        self.is_patient = True

    def ask(self, *, is_patient: bool = True) -> None:
        """Ask to stop; asking again hurries."""
        if self.asked.is_set():
            self.hurry()
            return
        self.is_patient = is_patient
        self.asked.set()

    def hurry(self) -> None:
        """Ask to stop at once."""
        self.is_patient = False
        self.asked.set()
        self.hurried.set()

    async def heed(self, *, is_orphaned: Callable[[], bool] = lambda: False) -> None:
        """Turn SIGTERM and SIGINT into wishes, until cancelled. Ctrl-C asks without patience; an orphan hurries."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("stop_asked", signal=signal.Signals(number).name)
                if is_orphaned():
                    self.hurry()
                else:
                    self.ask(is_patient=number == signal.SIGTERM)
                if self.hurried.is_set():
                    _end_for_sure()


def _end_for_sure() -> None:
    """Whatever hangs, this process ends soon."""
    signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(1))
    signal.alarm(int(_HARD_STOP_S))
