"""What policies draw from: for each domain operations of one strength each, as data.

``medsataug/policies/<domain>.yaml`` lists them in the order in which they act: geometry first, so
that voxels are interpolated once; then values; then what looks at neighbours; noise last. The
statistics of the case, which values are changed by, so hold wherever they are asked for.

An operation is a transform with one field left open. ``way`` says what a strength s, 0 for none,
makes of the field:

- ``amount``: s itself; ``sign``: s or −s; ``ratio``: 1 + s or its inverse; ``part``: 1 / (1 + s).

Which strength shows as much as magnitude m = 0 … 10 of every other operation is measured and
written by ``tests/benchmarks/calibrate.py``, for images and for volumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from medsataug.draws import Draws
from medsataug.errors import ConfigError
from medsataug.ranges import Range, Spec
from medsataug.transforms.base import State, Step, Transform, ValueTransform, WhereField
from medsataug.transforms.one_of import apply_children

Domain = Literal["medical", "multispectral", "rgb", "sar"]
DOMAINS: tuple[str, ...] = get_args(Domain)
FOLDER = Path(__file__).parent.parent / "policies"
#: Largest magnitude.
MOST = 10
#: What stands for no operation among those that are drawn.
IDENTITY = "identity"

Magnitude = Annotated[Range, Spec(ge=0, le=MOST, what="magnitude")]


@dataclass(frozen=True)
class Operation:
    """A transform with one open field.

    Attributes
    ----------
    name : str
    transform : {str: dict}
        As a recipe writes it.
    field, way, unit : str
        The open field, what a strength makes of it, and in which unit.
    limit : float
        The largest strength that is sensible.
    strengths, changes : {2 or 3: tuple of 11 numbers}
        At m = 0 … 10 by the number of axes; and the change measured there, on other draws.
    """

    name: str
    transform: Mapping[str, Mapping[str, Any]]
    field: str
    way: Literal["amount", "sign", "ratio", "part"]
    limit: float
    unit: str = ""
    strengths: Mapping[int, tuple[float, ...]] = ()  # type: ignore[assignment]
    changes: Mapping[int, tuple[float, ...]] = ()  # type: ignore[assignment]

    def of_strength(self, strength: float, where: WhereField = "valid") -> Transform:
        """Transform at a strength; one of values acts on ``where``."""
        from medsataug import transforms

        name, fields = next(iter(self.transform.items()))
        kind = transforms.find(name)
        kept = {"where": where} if issubclass(kind, ValueTransform) else {}
        made: Transform = kind(**fields, **kept, **{self.field: self._open(strength)})
        return made

    def _open(self, strength: float) -> Any:
        """Value of the open field."""
        values = {
            "amount": [strength],
            "sign": [-strength, strength],
            "ratio": [1 / (1 + strength), 1 + strength],
            "part": [1 / (1 + strength)],
        }[self.way]
        written = [f"{v:.9g}{self.unit}" for v in values]
        return {"choice": written} if len(written) > 1 else written[0]

    def at(self, m: float, ndim: int, where: WhereField = "valid") -> Transform:
        """Transform at magnitude ``m``."""
        strength = float(np.interp(m, range(MOST + 1), self.strengths[ndim]))
        return self.of_strength(strength, where)


@cache
def read(domain: str) -> dict[str, Any]:
    """Return what a domain's file says."""
    import yaml

    text = (FOLDER / f"{domain}.yaml").read_text(encoding="utf-8")
    told: dict[str, Any] = yaml.safe_load(text)
    return told


@cache
def space(domain: str) -> Mapping[str, Operation]:
    """Operations of a domain by name, in the order in which they act."""
    return {name: Operation(name, **given) for name, given in read(domain)["operations"].items()}


def where_of(domain: str, state: State) -> WhereField:
    """Say where values change: an empty background of exactly 0, as of a stripped skull, stays.

    Elsewhere 0 is a value like others (water, in Hounsfield units).
    """
    if domain != "medical":
        return "valid"
    first = state.facts.distribution(0)
    return "nonzero" if first.stat("min") == first.stat("q10") == 0 else "valid"


class PolicyTransform(Transform):
    """Base of what draws from a domain's operations."""

    domain: Domain
    operations: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _knows_operations(self) -> PolicyTransform:
        known = (IDENTITY, *space(self.domain))
        for name in self.operations or ():
            if name not in known:
                raise ConfigError(
                    f"{type(self).__name__}.operations: no operation {name!r} in domain "
                    f"{self.domain!r}; allowed: {', '.join(known)}"
                )
        return self

    def steps(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Return steps with probability `p`, of a domain of images such as this one."""
        if not all(state.ndim in known.strengths for known in space(self.domain).values()):
            raise ConfigError(
                f"{type(self).__name__}.domain: {self.domain!r} is for 2D images, this one has "
                f"{state.ndim} axes; allowed: medical"
            )
        return super().steps(draws, state)

    def apply(self, draws: Draws, state: State, n: int, m: float) -> tuple[Step, ...]:
        """Return the steps of ``n`` operations of magnitude ``m``, drawn with repetition.

        They act in the order in which the domain lists them.
        """
        known = space(self.domain)
        names = self.operations or (IDENTITY, *known)
        chosen = [names[draws.below(len(names))] for _ in range(n)]
        if not m:
            return ()
        where = where_of(self.domain, state)
        listed = [known[name] for name in known for _ in range(chosen.count(name))]
        children = tuple(operation.at(m, state.ndim, where) for operation in listed)
        return apply_children(draws, state, children, list(range(len(children))))
