"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from medsataug.catalog import Entry


def facts(path: str, known: dict[str, Any]) -> None:
    """Print what a file is."""
    console = Console(highlight=False)
    console.print(f"[bold]{path}[/bold]")
    series = known.get("series")
    rows = {k: v for k, v in known.items() if v not in (None, [], {}, "") and k != "series"}
    _grid(console, rows)
    for number, one in enumerate(series or (), start=1):
        console.print(f"  series {number} of {len(series or ())}")
        _grid(console, {k: v for k, v in one.items() if v not in (None, [], {}, "")})


def _grid(console: Console, rows: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(f"  {key}", _text(value))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items())
    return str(value)


def transforms(entries: Sequence[Entry]) -> None:
    """List transforms, a line each."""
    table = Table.grid(padding=(0, 2))
    for e in entries:
        table.add_row(f"[bold]{e.name}[/bold]", e.summary)
    Console(highlight=False).print(table)


def transform(entry: Entry) -> None:
    """Print one transform: fields, limits, source, example."""
    console = Console(highlight=False)
    console.print(f"[bold]{entry.name}[/bold] ({entry.class_name}): {entry.summary}")
    if entry.text:
        console.print(f"\n{entry.text}")
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for heading in ("field", "default", "allowed", "meaning"):
        table.add_column(heading, overflow="fold")
    for f in entry.fields:
        table.add_row(f.name, f.default, f.allowed, f.text)
    console.print()
    console.print(table)
    if entry.source:
        console.print(f"\nSource: {entry.source}")
    console.print("\nIn a recipe:")
    console.print(entry.example, markup=False)
