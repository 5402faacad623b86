"""Metrics of several processes of one service: each tells its own on a unix socket; whoever is asked gathers all."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio

from app.telemetry.metrics import METRICS, Metrics

Refresh = Callable[[], Awaitable[None]]

_PATIENCE_S = 1.0
_NAME = re.compile(r"(\w+)(\{)?")


class Gathering:
    """One of the processes that leave a socket each, named after their number, in `folder`."""

    def __init__(self, folder: Path, number: int, metrics: Metrics = METRICS) -> None:
        self._folder = folder
        self._number = number
        self._metrics = metrics

    async def run(self, refresh: Refresh) -> None:
        """Tell this process's metrics to whoever connects, until cancelled; `refresh` brings them up to date."""

        async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await refresh()
                writer.write(self._metrics.text())
                with suppress(ConnectionError):  # whoever asked has left, and nobody else wants this answer
                    await writer.drain()
            finally:
                writer.close()

        place = self._folder / str(self._number)
        place.unlink(missing_ok=True)  # of the process that had the number before
        server = await asyncio.start_unix_server(tell, place)
        async with server:
            await anyio.sleep_forever()

    async def text(self) -> bytes:
        """Return the metrics of all processes that answer, told apart by the label `process`."""
        told: dict[str, str] = {}

        async def ask(place: Path) -> None:
            with anyio.move_on_after(_PATIENCE_S):
                try:
                    reader, writer = await asyncio.open_unix_connection(place)
                except OSError:
                    return
                try:
                    told[place.name] = (await reader.read()).decode()
                finally:
                    writer.close()

        async with anyio.create_task_group() as tasks:
            for place in sorted(self._folder.iterdir()):
                tasks.start_soon(ask, place)
        return merged(told).encode()


def merged(told: Mapping[str, str]) -> str:
    """Return several texts as one: each metric described once, each sample with its process."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process in sorted(told):
        family = ""
        for line in told[process].splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
            if line.startswith("#"):
                lines = heads.setdefault(family, [])
                if line not in lines:
                    lines.append(line)
            else:
                samples.setdefault(family, []).append(_labelled(line, process))
    return "".join(f"{line}\n" for family, head in heads.items() for line in [*head, *samples.get(family, ())])


def _labelled(sample: str, process: str) -> str:
    name = _NAME.match(sample)
    if name is None:
        return sample
    end = name.end(1)
    if name.group(2):
        return f'{sample[:end]}{{process="{process}",{sample[end + 1 :]}'
    return f'{sample[:end]}{{process="{process}"}}{sample[end:]}'
