"""Class probabilities say what the label says: after its changes, beyond borders, bent or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug.grid import Grid
from medsataug.types import Sample

SHAPE = (20, 24)
SWAP = msa.Flip(p=1, axes="x", swap={1: 2})


def case(name: str, label: Any = None, seed: int = 0, **more: Any) -> Sample:
    """Image of one channel and a label of 0 to 2."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, SHAPE).astype(np.uint8) if label is None else label
    return msa.Sample(rng.random(SHAPE).astype(np.float32), label, axes="YX", id=name, **more)


def raster(name: str, seed: int = 0) -> Sample:
    """Same content on the Earth, where the label beyond the border is 255."""
    grid = Grid(SHAPE, np.array([[0, 10.0, 0], [-10, 0, 0], [0, 0, 1]]), "EPSG:32632", (1.0, 1.0))
    return case(name, seed=seed).replace(grid=grid, meta={"format": "geotiff"})


def agree(out: Sample, classes: Any = (0, 1, 2)) -> None:
    """The label is the most probable class, or of none."""
    top = np.sort(out.soft, axis=0)
    clear = top[-1] - top[-2] > 1e-4
    np.testing.assert_array_equal(np.array(classes)[out.soft.argmax(axis=0)][clear],
                                  out.label[clear])  # fmt: skip
    total = out.soft.sum(axis=0)
    np.testing.assert_allclose(total, np.isin(out.label, classes), atol=1e-5)


@pytest.mark.parametrize("label", [True, False])
def test_swapped_classes_are_swapped_in_probabilities(label: bool) -> None:
    ones = np.ones(SHAPE, np.uint8)
    soft = np.stack([ones * 0.1, ones * 0.7, ones * 0.2]).astype(np.float32)
    x = case("x", ones).replace(soft=soft)
    out = SWAP(x if label else x.replace(label=None), seed=1)
    np.testing.assert_array_equal(out.soft, soft[[0, 2, 1]])
    np.testing.assert_array_equal(x.soft, soft)
    if label:
        agree(out.replace(soft=out.soft / out.soft.sum(axis=0)))


@pytest.mark.parametrize("last", [SWAP, msa.ZeroOutside(where=[1])])
@pytest.mark.parametrize("p", [0, 1e-9, 1])
def test_label_steps_after_a_mix(last: Any, p: float) -> None:
    pipeline = msa.Pipeline([msa.MixUp(classes=3, p=p), last] if p else [last])
    out = pipeline(case("x"), seed=1, partners=[case("y", seed=1)])
    if p:
        agree(out)
    assert (1 in out.label) == (last is SWAP)


def test_what_was_no_class_becomes_one() -> None:
    label = np.zeros(SHAPE, np.int16)
    label[:5], label[9:12] = -1, 2
    soft = np.stack([label == c for c in range(3)]).astype(np.float32)
    out = msa.ZeroOutside()(case("x", label).replace(soft=soft), seed=1)
    np.testing.assert_array_equal(out.soft, [out.label == c for c in range(3)])


def test_a_class_without_a_probability_is_refused() -> None:
    soft = np.full((2, *SHAPE), 0.5, np.float32)
    with pytest.raises(msa.ConfigError, match=r"label 1 becomes 2.*of the classes \[0, 1\]"):
        SWAP(case("x").replace(soft=soft), seed=1)


@pytest.mark.parametrize("make", [case, raster])
@pytest.mark.parametrize("classes", [3, [1, 0, 2]])
@pytest.mark.parametrize("move", [msa.Translate(offset={"x": 6}), msa.Rotate(degrees=20)])
def test_beyond_the_border_probabilities_are_those_of_the_fill(
    make: Any, classes: Any, move: Any
) -> None:
    x, y = make("x"), make("y", seed=1)
    outs = [
        msa.Pipeline([msa.MixUp(classes=classes, p=p), move])(x, seed=1, partners=[y])
        for p in (1, 1e-9)
    ]
    for out in outs:
        corner = out.label[0, 0]
        assert corner == (255 if make is raster else 0)
        expected = [0, 0, 0] if make is raster else np.eye(3)[0 if classes == 3 else 1]
        np.testing.assert_array_equal(out.soft[:, 0, 0], expected)


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
def test_probabilities_add_up_to_one_however_the_image_is_interpolated(interpolation: str) -> None:
    pipeline = msa.Pipeline(
        [msa.MixUp(classes=3), msa.Rotate(degrees=20)], interpolation=interpolation
    )
    out = pipeline(case("x"), seed=1, partners=[case("y", seed=1)])
    np.testing.assert_allclose(out.soft.sum(axis=0), 1, atol=1e-6)
    assert out.soft.min() >= 0


def test_the_layers_of_a_cascade_leave_probabilities_alone() -> None:
    label = np.stack([case("x").label, case("x", seed=5).label])
    chain = [
        msa.MixUp(classes=3),
        msa.PreviousStage(labels=[1, 2], morphology_p=1, removal_p=1, label_p=1, largest=1),
    ]
    partner = case("y", label[::-1], seed=2)
    out = msa.Pipeline(chain)(case("x", label), seed=3, partners=[partner])
    alone = msa.Pipeline(chain[:1])(case("x", label), seed=3, partners=[partner])
    np.testing.assert_array_equal(out.soft, alone.soft)
    np.testing.assert_array_equal(out.label, alone.label[0])
