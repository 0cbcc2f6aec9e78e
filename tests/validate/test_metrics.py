"""Scores by hand, by brute force, and of masks that are not there."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("monai", reason="MONAI is not installed (medsataug[validate])")

from medsataug.validate.metrics import Calibration, calibration, score

CLASSES = {"a": 1, "b": 2, "both": [1, 2]}


def box(*slices: slice, shape: tuple[int, ...] = (12, 20, 16), value: int = 1) -> np.ndarray:
    made = np.zeros(shape, np.uint8)
    made[slices] = value
    return made


def test_by_hand() -> None:
    truth = box(slice(2, 10), slice(4, 12), slice(4, 12))
    found = box(slice(2, 10), slice(4, 12), slice(6, 14))
    got = score(truth, found, {"a": 1}, (1, 1, 1), 1.0)["a"]
    assert got["dice"] == pytest.approx(2 * 384 / 1024)
    assert got["precision"] == got["recall"] == 384 / 512
    assert got["hd95"] == pytest.approx(2)
    wide = score(truth, found, {"a": 1}, (1, 1, 3), 1.0)["a"]
    assert wide["hd95"] == pytest.approx(6)
    assert 0 < got["nsd"] < 1
    assert score(truth, found, {"a": 1}, (1, 1, 1), 2.0)["a"]["nsd"] == pytest.approx(1)


def test_hd95_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    truth, found = (rng.random((2, 14, 18)) > 0.6).astype(np.uint8)
    spacing = np.array([1.5, 0.7])

    def edge(mask: np.ndarray) -> np.ndarray:
        inner = np.pad(mask, 1)
        eroded = inner[1:-1, 1:-1].copy()
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            eroded &= inner[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
        return np.argwhere(mask & ~eroded.astype(bool)) * spacing

    a, b = edge(truth.astype(bool)), edge(found.astype(bool))
    away = np.linalg.norm(a[:, None] - b[None], axis=-1)
    expected = max(np.percentile(away.min(0), 95), np.percentile(away.min(1), 95))
    got = score(truth, found, {"a": 1}, spacing, 1.0)["a"]
    assert got["hd95"] == pytest.approx(expected, abs=1e-5)


def test_equal_masks_are_perfect_and_regions_are_unions() -> None:
    truth = box(slice(2, 6), slice(4, 12), slice(4, 12)) + box(
        slice(6, 10), slice(4, 12), slice(4, 12), value=2
    )
    swapped = np.where(truth == 1, 2, np.where(truth == 2, 1, 0))
    got = score(truth, truth, CLASSES, (1, 1, 1), 1.0)
    assert all(
        (s["dice"], s["nsd"], s["hd95"], s["precision"], s["recall"]) == (1, 1, 0, 1, 1)
        for s in got.values()
    )
    got = score(truth, swapped, CLASSES, (1, 1, 1), 1.0)
    assert (got["a"]["dice"], got["both"]["dice"]) == (0, 1)


def test_empty_masks() -> None:
    some, none = box(slice(2, 6), slice(4, 12), slice(4, 12)), np.zeros((12, 20, 16), np.uint8)
    nothing = score(none, none, {"a": 1}, (1, 1, 1), 1.0)["a"]
    assert (nothing["dice"], nothing["nsd"], nothing["hd95"]) == (1, 1, 0)
    assert math.isnan(nothing["precision"])
    assert math.isnan(nothing["recall"])
    missed = score(some, none, {"a": 1}, (3, 1, 1), 1.0)["a"]
    assert (missed["dice"], missed["nsd"], missed["recall"]) == (0, 0, 0)
    assert math.isnan(missed["precision"])
    assert missed["hd95"] == pytest.approx(math.hypot(36, 20, 16))
    invented = score(none, some, {"a": 1}, (3, 1, 1), 1.0)["a"]
    assert (invented["dice"], invented["precision"]) == (0, 0)
    assert math.isnan(invented["recall"])


def test_ignored_voxels_count_nowhere() -> None:
    truth = box(slice(2, 10), slice(4, 12), slice(4, 12))
    found = box(slice(2, 10), slice(4, 12), slice(4, 16))
    truth[:, :, 12:] = 255
    assert score(truth, found, {"a": 1}, (1, 1, 1), 1.0, ignore=[255])["a"]["dice"] == 1
    p = np.stack([found == 0, found == 1]).astype(np.float32)
    assert calibration(truth, p, [0, 1], ignore=[255]).error == 0


def test_calibration_of_a_network_that_knows_itself() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, (40, 40, 40)).astype(np.float32)
    truth = (rng.random(sure.shape) < sure).astype(np.uint8)  # right as often as it says
    parts = [calibration(truth[k], np.stack([1 - sure, sure])[:, k], [0, 1]) for k in range(40)]
    total = sum(parts[1:], parts[0])
    assert isinstance(total, Calibration)
    assert total.count.sum() == sure.size
    assert total.error < 4 * math.sqrt(0.25 / sure.size * 8)
    overconfident = calibration(truth, np.stack([1 - sure**0.2, sure**0.2]), [0, 1])
    by_hand = float((sure**0.2).mean() - truth.mean())
    assert overconfident.error == pytest.approx(by_hand, abs=1e-5)


def test_calibration_looks_near_the_foreground() -> None:
    truth = box(slice(5, 6), slice(10, 11), slice(8, 9))
    p = np.stack([truth == 0, truth == 1]).astype(np.float32)
    assert 1 < calibration(truth, p, [0, 1]).count.sum() < 100
    assert math.isnan(calibration(truth * 0, np.stack([p[0] * 0 + 1, p[1] * 0]), [0, 1]).error)
