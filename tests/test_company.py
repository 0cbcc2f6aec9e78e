"""Whom not to mix with: it is said by the plan, whatever is drawn, and before anything is mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug.grid import RAS_MM, Grid
from medsataug.types import Channel, Sample

SHAPE = (20, 24)


def case(name: str = "x", kind: Any = np.float32, shape: Any = SHAPE, **more: Any) -> Sample:
    """Image of 0 to 100 and a label of 0 to 3."""
    rng = np.random.default_rng(len(name))
    label = rng.integers(0, 4, shape).astype(np.uint8)
    made = msa.Sample(
        (rng.random(shape) * 100).astype(kind), label, axes="ZYX"[-len(shape) :], id=name
    )
    return made.replace(**more)


def raster(name: str, nodata: int | None = None, **more: Any) -> Sample:
    grid = Grid(SHAPE, np.array([[0, 10.0, 0], [-10, 0, 0], [0, 0, 1]]), "EPSG:32632", (1.0, 1.0))
    meta = {"format": "geotiff"} | ({} if nodata is None else {"label_meta": {"nodata": nodata}})
    return case(name, grid=grid, meta=meta, **more)


def volume(name: str, sign: float) -> Sample:
    """Volume whose x grows to the right or to the left."""
    affine = np.fliplr(np.diag([sign, 1.0, 1.0]))
    full = np.eye(4)
    full[:3, :3] = affine
    return case(name, shape=(6, 8, 10), grid=Grid((6, 8, 10), full, RAS_MM, (1e-3,) * 3))


def band(scale: float, offset: float = 0) -> Any:
    return {"channels": (Channel("red", 0.66, (scale, offset)),)}


SOFT = {"soft": np.full((3, *SHAPE), 1 / 3, np.float32)}
TWO = {"label": np.zeros((2, *SHAPE), np.uint8)}
BARE = {"label": None}
REFUSED = [
    (case(**SOFT, **BARE), case("yy", **BARE), "has none"),
    (case(**SOFT), case("yy"), "a label alone"),
    (case(), case("yy", **SOFT), "a label alone"),
    (case(**SOFT), case("yy", soft=SOFT["soft"][:2]), "2 class probabilities, the sample 3"),
    (case(), case("yy", **TWO), r"2 label\(s\), the sample 1"),
    (case(), case("yy", label=np.full(SHAPE, 300, np.int32)), "fit the sample's uint8"),
    (raster("x"), raster("yy", 9), "9 for label values that are no class.*sample 255"),
    (raster("x", 0), raster("yy"), "255 for label values that are no class.*sample 0"),
    (case(**band(1e-4)), case("yy", **band(1)), "reflectance 1 .* the sample 0.0001"),
    (case(**band(1e-4)), case("yy", **band(1e-4, -0.1)), "stored -0.1"),
    (case("x", np.uint8), case("yy", np.uint16, image=np.full((1, *SHAPE), 999, np.uint16)),
     "uint16 values from 999 to 999.*uint8 ends at 0 and 255.*Normalize"),
    (case("x", np.uint16), case("yy", np.int16, image=np.full((1, *SHAPE), -9, np.int16)),
     "int16 values from -9"),
    (volume("x", 1), volume("yy", -1), "stored in SAL orientation, the sample in SAR"),
]  # fmt: skip


@pytest.mark.parametrize("mix", [msa.CutMix(), msa.ClassMix(), msa.CopyPaste(), msa.Mosaic()])
@pytest.mark.parametrize(("sample", "partner", "message"), REFUSED)
def test_unlike_partners_are_refused_by_the_plan(
    mix: Any, sample: Sample, partner: Sample, message: str
) -> None:
    for index in range(3):
        with pytest.raises((msa.ConfigError, msa.GeometryError), match=message):
            msa.Pipeline([mix]).plan(sample, 1, index, partners=[partner])


@pytest.mark.parametrize(
    ("before", "sample", "partner"),
    [
        ([], case(), case("yy", np.uint16)),
        ([], case("x", np.int16), case("yy", np.uint16)),
        ([], case("x", np.int16), case("yy", np.float32)),
        ([msa.Normalize()], case("x", np.uint8),
         case("yy", np.uint16, image=np.arange(480, dtype=np.uint16).reshape(1, *SHAPE))),
        ([msa.Normalize()], case(**band(1e-4)), case("yy", **band(1))),
        ([], case(**band(1e-4)), case("yy")),
        ([], case(), case("yy", label=np.full(SHAPE, 200, np.int32))),
        ([], raster("x", 9), raster("yy", 9)),
        ([], raster("x", 9, **BARE), raster("yy")),
        ([], case(**SOFT), case("yy", **SOFT)),
        ([], case(**SOFT, **BARE), case("yy", **SOFT, **BARE)),
        ([], case(**BARE), case("yy", **SOFT)),
        ([msa.MixUp(classes=4)], case(), case("yy")),
        ([msa.MixUp(classes=3, p=0.5)], case(**SOFT), case("yy", label=TWO["label"][0])),
        ([], volume("x", -1), volume("yy", -1)),
    ],
)  # fmt: skip
def test_partners_that_fit_are_mixed(before: Any, sample: Sample, partner: Sample) -> None:
    out = msa.Pipeline([*before, msa.CutMix(alpha=3)])(sample, seed=1, partners=[partner])
    assert out.image.shape == sample.image.shape


def test_integers_that_float32_rounds_are_refused_in_partners_too() -> None:
    partner = case("yy", np.int32)
    partner.image[:] = 2**24 + 1
    with pytest.raises(msa.ConfigError, match="24 bits"):
        msa.CutMix(alpha=3)(case("x", np.int32), seed=1, partners=[partner])
    with pytest.raises(msa.ConfigError, match="24 bits"):
        msa.Normalize(p=1e-9)(partner, seed=1)
    hidden = partner.replace(valid=np.zeros((1, *SHAPE), bool))  # what is no data may be anything
    msa.Normalize(p=1e-9)(hidden, seed=1)


def test_the_shift_of_copied_objects_has_a_stream_of_its_own() -> None:
    chain = [msa.Translate(offset=(-9, 9), key="shift"), msa.CopyPaste(shift=(-9, 9))]
    plan = msa.Pipeline(chain).plan(case(), 1, partners=[case("yy")])
    (step,) = plan.segments[-1].steps
    first, second = (float(dict(d)["offset"].split(",")[0]) for _, d in step.plan.drawn)
    assert first != second
