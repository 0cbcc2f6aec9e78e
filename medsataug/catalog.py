"""What each transform is and takes, read from the transforms themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from medsataug import transforms
from medsataug.ranges import Range, Spec


@dataclass(frozen=True)
class Field:
    """One field of a transform, in words."""

    name: str
    default: str
    allowed: str
    text: str


@dataclass(frozen=True)
class Entry:
    """One transform, in words."""

    name: str
    class_name: str
    summary: str
    text: str
    source: str
    fields: tuple[Field, ...]
    example: str


def entry(name: str) -> Entry:
    """Describe a transform by its recipe name or class name."""
    cls = transforms.find(name)
    doc = inspect.getdoc(cls) or ""
    body, _, rest = doc.partition("\nParameters\n")
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        texts |= _parameters(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
    source = re.search(r"^Source: (.*?)(?=\n\n|\Z)", doc, re.S | re.M)
    fields = tuple(
        Field(n, _default(f), _allowed(f), texts.get(n, ""))
        for n, f in sorted(cls.model_fields.items(), key=lambda item: item[0] in _COMMON)
    )
    paragraphs = [p for p in body.strip().split("\n\n") if not p.startswith("Source:")]
    recipe_name = transforms.recipe_name(cls.__name__)
    return Entry(
        recipe_name,
        cls.__name__,
        paragraphs[0].replace("\n", " "),
        "\n\n".join(p.replace("\n", " ") for p in paragraphs[1:]),
        source[1].replace("\n", " ") if source else "",
        fields,
        _example(cls, recipe_name),
    )


_COMMON = ("p", "key", "where", "per_channel", "channels")


def _parameters(doc: str) -> dict[str, str]:
    """Text of each parameter of a numpydoc section."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|^Source:|\Z)", doc, re.S | re.M)
    if not section:
        return {}
    out: dict[str, str] = {}
    for found in re.finditer(r"^(\w[\w, ]*?)(?: : (.*))?\n((?:[ ]{4}.*\n?|\n)*)", section[1] + "\n", re.M):
        text = " ".join(found[3].split())
        kind = found[2] or ""
        for name in found[1].split(", "):
            out[name] = f"{kind}. {text}".strip(" .") if kind and text else kind or text
    return out


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Range):
        value = value.plain()
    return "none" if value is None else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value}"


def _allowed(field: Any) -> str:
    spec = next((m for m in field.metadata if isinstance(m, Spec)), None)
    if spec is None:
        return ""
    units = f" ({', '.join(spec.units)})" if spec.units else ""
    return f"{spec.what}{units}; {spec.limits}"


def _example(cls: Any, name: str) -> str:
    import yaml

    fields = {
        k: v.plain() if isinstance(v, Range) else v
        for k, v in _example_fields(cls).items()
    }
    text: str = yaml.safe_dump([{name: fields}], sort_keys=False, default_flow_style=None, width=90)
    return text.strip()


def _example_fields(cls: Any) -> dict[str, Any]:
    """Every field with its default, or the strong case's value where there is no default."""
    out: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        if name in _COMMON:
            continue
        value = cls.cases.full.get(name) if field.is_required() else field.default
        if value is None:
            continue
        if isinstance(value, Range):
            value = value.plain()
        out[name] = _lists(value)
    out["p"] = 0.5
    return out


def _lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_lists(v) for v in value]
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return value
