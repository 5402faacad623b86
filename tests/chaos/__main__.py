"""`python -m tests.chaos --kills 200`: the long form of tests/chaos/test_kills.py.

Exit status 1 if anything is lost.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.chaos.kills import Chaos
from tests.service import parley_serve
from tests.upstream.fixtures import scripted_upstream


def main() -> int:
    """Run, show progress on standard error and the summary as JSON on standard output."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--clients", type=int, default=12)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="parley-chaos-") as folder,
        scripted_upstream() as upstream,
        parley_serve(Path(folder), upstream) as service,
        Progress(console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task("kills", total=chosen.kills)
        chaos = Chaos(
            service,
            clients=chosen.clients,
            seed=chosen.seed,
            told=lambda done: progress.update(bar, completed=done),
        )
        summary = asyncio.run(chaos.run(chosen.kills))
    sys.stdout.write(summary.told() + "\n")
    return 1 if summary.problems else 0


if __name__ == "__main__":
    sys.exit(main())
