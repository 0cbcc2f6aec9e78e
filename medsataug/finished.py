"""How a result leaves: in the type it was stored in, its gaps filled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.arrays import kernel_source
from medsataug.io.encode import nodata_for, nudge, own_channels, to_dtype
from medsataug.kernels.pointwise import has_nan, round_to
from medsataug.plan import Plan
from medsataug.roles import AIR_HU
from medsataug.sweep import SLICE
from medsataug.types import Array, Sample


def finished(
    image: Array,
    valid: NDArray[np.bool_] | None,
    plan: Plan,
    sample: Sample,
    original: Array | None,
    stored: np.dtype[Any],
    whole: bool,
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Image in the dtype it leaves in, and its validity.

    Integers come back as the integers they were stored in, rounded half to even and saturated,
    unless the recipe changes the unit. Voxels without data hold what was stored there where
    nothing changed but values (``original``); else the nodata value, or where there is none NaN
    in floats, the air of a CT or 0 in integers. In another unit NaN stays NaN, the rest is 0.
    """
    if not image.dtype.isnative:
        image = image.astype(image.dtype.newbyteorder("="))
    integers = stored.kind in "iu" and not plan.changes_unit
    if image.dtype == stored and stored == np.float64 and not plan.changes_unit:
        return _only_copied(image, valid, sample, original)
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 nodata value, which is set below
            image = image.astype(np.float32, copy=False)
        if not whole and _has_nan(image):
            bad = np.isnan(image)
            valid = ~bad if valid is None else valid & ~bad
            valid = valid[:1] if (valid == valid[:1]).all() else valid
    if integers and image.dtype != stored:
        image = _integers(image, stored)
    elif not integers:
        known = None if valid is None else np.broadcast_to(valid, image.shape)
        image = kernel_source(image, known).astype(np.float32, copy=False)
    if valid is None:
        return image, None
    nodata = nodata_for(image.dtype, sample.meta.get("nodata"))
    gap: Any = np.nan
    if original is not None and image.dtype == stored and len(original) <= len(image):
        gap = original  # channels that were added have no gaps
    elif plan.changes_unit:
        # A stored value would be any number in the new unit; NaN says the same in every unit.
        gap = np.nan if stored.kind == "f" and sample.meta.get("nodata") is None else 0
    elif nodata is not None and np.isfinite(nodata):
        gap = nodata
    elif integers:
        air = AIR_HU if sample.meta.get("modality") == "CT" else 0
        gap = max(air, int(np.iinfo(image.dtype).min))
    _fill_gaps(image, ~valid, gap)
    if nodata is not None and not plan.changes_unit:
        own = own_channels(sample)
        nudge(image[:own], valid[:own], nodata)
    return image, valid


def _has_nan(image: NDArray[np.float32]) -> bool:
    flat = image.ravel(order="K")
    found: list[bool] = []
    threads.run(
        lambda start: found.append(has_nan(flat[start : start + SLICE])),
        range(0, flat.size, SLICE),
    )
    return any(found)


def _integers(image: NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
    """Round half to even and saturate; NaN becomes 0."""
    if dtype.itemsize > 2:
        return to_dtype(image, dtype)
    limits, out = np.iinfo(dtype), np.empty_like(image, dtype=dtype)
    low, high = np.float32(limits.min), np.float32(limits.max)
    flat, into = image.ravel(order="K"), out.ravel(order="K")

    def work(start: int) -> None:
        part = slice(start, start + SLICE)
        round_to(flat[part], low, high, np.float32(0), into[part])

    threads.run(work, range(0, flat.size, SLICE))
    return out


def _fill_gaps(image: Array, invalid: NDArray[np.bool_], gap: Any) -> None:
    """Set what has no data to a number, or to what an array of as many or fewer channels holds."""
    if isinstance(gap, np.ndarray):
        image, invalid = image[: len(gap)], invalid[: len(gap)]
    if len(invalid) == 1:  # far faster than all channels voxel by voxel: gaps are few
        where: Any = (slice(None), *np.nonzero(invalid[0]))
        image[where] = gap[where] if isinstance(gap, np.ndarray) else gap
    else:
        np.copyto(image, gap, where=invalid, casting="unsafe")


def _only_copied(
    image: Array, valid: NDArray[np.bool_] | None, sample: Sample, original: Array | None
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Float64 voxels that nothing computed: they stay what they are, and so does their type."""
    if valid is not None and original is None:
        nodata = sample.meta.get("nodata")
        image[np.broadcast_to(~valid, image.shape)] = np.nan if nodata is None else nodata
    return image, valid
