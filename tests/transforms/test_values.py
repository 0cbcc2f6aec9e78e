"""Brightness, contrast, gamma, clipping, normalisation and intensity scale by their formulas."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.kernels.pointwise import NOWHERE
from medsataug.transforms import gamma, intensity_scale
from tests import phantoms


def apply(transform, sample=None, **settings):
    sample = phantoms.sample(3) if sample is None else sample
    return msa.Pipeline([transform] if isinstance(transform, msa.transforms.base.Transform)
                        else transform, **settings)(sample, seed=1).image  # fmt: skip


def per_channel(values, function):
    return np.stack([function(c.astype(np.float64)) for c in values])


IMAGE = phantoms.image(3)


def test_brightness():
    np.testing.assert_allclose(apply(msa.Brightness(offset=5)), IMAGE + 5, rtol=1e-6)
    expected = per_channel(IMAGE, lambda c: c + 0.1 * c.std())
    np.testing.assert_allclose(apply(msa.Brightness(offset="10%")), expected, rtol=1e-5)
    expected = per_channel(IMAGE, lambda c: np.where(c != 0, c - 0.2 * c[c != 0].std(), c))
    got = apply(msa.Brightness(offset="-20%", where="nonzero"))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    scene = phantoms.sample(2)  # reflectance = .01 stored − .1
    got = apply(msa.Brightness(offset="0.02rho"), scene)
    np.testing.assert_allclose(got, scene.image + 2, rtol=1e-6)
    with pytest.raises(msa.ConfigError, match="reflectance"):
        apply(msa.Brightness(offset="0.02rho"))


def test_brightness_of_integers_rounds_and_saturates():
    sample = phantoms.sample(3, "uint8")
    got = apply(msa.Brightness(offset=100.4), sample)
    expected = np.clip(sample.image.astype(int) + 100, 0, 255)
    np.testing.assert_array_equal(got, expected)
    got = apply(msa.Brightness(offset=-100.4), sample)
    np.testing.assert_array_equal(got, np.clip(sample.image.astype(int) - 100, 0, 255))
    got = apply(msa.Brightness(offset=0.5), sample)  # halves go to the even
    np.testing.assert_array_equal(got, np.rint(sample.image + 0.5))


def test_statistics_are_of_valid_voxels():
    valid = phantoms.holes(3, 3)
    values = IMAGE.copy()
    values[~valid] = 1e6
    got = apply(msa.Brightness(offset="10%"), phantoms.sample(3, image=values, valid=valid))
    for c in range(3):
        seen = valid[c]
        expected = values[c] + 0.1 * values[c][seen].astype(float).std()
        np.testing.assert_allclose(got[c][seen], expected[seen], rtol=1e-5)


def test_contrast():
    stretched = per_channel(IMAGE, lambda c: (c - c.mean()) * 1.6 + c.mean())
    np.testing.assert_allclose(
        apply(msa.Contrast(factor=1.6, keep_range=False)), stretched, rtol=1e-5, atol=1e-4
    )
    kept = np.stack([np.clip(s, c.min(), c.max()) for s, c in zip(stretched, IMAGE, strict=True)])
    np.testing.assert_allclose(apply(msa.Contrast(factor=1.6)), kept, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("exponent", [0.6, 1.8])
def test_gamma(exponent):
    def curve(c):
        low, high = c.min(), c.max()
        return low + (high - low) * ((c - low) / (high - low)) ** exponent

    np.testing.assert_allclose(
        apply(msa.Gamma(exponent=exponent)), per_channel(IMAGE, curve), rtol=1e-4, atol=1e-4
    )
    negative = per_channel(-IMAGE, curve)
    np.testing.assert_allclose(
        apply(msa.Gamma(exponent=exponent, invert=True)), -negative, rtol=1e-4, atol=1e-4
    )
    flat = phantoms.sample(3, image=np.full_like(IMAGE, 7))
    np.testing.assert_array_equal(apply(msa.Gamma(exponent=exponent), flat), 7)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("where", ["valid", "nonzero"])
def test_gamma_keeps_statistics(invert, where):
    """Mean and deviation of the array as it is, whatever stands before, and NaN stays."""
    image = IMAGE.copy()
    image[:, 2, 3] = np.nan
    sample = phantoms.sample(3, image=image)
    bent = msa.Gamma(
        exponent=1.5, invert=invert, keep_stats=True, scope="output", where=where, channels=(0, 2)
    )
    lifted = msa.Brightness(offset=30, where="nonzero")
    got = apply([lifted, bent], sample)
    for c in range(3):
        before = np.where(image[c] != 0, image[c] + 30, image[c]).astype(np.float64)
        keep = ~np.isnan(before) if where == "valid" else ~np.isnan(before) & (before != 0)
        np.testing.assert_array_equal(np.isnan(got[c]), np.isnan(before))
        x, sign = before[keep], -1 if invert else 1
        low, high = (sign * x).min(), (sign * x).max()
        curve = sign * (low + (high - low) * ((sign * x - low) / (high - low)) ** 1.5)
        expected = (curve - curve.mean()) / curve.std() * x.std() + x.mean()
        expected = x if c == 1 else expected
        np.testing.assert_allclose(got[c][keep], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(got[c][~keep], before[~keep])


def test_gamma_keeps_statistics_of_the_case_and_of_flat_channels():
    kept = msa.Gamma(exponent=1.5, keep_stats=True)
    got = apply(kept)
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), IMAGE.mean(axis=(1, 2, 3)), rtol=0.01)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), IMAGE.std(axis=(1, 2, 3)), rtol=0.01)
    flat = phantoms.sample(3, image=np.full_like(IMAGE, 7))
    for scope in ("case", "output"):
        flatly = msa.Gamma(exponent=1.5, keep_stats=True, scope=scope)
        np.testing.assert_array_equal(apply(flatly, flat), 7)


def test_clip():
    np.testing.assert_array_equal(apply(msa.Clip(low=10, high=40)), np.clip(IMAGE, 10, 40))
    np.testing.assert_array_equal(apply(msa.Clip(low=10)), np.maximum(IMAGE, 10))
    expected = per_channel(IMAGE, lambda c: np.clip(c, *np.percentile(c, (20, 80))))
    got = apply(msa.Clip(percentiles=(20, 80)))
    np.testing.assert_allclose(got, expected, atol=0.002 * np.ptp(IMAGE))
    for wrong in ({"low": 3, "high": 1}, {"percentiles": (80, 20)}):
        with pytest.raises(msa.ConfigError, match="Clip"):
            apply(msa.Clip(**wrong))


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16"])
def test_normalize(dtype):
    sample = phantoms.sample(3, dtype)
    got = apply(msa.Normalize(), sample)
    assert got.dtype == np.float32
    expected = per_channel(sample.image, lambda c: (c - c.mean()) / c.std())
    np.testing.assert_allclose(got, expected, atol=2e-5)
    expected = per_channel(sample.image, lambda c: (c - c.min()) / np.ptp(c))
    np.testing.assert_allclose(apply(msa.Normalize(method="minmax"), sample), expected, atol=1e-5)

    def between(c):
        low, high = np.percentile(c, (2, 90))
        return np.clip((c - low) / (high - low), 0, 1)

    got = apply(msa.Normalize(method="percentile", percentiles=(2, 90)), sample)
    np.testing.assert_allclose(got, per_channel(sample.image, between), atol=5e-3)


def test_normalize_where_and_constant_channels():
    got = apply(msa.Normalize(where="nonzero"))
    expected = per_channel(
        IMAGE, lambda c: np.where(c != 0, (c - c[c != 0].mean()) / c[c != 0].std(), 0)
    )
    np.testing.assert_allclose(got, expected, atol=2e-5)
    flat = phantoms.sample(3, image=np.full_like(IMAGE, 7))
    for method in ("zscore", "minmax", "percentile"):
        np.testing.assert_array_equal(apply(msa.Normalize(method=method), flat), 0)
    with pytest.raises(msa.ConfigError, match="percentiles"):
        apply(msa.Normalize(percentiles=(90, 2)))


def test_case_statistics_follow_earlier_steps():
    """Statistics are of the case as it is when the step comes, not as it was stored."""
    expected = per_channel(IMAGE, lambda c: (c - c.mean()) / c.std())
    got = apply(
        [msa.Brightness(offset=30), msa.Contrast(factor=2, keep_range=False), msa.Normalize()]
    )
    np.testing.assert_allclose(got, expected, atol=1e-3)
    got = apply([msa.Gamma(exponent=1.7), msa.Normalize(method="minmax")])
    np.testing.assert_allclose(got.min(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(got.max(axis=(1, 2, 3)), 1, atol=1e-6)
    got = apply([msa.Gamma(exponent=1.7), msa.Normalize()])
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), 0, atol=0.02)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), 1, atol=0.02)
    got = apply([msa.Brightness(offset=9, channels=(1,)), msa.Brightness(offset="10%")])
    base = IMAGE + np.array([0, 9, 0], np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(got, per_channel(base, lambda c: c + 0.1 * c.std()), rtol=1e-5)


def test_case_statistics_follow_steps_of_some_voxels():
    """A step of the nonzero voxels leaves the background, and the least value, where it is."""
    zero = IMAGE == 0
    assert zero.any(axis=(1, 2, 3)).all()
    lifted = msa.Brightness(offset=300, where="nonzero")
    got = apply([lifted, msa.Gamma(exponent=2)])
    np.testing.assert_array_equal(got[zero], 0)
    np.testing.assert_allclose(got.max(axis=(1, 2, 3)), IMAGE.max(axis=(1, 2, 3)) + 300, rtol=1e-5)
    got = apply([lifted, msa.Normalize()])
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), 0, atol=0.02)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), 1, atol=0.02)
    one = phantoms.label(3) == 4
    got = apply([msa.Brightness(offset=300, where=(4,)), msa.Normalize(where=(4,))])
    np.testing.assert_allclose(got[:, one].mean(axis=1), 0, atol=1e-4)


def test_a_patch_is_normalised_like_its_case():
    sample = phantoms.sample(3)
    crop = msa.Crop(size=(5, 6, 4), start=(3, 4, 5))
    part = (slice(None), slice(3, 8), slice(4, 10), slice(5, 9))
    whole = apply(msa.Normalize(), sample)
    np.testing.assert_allclose(apply([crop, msa.Normalize()], sample), whole[part], atol=1e-6)
    own = apply([crop, msa.Normalize(scope="output")], sample)
    np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(own.std(axis=(1, 2, 3)), 1, atol=1e-5)
    # After other steps too.
    chain = [crop, msa.Contrast(factor=0.5), msa.Gamma(exponent=2, scope="output")]
    got = apply(chain, sample)
    before = apply(chain[:2], sample)
    np.testing.assert_allclose(got.min(axis=(1, 2, 3)), before.min(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(got.max(axis=(1, 2, 3)), before.max(axis=(1, 2, 3)), rtol=1e-5)


def test_per_channel_draws():
    one = apply(msa.Brightness(offset=(1, 9))) - IMAGE
    means = one.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, means[0], rtol=1e-4)
    own = (apply(msa.Brightness(offset=(1, 9), per_channel=True)) - IMAGE).mean(axis=(1, 2, 3))
    assert np.unique(own.round(2)).size == 3


# ------------------------------------------------------------------ intensity scale


def test_intensity_scale_without_field_is_affine():
    got = apply(msa.IntensityScale(gain=1.2, offset=3, field=0))
    np.testing.assert_allclose(got, IMAGE * 1.2 + 3, rtol=1e-6)
    got = apply(msa.IntensityScale(gain=0.8, offset="10%", field=0))
    expected = per_channel(IMAGE, lambda c: 0.8 * c + 0.1 * c.std())
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_field_is_bounded_smooth_and_reaches_its_strength(ndim, strength):
    shape = (21, 30, 26)[-ndim:]
    ones = msa.Sample(image=np.ones((1, *shape), np.float32), axes="CZYX"[:1] + "ZYX"[-ndim:])
    transform = msa.IntensityScale(gain=1, offset=0, field=strength)
    peaks = []
    for seed in range(20):
        log = np.log(transform(ones, seed=seed).image[0].astype(float)) / np.log1p(strength)
        peaks.append(np.abs(log).max())
        for k in range(ndim):  # a polynomial of degree 3: its fourth differences vanish
            np.testing.assert_allclose(np.diff(log, 4, axis=k), 0, atol=2e-5)
    assert max(peaks) < 1.03  # the peak is looked for at 9 points an axis
    assert min(peaks) > 0.9


def test_fields_differ_where_channels_draw_their_own():
    ones = phantoms.sample(3, image=np.ones_like(IMAGE))
    field = {"gain": 1, "offset": 0, "field": 0.3}
    same = apply(msa.IntensityScale(**field), ones)
    np.testing.assert_array_equal(same[0], same[2])
    own = apply(msa.IntensityScale(**field, per_channel=True), ones)
    assert np.abs(own[0] - own[2]).max() > 0.01


SHAPE = (5, 7, 9)


def shaded(x, coefficients, first=0, shape=SHAPE):
    out = x.copy()
    p = np.array([*(1,) * (3 - len(shape)), *shape, *coefficients], dtype=np.float64)
    intensity_scale.shade(out, p, first, np.uint64(0))
    return out


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:], (6, 1, 40), (1, 30)])
def test_shading_is_its_polynomial(shape):
    powers = intensity_scale.exponents(len(shape))
    coefficients = np.random.default_rng(3).normal(0, 0.4, len(powers))
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    grids = np.meshgrid(*axes, indexing="ij")
    log = sum(
        c * np.prod([g**e for g, e in zip(grids, power, strict=True)], axis=0)
        for c, power in zip(coefficients, powers, strict=True)
    )
    x = np.random.default_rng(1).normal(5, 3, log.size).astype(np.float32)
    got = shaded(x, coefficients, shape=shape)
    np.testing.assert_allclose(got, x * np.exp(log).ravel(), rtol=2e-6)
    # The next channel has the same field; what has no place, none.
    np.testing.assert_array_equal(shaded(x, coefficients, 3 * x.size, shape), got)
    np.testing.assert_array_equal(shaded(x, coefficients, NOWHERE, shape), x)


def test_shading_is_the_same_however_it_is_split():
    coefficients = np.random.default_rng(3).normal(0, 0.2, 19)
    x = np.random.default_rng(1).normal(5, 3, 2 * 315).astype(np.float32)
    x[::50] = np.nan
    whole = shaded(x, coefficients)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(x))
    for cut in (1, 8, 9, 100, 314, 316):
        parts = [shaded(x[:cut], coefficients), shaded(x[cut:], coefficients, cut)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_gamma_keeps_ends_nan_and_inf_and_is_odd_about_the_lower_end():
    x = np.array([2, 7, np.nan, np.inf, -np.inf, 3, 1, 12, -3], np.float32)
    out = x.copy()
    gamma.kernel(out, np.array([1.4, 2.0, 7.0]), 0, np.uint64(0))
    np.testing.assert_array_equal(out[:5], x[:5])
    t = (x[5:].astype(np.float64) - 2) / 5
    np.testing.assert_allclose(out[5:], 2 + 5 * np.sign(t) * np.abs(t) ** 1.4, rtol=3e-7)
    flat = np.full(9, 4, np.float32)
    gamma.kernel(flat, np.array([1.4, 4.0, 4.0]), 0, np.uint64(0))
    np.testing.assert_array_equal(flat, 4)


def test_gamma_is_the_same_however_it_is_split():
    x = np.random.default_rng(1).normal(5, 3, 1000).astype(np.float32)
    whole, p = x.copy(), np.array([0.8, 1.0, 9.0])
    gamma.kernel(whole, p, 0, np.uint64(0))
    for cut in (1, 13, 992):
        parts = [x[:cut].copy(), x[cut:].copy()]
        for part in parts:
            gamma.kernel(part, p, 0, np.uint64(0))
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_normal_distribution_where_any_number_is_allowed():
    made = msa.Pipeline([{"brightness": {"offset": {"normal": ["0%", "10%"]}}}])
    offsets = [
        made.plan(phantoms.sample(2), 1, i).segments[0].steps[0].params[0][-1].times
        for i in range(3)
    ]
    assert len(set(offsets)) == 3
    with pytest.raises(msa.ConfigError, match="allowed: more than 0"):
        msa.Gamma(exponent={"normal": [1, 0.1]})
