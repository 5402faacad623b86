"""How commands tell what they found: a table for people, JSON for programs; and how they end when they cannot."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def tell_json(value: Any) -> None:
    """Print `value` as JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def tell(line: str) -> None:
    """Print one line."""
    sys.stdout.write(line + "\n")


def tell_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print `rows`, which have the same keys."""
    if as_json:
        tell_json(list(rows))
        return
    if not rows:
        tell("(none)")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 500).print(table)


def fail(line: str, status: int = 1) -> NoReturn:
    """Say what is wrong on standard error, and end."""
    sys.stderr.write(f"parley: {line}\n")
    raise typer.Exit(status)
