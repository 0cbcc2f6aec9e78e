"""Tables on the terminal, as plain text: nothing in a name or a value is taken for markup."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from medsataug.catalog import Entry, Field

RANGES = (
    "A range is a number, or how it is drawn: [low, high], {normal: [mean, deviation]}, "
    "{choice: [values]}, {log_uniform: [low, high]}, or {bg: [low, high]} (half of the draws "
    "below 1)."
)


def facts(path: str, known: dict[str, Any]) -> str:
    """Say what a file is."""
    series = list(known.get("series") or ())
    lines = [path, _rows((k, v) for k, v in known.items() if k != "series")]
    for number, one in enumerate(series, start=1):
        lines += [f"  series {number} of {len(series)}", _rows(one.items(), indent=4)]
    return "\n".join(lines)


def transforms(entries: Sequence[Entry]) -> str:
    """List transforms, with what the eye sees."""
    listed = _rows(((e.name, e.summary) for e in entries), indent=0)
    return f"{listed}\n\n'medsataug transforms NAME' says what one takes."


def transform(entry: Entry) -> str:
    """Say all about one transform: fields, limits, source, example."""
    parts = [f"{entry.name} ({entry.class_name}): {entry.summary}", *entry.text.split("\n\n")]
    parts = [_wrapped(p) for p in parts if p]
    own = [f for f in entry.fields if not f.common]
    common = [f for f in entry.fields if f.common]
    if own:
        parts.append("Fields:\n" + _fields(own))
    parts.append("Fields of all transforms of its kind:\n" + _fields(common))
    if entry.source:
        parts.append(_wrapped(f"Source: {entry.source}"))
    if any(f.allowed.startswith("range") for f in entry.fields):
        parts.append(_wrapped(RANGES))
    parts.append(f"In a recipe:\n{textwrap.indent(entry.example, '  ')}")
    return "\n\n".join(parts)


def _fields(fields: Sequence[Field]) -> str:
    return _rows((f.name, f"{f.allowed} ({_given(f.default)}). {f.text}".strip()) for f in fields)


def _given(default: str) -> str:
    return default if default == "required" else f"default: {default}"


def _rows(rows: Iterable[tuple[str, Any]], indent: int = 2) -> str:
    """Two columns, the second wrapped at the terminal's width; empty values are left out."""
    texts = [(name, _text(v)) for name, v in rows if v not in (None, [], (), {}, "")]
    column = indent + 2 + max((len(name) for name, _ in texts), default=0)
    return "\n".join(
        _wrapped(text, f"{' ' * indent}{name}".ljust(column), " " * column) for name, text in texts
    )


def _wrapped(text: str, first: str = "", later: str = "") -> str:
    width = max(shutil.get_terminal_size((80, 24)).columns, 50)
    return textwrap.fill(
        text, min(width, 110), initial_indent=first, subsequent_indent=later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _text(value: Any, nested: bool = False) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, (list, tuple)):
        listed = ", ".join(_text(v, nested=True) for v in value)
        return f"({listed})" if nested else listed
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_text(v, nested=True)}" for k, v in value.items())
    return str(value)
