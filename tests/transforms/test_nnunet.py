"""nnU-Net's recipe: geometry by mode, order, mask; and parity with batchgeneratorsv2."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys

import numpy as np
import pytest

import medsataug as msa
from medsataug.maps import Affine, Displacement
from tests import harness, phantoms

ALWAYS = {"rotation_p": 1, "scaling_p": 1}


def zeros(*shape):
    axes = "C" + "ZYX"[-len(shape) :]
    return msa.Sample(image=np.zeros((1, *shape), np.float32), axes=axes, id="z")


def linear(transform, *shape):
    """Linear part of the map that is drawn."""
    (step,) = harness.steps_of(transform, zeros(*shape))
    return step.matrix[: len(shape), : len(shape)]


# ------------------------------------------------------------------ spatial


def test_matrix_is_turn_times_scale_about_the_centre():
    """Output → input = Rx' · Ry' · Rz' · S in array order, for one-sided numbers."""
    shape = (20, 33, 27)
    given = msa.NnunetSpatial(degrees={"z": 20, "y": -10, "x": 35}, factor=1.3, **ALWAYS)
    (step,) = harness.steps_of(given, zeros(*shape))
    (sz, cz), (sy, cy), (sx, cx) = (
        (math.sin(math.radians(a)), math.cos(math.radians(a))) for a in (20, -10, 35)
    )
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    wanted = about_x @ about_y @ about_z * 1.3
    np.testing.assert_allclose(step.matrix[:3, :3], wanted, atol=1e-12)
    centre = (np.array([shape]) - 1) / 2
    np.testing.assert_allclose(step(centre), centre, atol=1e-9)
    assert [type(p) for p in step.parts] == [Affine]


@pytest.mark.parametrize(
    ("shape", "most"),
    [((60, 60, 60), 30), ((20, 60, 50), 30), ((19, 60, 50), 180), ((60, 60), 180), ((60, 40), 180),
     ((61, 40), 15)],
)  # fmt: skip
def test_the_frame_decides_how_far_it_turns(shape, most):
    """Thin volumes (longest side > 3 × first) turn in plane; oblong images by 15 degrees."""
    turns, mixes = [], []
    for i in range(200):
        only = msa.NnunetSpatial(rotation_p=1, scaling_p=0, key=str(i))
        plan = msa.Pipeline([only]).plan(zeros(*shape), seed=1)
        m = plan.segments[0].spatial.matrix
        n = len(shape)
        turns.append(abs(math.degrees(math.atan2(m[n - 1, n - 2], m[n - 2, n - 2]))))
        mixes.append(np.abs(m[0, 1:3]).max() if n == 3 else 0)
    planar = len(shape) == 2 or most == 180
    assert 0.85 * most < max(turns) <= most * (1 if planar else 1.4)
    assert (max(mixes) == 0) == planar


@pytest.mark.parametrize("shape", [(30, 30, 30), (30, 30)])
def test_each_axis_has_its_own_luck(shape):
    turned = []
    for i in range(300):
        only = msa.NnunetSpatial(degrees=10, rotation_p=1, scaling_p=0, axis_p=0.5, key=str(i))
        turned.append(len(msa.Pipeline([only]).plan(zeros(*shape), seed=1).segments))
    p = 1 - 0.5 ** (3 if len(shape) == 3 else 1)
    assert abs(sum(turned) - 300 * p) < 4 * math.sqrt(300 * p * (1 - p))


def test_a_thin_volume_keeps_its_slices():
    given = msa.NnunetSpatial(degrees=40, factor=1.3, elastic_p=1, elastic_scale=0.2, **ALWAYS)
    shape = (6, 40, 30)
    (step,) = harness.steps_of(given, zeros(*shape))
    index = phantoms.index(shape)
    at = step(index)
    np.testing.assert_allclose(at[:, 0], index[:, 0], atol=1e-6)
    moved = at.reshape(*shape, 3)[..., 1:]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1], moved.shape), atol=1e-4)
    free = msa.NnunetSpatial(degrees=40, in_plane=False, rotation_p=1, scaling_p=0)
    assert abs(linear(free, *shape)[0, 1]) > 0.1


def test_corners_are_filled_from_around_the_patch():
    """After a patch it turns about the patch's centre, and shows what lies beyond."""
    ones = msa.Sample(image=np.ones((1, 90, 90), np.float32), axes="CYX", id="ones")
    turned = msa.NnunetSpatial(degrees=45, factor=1, rotation_p=1)
    crop = msa.Crop(size=40, start=(20, 30))
    np.testing.assert_allclose(msa.Pipeline([crop, turned])(ones, seed=1).image, 1, rtol=1e-6)
    plan = msa.Pipeline([crop, turned]).plan(ones, seed=1)
    assert len(plan.segments) == 1  # one resampling
    np.testing.assert_allclose(plan.source_positions(np.array([[19.5, 19.5]])), [[39.5, 49.5]])
    bare = msa.Pipeline([crop, msa.Barrier(), turned])(ones, seed=1).image
    assert bare.min() == 0


@pytest.mark.parametrize(("shape", "magnitude"), [((30, 44, 36), "25%"), ((60, 40), 3)])
def test_elastic_field_has_its_magnitude_and_smoothness(shape, magnitude):
    sigma = 0.15 * np.array(shape)
    want = 0.25 * sigma if magnitude == "25%" else np.full(len(shape), 3.0)
    lag = [round(s) for s in sigma]
    peaks, like = [], []
    for i in range(12):
        only = msa.NnunetSpatial(
            elastic_p=1, elastic_scale=0.15, elastic_magnitude=magnitude, rotation_p=0,
            scaling_p=0, key=str(i),
        )  # fmt: skip
        (part,) = msa.Pipeline([only]).plan(zeros(*shape), seed=2).segments[0].spatial.parts
        assert isinstance(part, Displacement)
        index = phantoms.index(shape)
        field = (part(index) - index).T.reshape(-1, *shape)
        means = field.reshape(len(shape), -1).mean(axis=1)
        np.testing.assert_allclose(means / want, 0, atol=0.05)
        peaks.append(np.ptp(field.reshape(len(shape), -1), axis=1) / 2 / want)
        like.append((field[:, : -lag[0]] * field[:, lag[0] :]).mean() / (field**2).mean())
    # Half the range is the peak, but for the mean that is taken off.
    assert 0.7 < np.mean(peaks) < 1.02
    # Noise smoothed by σ is like itself by exp(−d² / 4σ²); a small frame, less its mean, by less.
    assert abs(np.mean(like) - math.exp(-0.25)) < 0.1


# ------------------------------------------------------------------ the mask


def test_outside_becomes_zero_in_listed_channels_and_background_in_the_label():
    label = phantoms.label(3).astype(np.int16)
    label[:4] = -1
    sample = phantoms.sample(3, label=label)
    out = msa.ZeroOutside(channels=("flair", 2))(sample, seed=1)
    np.testing.assert_array_equal(out.image[[0, 2], :4], 0)
    np.testing.assert_array_equal(out.image[:, 4:], sample.image[:, 4:])
    np.testing.assert_array_equal(out.image[1], sample.image[1])
    np.testing.assert_array_equal(out.label, np.where(label == -1, 0, label))
    assert out.label.dtype == np.int16
    alone = sample.replace(label=None)
    np.testing.assert_array_equal(msa.ZeroOutside()(alone, seed=1).image, alone.image)


# ------------------------------------------------------------------ the recipe


def test_low_resolution_of_thin_volumes_keeps_slices():
    coarse = msa.LowResolution(scale=0.5, in_plane="auto")
    for shape, sizes in (((6, 40, 30), (6, 20, 15)), ((14, 40, 30), (7, 20, 15))):
        (step,) = harness.steps_of(coarse, zeros(*shape))
        assert step.params[0][:3] == sizes


@pytest.mark.parametrize(("name", "ndim"), [("nnunet", 3), ("nnunet-elastic", 3), ("nnunet-2d", 2)])
def test_recipe_has_the_steps_of_nnunet_in_order(name, ndim):
    """Chances and order; mirroring stands earlier, normalisation after the map."""
    pipeline = msa.Pipeline.load(name)
    listed = [(type(t).__name__, t.p) for t in pipeline.transforms]
    assert listed == [
        ("Patch", 1), ("NnunetSpatial", 1), ("Flip", 0.5), ("Normalize", 1),
        ("GaussianNoise", 0.1), ("GaussianBlur", 0.2), ("IntensityScale", 0.15),
        ("Contrast", 0.15), ("LowResolution", 0.25), ("Gamma", 0.1), ("Gamma", 0.3),
    ]  # fmt: skip
    own = {type(t).__name__ for t in pipeline.transforms if getattr(t, "per_channel", False)}
    assert own == {"GaussianBlur", "IntensityScale", "Contrast", "LowResolution", "Gamma"}
    assert not pipeline.antialias
    assert len(pipeline.transforms[2].axes) == ndim


@pytest.mark.parametrize("size", [16, (4, 16, 14)])
def test_recipe_acts_on_volumes_and_thin_ones(size):
    """One resampling, and at full chance a patch that is finite and about as wide as its case."""
    sample = phantoms.sample(3)
    base = msa.Pipeline.load("nnunet")
    given = [msa.Patch(size=size, foreground=1)]
    for t in base.transforms[1:]:
        chances = [n for n in type(t).model_fields if n == "p" or n.endswith("_p")]
        fields = {n: getattr(t, n) for n in t.model_fields_set}
        given.append(type(t)(**fields | dict.fromkeys(chances, 1)))
    plan = base.changed(transforms=given).plan(sample, seed=3)
    assert sum(s.spatial is not None for s in plan.segments) == 1
    out = plan(sample)
    assert out.image.dtype == np.float32
    assert np.isfinite(out.image).all()
    assert 0.05 < out.image.std() < 3
    harness.assert_same(type(plan).from_json(plan.to_json())(sample), out)


def test_recipe_runs_from_the_command_line(samples, tmp_path):
    command = [sys.executable, "-m", "medsataug", "augment", str(samples / "mri" / "flair.nii.gz"),
               "--label", str(samples / "mri" / "seg.nii.gz"), "--recipe", "nnunet", "--count", "1",
               "--seed", "1", "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = msa.load(tmp_path / "out" / "copy_0000" / "flair.nii.gz")
    assert written.image.shape == (1, 128, 128, 128)


@pytest.mark.parametrize(
    ("file", "check"),
    [("parity", c) for c in ("spatial_rows", "value_rows", "range_rows", "chance_rows")]
    + [("parity_da5", c) for c in ("local_rows", "noise_rows", "exact_rows", "cascade_rows",
                                   "range_rows", "chance_rows")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # of the peer's own imports
def test_parity_with_batchgeneratorsv2(file, check):
    pytest.importorskip("batchgeneratorsv2")
    rows = list(getattr(importlib.import_module(f"tests.benchmarks.{file}"), check)())
    assert rows
    assert [row for row in rows if not row.passed] == []
