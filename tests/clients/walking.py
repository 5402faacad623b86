"""What walks of `ragflow-sdk` have in common: each step is told, each call counted, each refusal expected by name."""

import importlib.metadata
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any


class Calls:
    """Counts the calls of these methods, from now on."""

    def __init__(self, wanted: Iterable[tuple[type[Any], Iterable[str]]]) -> None:
        self.made: dict[str, int] = {}
        for kind, names in wanted:
            for name in names:
                self._watch(kind, name)

    def _watch(self, kind: type[Any], name: str) -> None:
        told = f"{kind.__name__}.{name}"
        self.made[told] = 0
        method: Callable[..., Any] = getattr(kind, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.made[told] += 1
            return method(*arguments, **named)

        setattr(kind, name, counted)

    def check_none_was_missed(self) -> None:
        """Fail when a method was never called."""
        missed = [name for name, count in self.made.items() if count == 0]
        check(missed == [], f"every method was called; missed: {missed}")

    def tell(self) -> None:
        """Print whose methods were called, and how often each."""
        version = importlib.metadata.version("ragflow-sdk")
        sys.stdout.write(f"ragflow-sdk {version}: {len(self.made)} methods, {sum(self.made.values())} calls\n")
        sys.stdout.writelines(f"  {name}: {count}\n" for name, count in self.made.items())


def check(is_so: bool, what: str) -> None:
    """Fail with `what` unless it is so; else print it."""
    if not is_so:
        raise AssertionError(what)
    sys.stdout.write(f"ok  {what}\n")


@contextmanager
def refused(words: str) -> Generator[None]:
    """Expect the client to raise, with these words."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 (the client raises nothing narrower)
        check(words in str(error), f"refused: {words!r} in {str(error)[:200]!r}")
    else:
        raise AssertionError(f"not refused: {words!r}")
