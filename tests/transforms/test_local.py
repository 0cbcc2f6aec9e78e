"""Steps that act in one place, against their formulas and, where installed, against nnU-Net's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import medsataug as msa
from tests.harness import small_blocks

SHAPE = (9, 14, 17)


def case(ndim=3, channels=2):
    image = np.random.default_rng(0).normal(100, 20, (channels, *SHAPE[-ndim:])).astype(np.float32)
    return msa.Sample(image=image, axes="C" + "ZYX"[-ndim:], spacing=(1,) * ndim, id="a")


def window(params, shape):
    """Gaussian of the drawn numbers, by densities integrated over voxels."""
    ndim = len(shape)
    lines = [
        np.diff(norm.cdf(np.arange(-0.5, n + 0.5), loc=c, scale=w))
        for n, c, w in zip(shape, params[6 - ndim : 6], params[9 - ndim : 9], strict=True)
    ]
    whole = lines[0]
    for line in lines[1:]:
        whole = whole[..., None] * line
    whole = whole - whole.min()
    return whole / max(whole.max(), 1e-8)


def planned(transform, given, index=0):
    plan = msa.Pipeline([transform]).plan(given, seed=5, index=index)
    return plan, plan.segments[0].steps[0].params


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("index", range(4))
def test_gradient(ndim, centred, index):
    given = case(ndim)
    made = msa.BrightnessGradient(strength=(20, 30), mean_centered=centred, per_channel=True)
    plan, params = planned(made, given, index)
    change = plan(given).image - given.image
    for c, p in enumerate(params):
        want = window(p, SHAPE[-ndim:])
        if centred:
            want = want - want.mean()
            want = want / np.abs(want).max()
            assert abs(change[c].mean()) < 1e-4
        np.testing.assert_allclose(change[c], p[11] * want, atol=2e-3)
        assert 20 <= np.abs(change[c]).max() <= 30.01
    assert not np.array_equal(params[0], params[1])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("exponent", [0.4, 3])
def test_gamma(ndim, exponent):
    given = case(ndim)
    plan, params = planned(msa.LocalGamma(exponent=exponent, scope="output"), given)
    got = plan(given).image
    for c, p in enumerate(params):
        x, share = given.image[c].astype(np.float64), window(p, SHAPE[-ndim:])
        t = (x - x.min()) / np.ptp(x)
        want = x.min() + np.ptp(x) * ((1 - share) * t + share * t**exponent)
        np.testing.assert_allclose(got[c], want, atol=2e-4 * np.ptp(x))


def test_both_signs_and_all_places_are_drawn():
    given = case(2)
    made = [planned(msa.BrightnessGradient(strength=10), given, i)[1][0] for i in range(400)]
    signs = np.array([p[11] > 0 for p in made])
    assert abs(signs.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(made))
    centres = np.array([p[4] for p in made]) / SHAPE[1]
    assert centres.min() < -0.4
    assert centres.max() > 1.4


def test_boxes_show_their_mean_and_nothing_else_changes():
    given = case(3, channels=3)
    plan, params = planned(msa.BlankRectangle(count=1, size=(0.2, 0.5), per_channel=True), given)
    got = plan(given).image
    for c, p in enumerate(params):
        box = tuple(slice(int(a), int(b)) for a, b in zip(p[:3], p[3:], strict=True))
        np.testing.assert_allclose(got[c][box], given.image[c][box].mean(dtype=np.float64), 1e-5)
        outside = np.ones(SHAPE, bool)
        outside[box] = False
        np.testing.assert_array_equal(got[c][outside], given.image[c][outside])
        sides = [s.stop - s.start for s in box]
        assert all(round(0.2 * n) <= m <= round(0.5 * n) for n, m in zip(SHAPE, sides, strict=True))


def test_how_many_boxes():
    given = case(2, channels=1)
    made = [planned(msa.BlankRectangle(count=(1, 4)), given, i)[1][0] for i in range(400)]
    counts = np.bincount([len(p) // 6 for p in made], minlength=5)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 100) < 4 * np.sqrt(75))


def test_no_data_counts_nowhere_and_stays():
    given = case(2, channels=1)
    valid = np.ones((1, *SHAPE[1:]), bool)
    valid[0, 3:8, 4:9] = False
    image = given.image.copy()
    image[~valid] = 1e6
    whole = given.replace(image=image, valid=valid)
    plan, _ = planned(msa.BlankRectangle(count=1, size=1), whole)
    got = plan(whole).image
    np.testing.assert_allclose(got[valid], image[valid].mean(dtype=np.float64), 1e-5)
    assert np.all(got[~valid] == 1e6)


@pytest.mark.parametrize("kind", [msa.BrightnessGradient, msa.LocalGamma])
def test_rows_cut_anywhere_are_the_same(kind):
    given = case(3)
    made = msa.Pipeline([kind(**kind.cases.full)])
    expected = made(given, seed=3).image
    with small_blocks(2):
        np.testing.assert_array_equal(made(given, seed=3).image, expected)


def test_each_channel_has_its_own_luck():
    given = case(2, channels=1)
    made = msa.Pipeline([msa.LocalGamma(exponent=2, channel_p=0.5)])
    hits = sum(bool(made.plan(given, 1, i).segments) for i in range(400))
    assert abs(hits - 200) < 40


def test_the_peers_formulas():
    pytest.importorskip("batchgeneratorsv2", reason="batchgeneratorsv2 is not installed")
    import torch
    from batchgeneratorsv2.transforms.local import brightness_gradient, local_gamma

    given = case(3)
    for made, peer, extra in (
        (
            msa.BrightnessGradient(strength=25),
            brightness_gradient.BrightnessGradientAdditiveTransform(1, max_strength=25),
            lambda p: {"kernels": [window(q, SHAPE) * q[11] for q in p]},
        ),
        (
            msa.LocalGamma(exponent=2.5, scope="output"),
            local_gamma.LocalGammaTransform(1),
            lambda p: {"kernels": [window(q, SHAPE) for q in p], "gammas": [2.5] * len(p)},
        ),
    ):
        plan, params = planned(made, given)
        got = plan(given).image
        tensor = torch.from_numpy(given.image.copy())
        want = peer._apply_to_image(tensor, **extra(params)).numpy()
        assert np.abs(got - want).max() < 1e-4 * np.ptp(want)
