"""Numbers a user writes in a recipe: fixed or drawn, plain or with a unit.

A `Range` is drawn by its quantile function: one uniform number in, one value out. Correlated
draws, sweeps and schedules then need nothing more than other uniform numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

#: Metres in one unit of length; a bare number counts voxels.
METRES = {"um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3, "ft": 0.3048}
#: Parts of an amount: percent of the channel's standard deviation, and reflectance.
AMOUNTS = ("%", "rho")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-Zµ%]*)\s*$")
_NORMAL = NormalDist()
_TINY = 2.0**-54
AXES = "zyx"


@dataclass(frozen=True, slots=True)
class Range:
    """How one number is drawn.

    ``kind`` is fixed, uniform, log_uniform, normal, choice or bg (nnU-Net's: half of the draws
    below one, half above); ``values`` are its numbers and ``unit`` is theirs.
    """

    kind: str
    values: tuple[float, ...]
    unit: str = ""

    KINDS: ClassVar[tuple[str, ...]] = ("normal", "choice", "log_uniform", "bg")

    @classmethod
    def of(cls, given: Any) -> Range:
        """Read a number, ``"12mm"``, ``(low, high)`` or ``{kind: [numbers]}``."""
        if isinstance(given, Range):
            return given
        if isinstance(given, Mapping):
            if len(given) != 1 or (kind := next(iter(given))) not in cls.KINDS:
                raise ValueError(f"{dict(given)!r}: one of {', '.join(cls.KINDS)} expected as key")
            given = given[kind]
            if not isinstance(given, Sequence) or isinstance(given, str) or not given:
                raise ValueError(f"{kind}: a list of numbers expected, got {given!r}")
            if kind != "choice" and len(given) != 2:
                raise ValueError(f"{kind}: two numbers expected, got {list(given)!r}")
        elif isinstance(given, Sequence) and not isinstance(given, str):
            if len(given) != 2:
                raise ValueError(f"{list(given)!r}: a number or (low, high) expected")
            kind = "uniform"
        else:
            kind, given = "fixed", (given,)
        pairs = [parsed(v) for v in given]
        units = {u for v, u in pairs if u or v}
        if len(units) > 1:
            raise ValueError(f"{list(given)!r}: one unit for all numbers expected")
        made = cls(kind, tuple(v for v, _ in pairs), units.pop() if units else pairs[0][1])
        if kind in ("uniform", "log_uniform", "bg") and made.values[0] > made.values[1]:
            raise ValueError(f"{list(given)!r}: the low end comes first")
        if kind == "log_uniform" and made.values[0] <= 0:
            raise ValueError(f"{list(given)!r}: log_uniform needs positive numbers")
        if kind == "normal" and made.values[1] < 0:
            raise ValueError(f"{list(given)!r}: a standard deviation is not negative")
        if kind == "uniform" and made.values[0] == made.values[1]:
            return cls("fixed", made.values[:1], made.unit)
        return made

    def at(self, u: float) -> float:
        """Quantile ``u`` in [0, 1), to nine digits: the same on every machine, and readable."""
        v = self.values
        if self.kind == "fixed":
            return v[0]
        if self.kind == "choice":
            return v[min(int(u * len(v)), len(v) - 1)]
        if self.kind == "normal":
            drawn = v[0] + v[1] * _NORMAL.inv_cdf(max(u, _TINY))
        elif self.kind == "log_uniform":
            drawn = math.exp(math.log(v[0]) + u * (math.log(v[1]) - math.log(v[0])))
        elif self.kind == "bg" and v[0] < 1:
            drawn = v[0] + (1 - v[0]) * 2 * u if u < 0.5 else 1 + (v[1] - 1) * (2 * u - 1)
        else:
            drawn = v[0] + u * (v[1] - v[0])
        return rounded(drawn)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that can be drawn."""
        if self.kind == "normal" and self.values[1]:
            return -math.inf, math.inf
        inner = self.values[:1] if self.kind == "normal" else self.values
        return min(inner), max(inner)

    def plain(self) -> Any:
        """Return the form a recipe is written in."""
        values = [written(v, self.unit) for v in self.values]
        if self.kind == "fixed":
            return values[0]
        return values if self.kind == "uniform" else {self.kind: values}

    def __str__(self) -> str:
        values = [f"{v:g}{self.unit}" for v in self.values]
        if self.kind == "fixed":
            return values[0]
        return f"{values[0]} to {values[1]}" if self.kind == "uniform" else f"{self.kind} {values}"


def rounded(value: float) -> float:
    """Nine significant digits of a drawn number: the same on every machine, and readable."""
    return float(f"{value:.9g}")


def parsed(given: Any) -> tuple[float, str]:
    """Read a number with its unit, such as 5 or ``"5mm"``."""
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        raise ValueError(f"{given!r}: a number expected, such as 5 or '5mm'")
    if isinstance(given, str):
        found = _NUMBER.match(given)
        if not found:
            raise ValueError(f"{given!r}: a number expected, such as 5 or '5mm'")
        value, unit = float(found[1]), found[2].replace("µ", "u")
    else:
        value, unit = float(given), ""
    if not math.isfinite(value):
        raise ValueError(f"{given!r}: a finite number expected")
    return value, unit


def written(value: float, unit: str) -> Any:
    """Return what `parsed` reads."""
    if unit:
        return f"{value:.12g}{unit}"
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


@dataclass(frozen=True, slots=True)
class Spec:
    """What a field of type `Range` allows: units, limits, and whether axes may differ."""

    units: tuple[str, ...] = ()
    ge: float = -math.inf
    gt: float = -math.inf
    le: float = math.inf
    per_axis: bool = False
    what: str = "number"

    def read(self, given: Any) -> Any:
        """Validate, as pydantic asks."""
        if self.per_axis and isinstance(given, Mapping) and set(given) <= set(AXES) and given:
            return {a: self._one(given[a]) for a in AXES if a in given}
        return self._one(given)

    def _one(self, given: Any) -> Range:
        made = Range.of(given)
        if made.unit and made.unit not in self.units:
            known = ", ".join(self.units) or "none"
            raise ValueError(f"unit {made.unit!r} is not known here; allowed: {known}")
        low, high = made.bounds
        above = self.gt == -math.inf or low > self.gt  # a normal distribution has no lower end
        if low < self.ge or not above or high > self.le:
            raise ValueError(f"{made} is out of range; allowed: {self.limits}")
        return made

    @property
    def limits(self) -> str:
        """Limits in words."""
        words = [f"at least {self.ge:g}"] if self.ge > -math.inf else []
        words += [f"more than {self.gt:g}"] if self.gt > -math.inf else []
        words += [f"at most {self.le:g}"] if self.le < math.inf else []
        return " and ".join(words) or "any"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate with `read`."""
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda r: {a: v.plain() for a, v in r.items()} if isinstance(r, dict) else r.plain()
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """JSON schema of what `Range.of` reads."""
        number: dict[str, Any] = {"type": "number"}
        if self.units:
            pattern = rf"^\s*[-+0-9.eE]+\s*({'|'.join(map(re.escape, self.units))})?\s*$"
            number = {"anyOf": [number, {"type": "string", "pattern": pattern}]}
        pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        forms: list[dict[str, Any]] = [number, pair]
        for kind in Range.KINDS:
            numbers = {"type": "array", "items": number} if kind == "choice" else pair
            forms.append(
                {
                    "type": "object",
                    "properties": {kind: numbers},
                    "required": [kind],
                    "additionalProperties": False,
                }
            )
        if self.per_axis:
            axes = {a: {"anyOf": list(forms)} for a in AXES}
            forms.append(
                {
                    "type": "object",
                    "properties": axes,
                    "additionalProperties": False,
                    "minProperties": 1,
                }
            )
        return {"anyOf": forms, "description": f"{self.what}; {self.limits}"}


PerAxis = Range | dict[str, Range]
_LENGTHS = tuple(METRES)

Number = Annotated[Range, Spec()]
Positive = Annotated[Range, Spec(gt=0)]
NonNegative = Annotated[Range, Spec(ge=0)]
Degrees = Annotated[Range, Spec(what="degrees")]
DegreesPerAxis = Annotated[PerAxis, Spec(per_axis=True, what="degrees")]
PositivePerAxis = Annotated[PerAxis, Spec(gt=0, per_axis=True)]
Length = Annotated[Range, Spec(_LENGTHS, ge=0, what="voxels, or a length with unit")]
LengthPerAxis = Annotated[
    PerAxis, Spec(_LENGTHS, per_axis=True, what="voxels, or a length with unit")
]
NonNegativeLengthPerAxis = Annotated[
    PerAxis, Spec(_LENGTHS, ge=0, per_axis=True, what="voxels, or a length with unit")
]
PositiveLengthPerAxis = Annotated[
    PerAxis, Spec(_LENGTHS, gt=0, per_axis=True, what="voxels, or a length with unit")
]
Amount = Annotated[
    Range, Spec(AMOUNTS, what="stored units, '%' of the standard deviation, or 'rho'")
]
PositiveAmount = Annotated[
    Range, Spec(AMOUNTS, ge=0, what="stored units, '%' of the standard deviation, or 'rho'")
]
