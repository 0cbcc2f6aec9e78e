"""What each transform is and takes, read from the transforms themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from medsataug import transforms
from medsataug.ranges import Range, Spec
from medsataug.transforms.base import Transform, ValueTransform


@dataclass(frozen=True)
class Field:
    """One field of a transform, in words."""

    name: str
    default: str
    allowed: str
    text: str
    common: bool


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


#: Fields that the base classes give to every transform of a kind.
COMMON = (*Transform.model_fields, *ValueTransform.model_fields)


def entry(name: str) -> Entry:
    """Describe a transform by its recipe name or class name."""
    cls = transforms.find(name)
    doc = (inspect.getdoc(cls) or "").replace("``", "`")
    body = doc.partition("\nParameters\n")[0]
    told: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        told |= _parameters(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
    source = re.search(r"^Source: (.*?)(?=\n\n|\Z)", doc, re.S | re.M)
    fields = []
    for field, model in sorted(cls.model_fields.items(), key=lambda item: item[0] in COMMON):
        kind, text = told.get(field, ("", ""))
        allowed = _allowed(model, kind)
        fields.append(Field(field, _default(model), allowed, text, field in COMMON))
    paragraphs = [p for p in body.strip().split("\n\n") if not p.startswith("Source:")]
    recipe_name = transforms.recipe_name(cls.__name__)
    return Entry(
        recipe_name,
        cls.__name__,
        paragraphs[0].replace("\n", " "),
        "\n\n".join(p.replace("\n", " ") for p in paragraphs[1:]),
        source[1].replace("\n", " ") if source else "",
        tuple(fields),
        _example(cls, recipe_name),
    )


def _parameters(doc: str) -> dict[str, tuple[str, str]]:
    """Kind and text of each parameter of a numpydoc section."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w+\n-+\n|^Source:|\Z)", doc, re.S | re.M)
    if not section:
        return {}
    out: dict[str, tuple[str, str]] = {}
    lines = r"^(\w[\w, ]*?)(?: : (.*))?\n((?:[ ]{4}.*\n?|\n)*)"
    for found in re.finditer(lines, section[1] + "\n", re.M):
        text = " ".join(found[3].replace("``", "`").split())
        for name in found[1].split(", "):
            out[name] = (found[2] or "", text)
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


#: Types as docstrings name them, and as a recipe's author thinks of them.
_WORDS = {"float": "number", "int": "whole number", "str": "text", "bool": "true or false"}


def _allowed(field: Any, kind: str) -> str:
    """Return what may be given: a range's units and limits, else the documented kind."""
    spec = next((m for m in field.metadata if isinstance(m, Spec)), None)
    if spec is not None:
        units = f" ({', '.join(spec.units)})" if "unit" in spec.what and len(spec.units) > 2 else ""
        limits = "" if spec.limits == "any" else f"; {spec.limits}"
        axes = "; also {x: …, y: …, z: …}" if spec.per_axis else ""
        what = "range" if spec.what == "number" else f"range of {spec.what}"
        return f"{what}{units}{limits}{axes}"
    words = kind.replace(", optional", "").translate(str.maketrans("", "", '{}"`'))
    for word, plain in _WORDS.items():
        words = re.sub(rf"\b{word}\b", plain, words)
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    return words if low is None or high is None else f"{words}, {low} to {high}"


def _example(cls: Any, name: str) -> str:
    import yaml

    listed = [{name: _example_fields(cls)}]
    text: str = yaml.safe_dump(listed, sort_keys=False, default_flow_style=None, width=90)
    return text.strip()


def _example_fields(cls: Any) -> dict[str, Any]:
    """Every field with its default, or the strong case's value where there is no default."""
    out: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        if name in COMMON:
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
