"""Values between memory and a file's dtype: rounding, saturation, and what a label may be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import FormatError
from medsataug.types import Array, Sample

#: GDAL takes a float, of 32 or 64 bits, for nodata when it is near: within four roundings of
#: float32 or two of the smallest normal numbers. This is twice that.
_NEAR, _TINIES = 8 * 2.0**-23, 4


def nodata_for(dtype: np.dtype[Any], nodata: float | None) -> float | int | None:
    """``nodata`` as ``dtype`` can hold it, or None where it cannot."""
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(nodata))
    limits = np.iinfo(dtype)
    whole = np.isfinite(nodata) and float(nodata).is_integer()
    return int(nodata) if whole and limits.min <= nodata <= limits.max else None


def nudge(values: Array, valid: NDArray[np.bool_] | None, nodata: float) -> None:
    """Move valid values that would read as ``nodata`` by one unit, in place.

    A float moves by as little as GDAL still tells apart.
    """
    hit = reads_as(values, valid, nodata)
    if not hit.any():
        return
    dtype = values.dtype
    if dtype.kind != "f":
        away: float = nodata - 1 if nodata == np.iinfo(dtype).max else nodata + 1
    elif np.isinf(nodata):
        away = float(np.copysign(np.finfo(dtype).max, nodata))
    else:
        # Towards zero, and from zero upwards; near the dtype's end GDAL's own sum overflows, so
        # the step from there is long.
        end = abs(nodata) > float(np.finfo(dtype).max) / 4
        step = np.copysign(2 * _near(nodata, dtype), nodata or -1.0)
        away = nodata * 2.0**-25 if end else nodata - step
    values[hit] = away


def reads_as(values: Array, valid: NDArray[np.bool_] | None, nodata: float) -> NDArray[np.bool_]:
    """Where ``values`` that are valid would read as ``nodata``; NaN never is valid."""
    if values.dtype.kind != "f" or np.isinf(nodata):
        hit = values == nodata
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            hit = np.abs(values - values.dtype.type(nodata)) <= _near(nodata, values.dtype)
    if valid is not None:
        hit &= valid
    return np.asarray(hit)


def _near(nodata: float, dtype: np.dtype[Any]) -> float:
    return max(_NEAR * abs(nodata), _TINIES * float(np.finfo(dtype).tiny))


def free_value(values: Array) -> int | None:
    """Return an integer of the type that ``values`` do not hold, or None where all are taken.

    It is the lowest of a signed type and the highest of an unsigned one, where these are free;
    of 64 bits those of 32, since readers take a nodata value for a float64.
    """
    dtype, used = values.dtype, np.unique(values)
    limits, usual_of = np.iinfo(dtype), np.iinfo(f"{dtype.kind}{min(dtype.itemsize, 4)}")
    usual = usual_of.min if dtype.kind == "i" else usual_of.max
    if not (used == usual).any():
        return int(usual)
    gaps = np.flatnonzero(used[1:] != used[:-1] + 1)
    if len(gaps):
        return int(used[gaps[0]]) + 1
    low, high = int(used[0]), int(used[-1])
    return high + 1 if high < limits.max else low - 1 if low > limits.min else None


def own_channels(sample: Sample) -> int:
    """How many channels are the sample's own; those that a pipeline added come after them.

    What was added holds numbers of its own, such as 0 and 1 of a mask: none means "no data".
    """
    return min(int(sample.meta.get("own_channels", len(sample.channels))), len(sample.channels))


def to_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round half to even and saturate to ``dtype``; NaN becomes 0 in an integer."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype)
    if values.dtype.kind in "iub":
        if values.dtype.kind == "b":
            return values.astype(dtype)
        own = np.iinfo(values.dtype)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
        return values.clip(low, high).astype(dtype)
    # float32 holds integers of 24 bits; wider dtypes are rounded and compared in float64.
    wide = values.astype(np.float64 if dtype.itemsize > 2 else values.dtype, copy=True)
    np.rint(wide, out=wide)
    wide[np.isnan(wide)] = 0
    # 2**63 - 1 is not a float64: what reaches the limit is set to it, not converted.
    top, bottom = wide >= limits.max, wide <= limits.min
    wide[top | bottom] = 0
    out = wide.astype(dtype)
    out[top], out[bottom] = limits.max, limits.min
    return out


def not_nan(image: Array) -> NDArray[np.bool_] | None:
    """Where ``image`` has a value, or None where it has one everywhere."""
    # min() passes NaN on and, unlike isnan(), needs no array of its own.
    if image.dtype.kind != "f" or not image.size or not np.isnan(image.min()):
        return None
    return ~np.isnan(image)


def nan_where_invalid(sample: Sample) -> NDArray[np.bool_] | None:
    """Return ``sample.valid`` where NaN is what its file says for "no data", else None."""
    nodata = sample.meta.get("nodata")
    return sample.valid if isinstance(nodata, float) and math.isnan(nodata) else None


def integral(values: Array, path: Path) -> NDArray[Any]:
    """Classes stored as floats, as the smallest of uint8, int16 and int32 that holds them.

    Integers are returned as they are.

    Raises
    ------
    FormatError
        Where a value is not a whole number that fits.
    """
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    limits = np.iinfo(np.int32)
    whole = np.isfinite(values) & (values == np.rint(values))
    whole &= (values >= limits.min) & (values <= limits.max)
    if not whole.all():
        odd = values[~whole].flat[0]
        raise FormatError(
            f"{path}: a label holds whole numbers, this one holds {odd}; load it as an image, or "
            "store its classes as integers (with a nodata value for what is not labelled)"
        )
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for dtype in (np.uint8, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int32)
