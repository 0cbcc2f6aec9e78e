"""Chains of pointwise steps: what is folded, where it is read from, and what is known of gaps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numba import config

import medsataug as msa
from medsataug import execute, sweep
from medsataug.followed import CaseStatistics
from medsataug.kernels.pointwise import limit, scale_shift, stretch
from medsataug.sweep import Pass, Work
from medsataug.values import ChannelAffine
from tests import phantoms

AFFINES = [np.array([1.3, -4.0]), np.array([-0.7, 11.0])]
STRETCHES = [np.array([1.6, 20.0, 5.0, 60.0]), np.array([0.5, -3.0, -np.inf, np.inf])]


def applied(passes, x):
    out = x.copy()
    for done in passes:
        for c, params in enumerate(done.params):
            if params is not None:
                done.kernel(out[c], params, 0, np.uint64(0))
    return out


def steps(kernel, choices):
    return [Pass(kernel, p, 0, "valid") for p in itertools.product([None, *choices], repeat=2)]


def test_folded_passes_do_what_they_did():
    x = np.random.default_rng(1).normal(30, 20, (2, 500)).astype(np.float32)
    x[:, 7] = np.nan
    affine, stretched = steps(scale_shift, AFFINES), steps(stretch, STRETCHES)
    for first, second, last in itertools.product(affine, affine[::2], stretched):
        folded = sweep._folded([first, second, last])
        assert len(folded) == 1
        want = applied([first, second, last], x)
        np.testing.assert_allclose(applied(folded, x), want, rtol=2e-6, atol=2e-5)


def test_what_must_not_be_folded_is_not():
    affine, limits = Pass(scale_shift, (AFFINES[0],), 0, "valid"), np.array([0.0, 1.0])
    stretched = Pass(stretch, (STRETCHES[0],), 0, "valid")
    some = Pass(scale_shift, (AFFINES[1],), 0, "nonzero")
    for pair in (
        [stretched, affine],
        [affine, Pass(limit, (limits,), 0, "valid")],
        [affine, some],
        [some, some],
    ):
        assert sweep._folded(pair) == pair


def work_of(image, valid=None, owned=False):
    array, source = execute._working(image, valid, owned=owned, room=None)
    return Work(array, None, np.zeros(len(image), np.float32), None, None, source)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "uint8", "int16", "uint16", "int32", ">f4"]
)
@pytest.mark.parametrize("size", [100, 300])  # a channel ends within a slice, or does not
def test_the_first_pass_reads_the_image(dtype, size, monkeypatch):
    monkeypatch.setattr(sweep, "SLICE", 128)
    image = (np.random.default_rng(1).random((3, size)) * 100).astype(dtype)
    valid = np.random.default_rng(2).random((1, size)) < 0.9
    for mask, passes in itertools.product(
        (None, valid, np.repeat(valid, 3, axis=0)),
        ([], [Pass(scale_shift, (AFFINES[0], None, AFFINES[1]), 0, "valid")]),
    ):
        work = work_of(image, mask)
        sweep._run(work, passes)
        want = image.astype(np.float32)
        if mask is not None:
            want[np.broadcast_to(~mask, want.shape)] = np.nan
        np.testing.assert_array_equal(work.image, applied(passes, want))
        assert work.source is None
        assert work.whole == (mask is None)
        assert not np.shares_memory(work.image, image)


def test_an_image_of_ones_own_is_changed_where_it_is():
    image = np.ones((2, 50), np.float32)
    work = work_of(image, owned=True)
    assert work.image is image
    assert work.source is None


@pytest.mark.skipif(config.DISABLE_JIT, reason="the interpreter warns of 0 times infinity")
def test_nan_that_a_step_makes_is_found():
    image = np.full((1, 2, 3, 4), 1e38, np.float32)
    image[0, 1, 1, 1] = np.inf
    sample = msa.Sample(image=image, axes="CZYX", id="large")
    away = msa.Brightness(offset=-3e38)
    out = msa.Pipeline([msa.IntensityScale(gain=3, offset=0, field=0), away])(sample, seed=1)
    assert out.valid is None or out.valid.all()
    work = work_of(image)
    sweep._run(work, [Pass(scale_shift, (np.array([0.0, 1.0]),), 0, "valid")])  # 0 · Inf
    assert not work.whole


def test_a_chain_is_its_steps_one_by_one():
    sample = phantoms.sample(3, valid=phantoms.holes(3, 3))
    chain = [
        msa.IntensityScale(gain=(0.8, 1.2), offset=3, field=0.3),
        msa.Brightness(offset=(5, 9)),
        msa.Contrast(factor=(1.2, 1.4), scope="output"),
        msa.Gamma(exponent=(0.6, 0.8), scope="output"),
        msa.GaussianNoise(std=(1, 2)),
    ]
    out, one = msa.Pipeline(chain)(sample, seed=4), sample
    for transform in chain:
        one = msa.Pipeline([transform])(one, seed=4)
    np.testing.assert_allclose(out.image, one.image, rtol=1e-5, atol=1e-3)


def test_channels_that_are_only_kept_or_constant_are_the_same_as_mixed():
    """Copies stand in for the matrix where they can, and no NaN comes from what has no weight."""
    image = np.random.default_rng(0).normal(size=(3, 5, 70)).astype(np.float32)
    image[1, 2, 3:9] = np.nan
    matrix = np.array([[1, 0, 0], [0, 0, 2], [0, 0, 0], [0.5, -1, 0], [0, 0, 1], [0, 1, 0]])
    bias = np.array([0, 0, 7, 0, 1, 0])
    work = Work(image, None, np.array([1, np.nan, 3], np.float32), None, None)
    work.statistics = CaseStatistics(None)
    sweep.sweep(work, [ChannelAffine(matrix, bias, tuple("abcdef"))])
    for a, row in enumerate(matrix):
        used = np.flatnonzero(row)
        want = bias[a] + sum((row[c] * image[c].astype(float) for c in used), np.zeros((5, 70)))
        np.testing.assert_array_equal(work.image[a], want.astype(np.float32))
    np.testing.assert_array_equal(work.fills, np.float32([1, 6, 7, np.nan, 4, np.nan]))
