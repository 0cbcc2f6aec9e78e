"""How images and labels are resampled and filled: by role, never by transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.grid import MM, RAS_MM
from medsataug.types import Sample

#: Borders, as kernels number them.
BORDERS = {"constant": 0, "edge": 1, "reflect": 2}
#: HU of air, which surrounds a CT.
AIR_HU = -1000.0
#: Label value of what lies outside a raster, where the file states no nodata.
IGNORE = 255


@dataclass(frozen=True)
class Roles:
    """Interpolation, border and fill of a pipeline.

    ``fill`` and ``label_fill`` are numbers or ``"auto"``: CT −1000 HU, rasters nodata, else 0;
    labels 0, or the ignored value of a raster's label.
    """

    interpolation: str = "linear"
    label_interpolation: str = "vote"
    border: str = "constant"
    fill: float | str = "auto"
    label_fill: int | str = "auto"
    antialias: bool = True


def is_raster(sample: Sample) -> bool:
    """Whether a sample lies on the Earth rather than in a body."""
    return sample.meta.get("format") == "geotiff" or (
        sample.ndim == 2 and sample.grid.world not in (None, MM, RAS_MM)
    )


def ignored(sample: Sample) -> tuple[int, ...]:
    """Label values that are no class: a raster label's nodata, or 255 where it states none."""
    if not is_raster(sample) or sample.label is None:
        return ()
    nodata = (sample.meta.get("label_meta") or {}).get("nodata")
    if nodata is not None and float(nodata).is_integer():
        return (int(nodata),)
    return (IGNORE,)


def image_fills(roles: Roles, sample: Sample, channels: int) -> NDArray[np.float32]:
    """(channels,) value beyond the border; NaN is nodata."""
    fill = roles.fill
    if isinstance(fill, str):
        if is_raster(sample) or sample.valid is not None:
            fill = float("nan")
        else:
            fill = AIR_HU if sample.meta.get("modality") == "CT" else 0.0
    return np.full(channels, fill, np.float32)


def label_fill(roles: Roles, sample: Sample) -> int:
    """Label beyond the border.

    Raises
    ------
    ConfigError
        Where the automatic value is a class of this label, or does not fit its dtype.
    """
    if sample.label is None:
        return 0
    fill, known = roles.label_fill, ignored(sample)
    if isinstance(fill, str):
        fill = known[0] if known else 0
        stated = (sample.meta.get("label_meta") or {}).get("nodata") is not None
        if known and not stated and set(sample.facts.classes) == {0, fill}:
            raise ConfigError(
                f"label_fill: {fill} would mark what lies outside, but it is a class of this "
                "label (0 and 255); set label_fill in the recipe, or a nodata value in the file"
            )
    limits = np.iinfo(sample.label.dtype)
    if not limits.min <= fill <= limits.max:
        raise ConfigError(
            f"label_fill: {fill} does not fit the label's {sample.label.dtype}; set label_fill to "
            f"{limits.min} … {limits.max}"
        )
    return fill
