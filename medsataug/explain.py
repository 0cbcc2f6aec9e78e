"""A plan in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medsataug.maps import Displacement, SpatialMap, shrink_factors, signed_permutation
from medsataug.values import ChannelAffine, LabelStep, Mix, Number, Stat, Stencil, Tile

if TYPE_CHECKING:
    from medsataug.plan import Plan


def explain(plan: Plan) -> str:
    """Say what each transform drew, how many passes it takes, and what each pass does."""
    lines = [
        f"plan of {plan.recipe or 'a pipeline'} for sample {plan.sample}, seed {plan.seed}, "
        f"index {plan.index}",
        f"  {_size(plan.source)} -> {_size(plan.grid)}, geometry {plan.geometry}",
        "drawn:",
    ]
    lines += [f"  {name}: {_pairs(values)}" for name, values in plan.drawn]
    if not plan.drawn:
        lines.append("  nothing; the output is a copy")
    resampled = 0
    for number, segment in enumerate(plan.segments, start=1):
        lines.append(f"pass {number}:")
        if segment.spatial is not None:
            how, interpolates = _map(segment.spatial, plan.roles.antialias)
            resampled += interpolates
            lines.append(f"  {how}")
        lines += [f"  {_step(step)}" for step in segment.steps]
    if plan.elastic:
        smallest = plan.smallest_jacobian
        folds = " (it folds)" if smallest <= 0 else ""
        lines.append(f"smallest Jacobian determinant of the elastic part: {smallest:.3f}{folds}")
    if resampled > 1:
        lines.append(
            f"note: voxels are interpolated {resampled} times, because spatial transforms stand "
            "after value transforms; put all spatial transforms first to interpolate once"
        )
    return "\n".join(lines)


def _size(grid: Any) -> str:
    unit = {"RAS+ mm": "mm", "mm": "mm"}.get(grid.world or "", "")
    unit = unit or ("" if grid.world is None else "world units")
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing)
    return " x ".join(map(str, grid.shape)) + (f" ({spacing} {unit})" if unit else "")


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items()) or "applied"


def _map(spatial: SpatialMap, antialias: bool) -> tuple[str, int]:
    shape = " x ".join(map(str, spatial.out_shape))
    bent = sum(isinstance(p, Displacement) for p in spatial.parts)
    only = "" if spatial.channels is None else f" of channels {list(spatial.channels)}"
    if not bent and signed_permutation(spatial.matrix) is not None:
        return f"copy voxels{only} to {shape} (turn, mirror, crop or pad; nothing interpolated)", 0
    text = f"resample{only} to {shape} once: {len(spatial.parts)} part(s)"
    text += f", {bent} of them elastic" if bent else ""
    factors = shrink_factors(spatial) if antialias else (1,)
    if np.prod(factors) > 1:
        text += f"; shrinks, so each voxel is the mean of {' x '.join(map(str, factors))} positions"
    return text, 1


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
    return f"{text} of the {value.scope}" + (f" + {value.plus:.4g}" if value.plus else "")
