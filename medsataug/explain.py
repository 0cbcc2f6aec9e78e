"""A plan in words, and in milliseconds where they were measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medsataug.maps import Displacement, SpatialMap, shrink_factors, signed_permutation
from medsataug.values import ChannelAffine, LabelStep, Mix, Number, Stat, Stencil, Tile

if TYPE_CHECKING:
    from medsataug.plan import Plan
    from medsataug.timing import Cost, Part

#: What `execute` and those below it name as parts of the time, beside the number of a step.
_OF_MAP = {
    "map": "prepare",
    "positions": "positions",
    "image": "image",
    "label": "label",
}
_OF_VALUES = {
    "in": "take the image in as float32",
    "slices": "share out the work",
    "search": "look for voxels without data",
}
_OUTSIDE = {
    "start": "check the sample",
    "read": "take the window that is needed",
    "finish": "finish: round, mark voxels without data, describe the result",
}
#: Share of the whole below which such a part is not worth a line.
_LEAST = 1e-3


@dataclass(frozen=True)
class Line:
    """A line on a pass: what is done, in which parts of the time, and for how many values.

    Level 0 is a pass, 1 what it does, 2 a part of that. A ``detail`` is there for its time alone.
    """

    level: int
    text: str
    parts: tuple[Part, ...]
    values: int
    detail: bool = False


def explain(plan: Plan, cost: Cost | None = None) -> str:
    """Say what each transform drew, how many passes it takes, and what each pass does.

    With a ``cost`` (`medsataug.timing.measure`), also how long each pass and step took.
    """
    lines = [
        f"plan of {plan.recipe or 'a pipeline'} for sample {plan.sample}, seed {plan.seed}, "
        f"index {plan.index}",
        f"  {_size(plan.source)} -> {_size(plan.grid)}, geometry {plan.geometry}",
        "drawn:",
    ]
    lines += [f"  {name}: {_pairs(values)}" for name, values in plan.drawn]
    if not plan.drawn:
        lines.append("  nothing; the output is a copy")
    if cost is None:
        lines += ["  " * line.level + line.text for line in _passes(plan) if not line.detail]
    else:
        lines += _table(plan, cost)
    if plan.elastic:
        smallest = plan.smallest_jacobian
        folds = " (it folds)" if smallest <= 0 else ""
        lines.append(f"smallest Jacobian determinant of the elastic part: {smallest:.3f}{folds}")
    maps = [s.spatial for s in plan.segments if s.spatial is not None]
    resampled = sum(not _is_copy(spatial) for spatial in maps)
    if resampled > 1:
        lines.append(
            f"note: voxels are interpolated {resampled} times, because spatial transforms stand "
            "after value transforms; put all spatial transforms first to interpolate once"
        )
    return "\n".join(lines)


def as_json(plan: Plan, cost: Cost) -> dict[str, Any]:
    """Return the plan, and what `explain` says of its cost.

    Returns
    -------
    dict
        ``plan`` as `Plan.from_json` reads it, and ``cost``: ``threads``, ``runs``, ``first_ms``,
        ``total_ms``, ``around_ms`` by name, and ``lines``: level (0 a pass, 1 what it does, 2 a
        part of that), text, ms, ns_per_value (of an output voxel and channel), share (of the
        total).
    """
    told = {
        "threads": cost.threads,
        "runs": cost.runs,
        "first_ms": round(cost.first * 1e3, 4),
        "total_ms": round(cost.total * 1e3, 4),
        "around_ms": {name: round(s * 1e3, 4) for name, s in cost.around.items()},
        "lines": [
            {
                "level": line.level,
                "text": line.text.rstrip(":"),
                "ms": round(seconds * 1e3, 4),
                "ns_per_value": round(seconds * 1e9 / line.values, 4),
                "share": round(seconds / cost.total, 4),
            }
            for line, seconds in _timed(plan, cost)
        ],
    }
    return {"plan": json.loads(plan.to_json()), "cost": told}


def _passes(plan: Plan) -> Iterator[Line]:
    """Lines on every pass."""
    shape, channels = plan.source.shape, len(plan.channels)
    for number, segment in enumerate(plan.segments, start=1):
        own: list[tuple[int, str, list[str | int], bool]] = []
        if segment.spatial is not None:
            shape = segment.spatial.out_shape
            own.append((1, _map(segment.spatial, plan.roles.antialias), [*_OF_MAP], False))
            if not _is_copy(segment.spatial):
                own += [(2, text, [name], True) for name, text in _OF_MAP.items()]
        for at, step in enumerate(segment.steps):
            own.append((1, _step(step), [at], False))
            if isinstance(step, ChannelAffine):
                channels = len(step.matrix)
        if segment.steps:
            own += [(1, text, [name], True) for name, text in _OF_VALUES.items()]
        values = math.prod(shape) * channels
        every = tuple((number, name) for level, _, names, _ in own if level == 1 for name in names)
        yield Line(0, f"pass {number}:", every, values)
        for level, text, names, detail in own:
            yield Line(level, text, tuple((number, n) for n in names), values, detail)


def _timed(plan: Plan, cost: Cost) -> Iterator[tuple[Line, float]]:
    """Lines with their seconds, and what is done before and after all passes."""
    lines = list(_passes(plan))
    values = lines[-1].values if lines else math.prod(plan.source.shape) * len(plan.channels)
    outside = [Line(0, text, ((0, name),), values, True) for name, text in _OUTSIDE.items()]
    for line in [*outside[:-1], *lines, outside[-1]]:
        seconds = sum(cost.parts.get(part, 0.0) for part in line.parts)
        if not line.detail or seconds > _LEAST * cost.total:
            yield line, seconds


def _table(plan: Plan, cost: Cost) -> Iterator[str]:
    """Say in columns what everything took."""
    threads = "1 thread" if cost.threads == 1 else f"{cost.threads} threads"
    yield (
        f"cost on {threads}, the median of {cost.runs} runs; one before them, which loads or "
        f"compiles kernels, took {cost.first:.2f} s"
    )
    yield f"{'ms':>10}{'ns/value':>10}{'share':>8}    (a value: one channel of an output voxel)"
    done = list(_timed(plan, cost))
    whole = Line(0, "in all", (), done[-1][0].values)
    for line, seconds in [*done, (whole, cost.total)]:
        yield (
            f"{seconds * 1e3:10.2f}{seconds * 1e9 / line.values:10.2f}{seconds / cost.total:8.1%}"
            f"    {'  ' * line.level}{line.text}"
        )
    for name, seconds in cost.around.items():
        yield f"{seconds * 1e3:10.2f}{'':18}    {name}"


def _size(grid: Any) -> str:
    unit = {"RAS+ mm": "mm", "mm": "mm"}.get(grid.world or "", "")
    if not unit and grid.world is not None:
        unit = "m" if set(grid.metres or ()) == {1.0} else "world units"
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing)
    return " x ".join(map(str, grid.shape)) + (f" ({spacing} {unit})" if unit else "")


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items()) or "applied"


def _is_copy(spatial: SpatialMap) -> bool:
    return not spatial.elastic and signed_permutation(spatial.matrix) is not None


def _map(spatial: SpatialMap, antialias: bool) -> str:
    shape = " x ".join(map(str, spatial.out_shape))
    bent = sum(isinstance(p, Displacement) for p in spatial.parts)
    only = "" if spatial.channels is None else f" of channels {list(spatial.channels)}"
    if _is_copy(spatial):
        return f"copy voxels{only} to {shape} (turn, mirror, crop or pad; nothing interpolated)"
    text = f"resample{only} to {shape} once: {len(spatial.parts)} part(s)"
    text += f", {bent} of them elastic" if bent else ""
    factors = shrink_factors(spatial) if antialias else (1,)
    if np.prod(factors) > 1:
        text += f"; shrinks, so each voxel is the mean of {' x '.join(map(str, factors))} positions"
    return text


def _step(step: Any) -> str:
    if isinstance(step, ChannelAffine):
        if step.diagonal:
            return f"scale and shift: gain {_numbers(step.gain)}, bias {_numbers(step.bias)}"
        return f"mix {step.matrix.shape[1]} channels into {step.matrix.shape[0]}"
    if isinstance(step, LabelStep):
        return f"change labels: {step.function}"
    if isinstance(step, Mix):
        return f"mix in {step.partner}: {step.function}"
    kind = "voxel by voxel" if isinstance(step, Tile) else "whole channel"
    kind = "neighbours" if isinstance(step, Stencil) else kind
    first = next(p for p in step.params if p is not None)
    count = sum(p is not None for p in step.params)
    shown = ", ".join(_number(v) for v in first[:4]) + (", …" if len(first) > 4 else "")
    where = "" if step.where == "valid" else f" where {step.where}"
    return f"{step.kernel} ({kind}, {count} channel(s){where}): {shown}"


def _numbers(values: Any) -> str:
    return ", ".join(f"{v:.4g}" for v in np.asarray(values).tolist())


def _number(value: Number) -> str:
    if not isinstance(value, Stat):
        return f"{value:.4g}"
    text = value.name if value.times == 1 else f"{value.times:.4g} x {value.name}"
    text += f" of the {value.scope}" + (" before" if value.before else "")
    return text + (f" + {value.plus:.4g}" if value.plus else "")
