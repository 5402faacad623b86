"""The load generator as seen by a run: a process that is handed jobs."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress

import msgspec

from bench.jobs import Job, Outcome
from bench.processes import Core, end, spawn


class LoadGenerator:
    """A running `python -m bench.load`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def run(self, job: Job) -> Outcome:
        """Do a job and return what it saw."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(job) + b"\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator died with status {self.process.wait()}")
        return msgspec.json.decode(line, type=Outcome)


@contextmanager
def load_generator(core: Core) -> Generator[LoadGenerator, None, None]:
    """Run a load generator on `core`."""
    process = spawn(["-m", "bench.load"], core=core, is_piped=True)
    try:
        yield LoadGenerator(process)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        end(process)
