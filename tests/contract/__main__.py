"""`python -m tests.contract --examples 30`: the long form of test_schemathesis.py, all phases over the whole page.

Exit status 1 if an answer was a 5xx or is not on the page.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.contract.fuzz import fuzz
from tests.service import parley_serve
from tests.upstream.fixtures import scripted_upstream


def main() -> int:
    """Run, with the report of schemathesis on standard output."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--examples", type=int, default=30, help="calls of an operation at most, in each phase")
    arguments.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    arguments.add_argument("--only", default="", help="a regular expression for paths")
    chosen = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="parley-fuzz-") as folder,
        scripted_upstream() as upstream,
        parley_serve(Path(folder), upstream) as service,
    ):
        return fuzz(service, examples=chosen.examples, phases=chosen.phases, only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
