"""Gaussian blur, low resolution, median and sharpening: their fields, units, nodata and memory."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

import medsataug as msa
from medsataug import threads
from tests import harness, naive, phantoms

IMAGE = phantoms.image(3)


def apply(transform, sample=None, seed=1):
    sample = phantoms.sample(3) if sample is None else sample
    return msa.Pipeline([transform])(sample, seed=seed).image


def blurred(values, *sigma):
    matrices = [naive.gaussian_matrix(n, s) for n, s in zip(values.shape[1:], sigma, strict=True)]
    return np.stack([naive.normalised(c, matrices) for c in values])


def step_of(transform, sample):
    (step,) = harness.steps_of(transform, sample)
    return step


def test_blur_by_voxels_and_lengths():
    np.testing.assert_allclose(
        apply(msa.GaussianBlur(sigma=1.2)), blurred(IMAGE, 1.2, 1.2, 1.2), atol=1e-4
    )
    # Voxels of 3, 1 and 1.5 mm along z, y, x.
    got = apply(msa.GaussianBlur(sigma="1.5mm"))
    np.testing.assert_allclose(got, blurred(IMAGE, 0.5, 1.5, 1), atol=1e-4)
    got = apply(msa.GaussianBlur(sigma={"x": 2, "z": "3mm"}))
    np.testing.assert_allclose(got, blurred(IMAGE, 1, 0, 2), atol=1e-4)
    scene = phantoms.sample(2)  # pixels of 1 and 1.5 m
    got = apply(msa.GaussianBlur(sigma="1.5m"), scene)
    np.testing.assert_allclose(got, blurred(scene.image, 1.5, 1), atol=1e-4)


def test_axes_and_channels_draw_together_or_apart():
    sample = msa.Sample(image=np.zeros((3, 90, 100, 110), np.float32), axes="CZYX", id="a")
    kinds = ((msa.GaussianBlur, "sigma", (0.5, 3)), (msa.LowResolution, "scale", (0.2, 0.9)))
    for kind, field, given in kinds:
        one = step_of(kind(**{field: given}), sample).params
        assert one[0] == one[1] == one[2]
        own = step_of(kind(**{field: given}, per_channel=True), sample).params
        assert len(set(own)) == 3
        apart = step_of(kind(**{field: given}, isotropic=False), sample).params[0]
        assert len(set(apart[:3])) == 3
    alike = step_of(msa.GaussianBlur(sigma=(0.5, 3)), sample).params[0]
    assert len(set(alike)) == 1


def test_each_channel_by_its_own_chance():
    sample = phantoms.sample(3)
    chosen = []
    for kind in (msa.GaussianBlur, msa.LowResolution, msa.Median, msa.Sharpen):
        transform = harness.full(kind, channel_p=0.5, per_channel=True)
        plans = [msa.Pipeline([transform]).plan(sample, seed=s) for s in range(200)]
        for plan in plans:
            params = [p for s in plan.segments for t in s.steps for p in (t.params,)]
            chosen.append([p is not None for p in params[0]] if params else [False] * 3)
    assert abs(np.mean(chosen) - 0.5) < 0.05
    assert 0.08 < np.mean(np.all(chosen, axis=1)) < 0.17  # of all three by chance: 1/8


def test_low_resolution():
    for method in ("nearest", "mean"):
        got = apply(msa.LowResolution(scale=0.5, method=method))
        sizes = [round(n * 0.5) for n in IMAGE.shape[1:]]
        matrices = [
            naive.coarse_matrix(n, m, method == "mean")
            for n, m in zip(IMAGE.shape[1:], sizes, strict=True)
        ]
        expected = np.stack([naive.normalised(c, matrices) for c in IMAGE])
        np.testing.assert_allclose(got, expected, atol=1e-4)
    # Slice by slice, a volume is what its slices are.
    got = apply(msa.LowResolution(scale=0.6, in_plane=True))
    for z in range(IMAGE.shape[1]):
        one = msa.Sample(image=IMAGE[:, z], axes="CYX")
        np.testing.assert_array_equal(apply(msa.LowResolution(scale=0.6), one), got[:, z])
    only_x = apply(msa.LowResolution(scale={"x": 0.5}))
    assert step_of(msa.LowResolution(scale={"x": 0.5}), phantoms.sample(3)).halo[:2] == (0, 0)
    assert np.any(only_x != IMAGE)


def test_mean_keeps_a_fine_pattern_from_showing_as_a_coarse_one():
    stripes = np.tile(np.array([0, 10], np.float32), (1, 40, 20))
    image = msa.Sample(image=stripes, axes="CYX")
    coarse = apply(msa.LowResolution(scale=0.5, method="mean"), image)
    np.testing.assert_allclose(coarse, 5, atol=1e-5)
    assert apply(msa.LowResolution(scale=0.5), image).std() == 0  # one of the two alone
    assert apply(msa.LowResolution(scale=0.5), image).mean() in (0, 10)


def test_low_resolution_is_batchgenerators():
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("batchgeneratorsv2.transforms.spatial.low_resolution")
    image = phantoms.image(3, shape=(24, 40, 33))
    for scale in (0.5, 0.67, 0.9):
        peer = module.SimulateLowResolutionTransform(scale, True, True, None)
        expected = peer(image=torch.from_numpy(image.copy()))["image"].numpy()
        sample = msa.Sample(image=image, axes="CZYX")
        got = apply(msa.LowResolution(scale=scale), sample)
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.ptp(image))


def test_blur_is_close_to_batchgenerators():
    """It ends its kernel at 3 σ, and mirrors about the outermost voxel: alike further inside."""
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("batchgeneratorsv2.transforms.noise.gaussian_blur")
    image = phantoms.image(3, shape=(24, 40, 33))
    peer = module.GaussianBlurTransform(1.0, True, True)
    expected = peer(image=torch.from_numpy(image.copy()))["image"].numpy()
    got = apply(msa.GaussianBlur(sigma=1), msa.Sample(image=image, axes="CZYX"))
    inner = (slice(None), *[slice(5, -5)] * 3)
    np.testing.assert_allclose(got[inner], expected[inner], atol=5e-3 * np.ptp(image))


def test_median():
    got = apply(msa.Median())
    np.testing.assert_array_equal(got, np.stack([ndimage.median_filter(c, 3) for c in IMAGE]))
    got = apply(msa.Median(size=5, in_plane=True))
    expected = np.stack([ndimage.median_filter(c, (1, 5, 5)) for c in IMAGE])
    np.testing.assert_array_equal(got, expected)
    scene = phantoms.sample(2, "uint16")
    expected = np.stack([ndimage.median_filter(c, 3) for c in scene.image])
    np.testing.assert_array_equal(apply(msa.Median(), scene), expected)
    for wrong in (2, 9):
        with pytest.raises(msa.ConfigError, match=r"Median\.size"):
            msa.Median(size=wrong)


def test_sharpen_is_the_opposite_of_blur():
    got = apply(msa.Sharpen(strength=1.5, sigma="1.5mm"))
    np.testing.assert_allclose(got, IMAGE + 1.5 * (IMAGE - blurred(IMAGE, 0.5, 1.5, 1)), atol=1e-3)
    softened = apply(msa.GaussianBlur(sigma=0.8))
    back = apply(msa.Sharpen(strength=1, sigma=0.8), phantoms.sample(3, image=softened))
    assert np.abs(back - IMAGE).mean() < np.abs(softened - IMAGE).mean()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("keep_range", [False, True])
def test_sharpen_by_the_laplacian(ndim, keep_range):
    image = phantoms.image(ndim)
    image[:, 3, 4] = np.nan
    given = phantoms.sample(ndim, image=image)
    made = msa.Sharpen(method="laplacian", strength=0.7, keep_range=keep_range)
    got = apply(made, given)
    for x, y in zip(image.astype(np.float64), got, strict=True):
        wide, rises = np.pad(x, 1, mode="edge"), np.zeros(x.shape)
        for axis, side in itertools.product(range(ndim), (0, 2)):
            cut = [slice(1, -1)] * ndim
            cut[axis] = slice(side, side + x.shape[axis])
            # A neighbour without data is as high as the voxel itself.
            rises += np.nan_to_num(x - wide[tuple(cut)])
        want = x + 0.7 * rises
        assert np.nanmax(want) > np.nanmax(x)
        want = np.clip(want, np.nanmin(x), np.nanmax(x)) if keep_range else want
        np.testing.assert_allclose(y, want, atol=1e-4)
    with harness.small_blocks(3):
        np.testing.assert_array_equal(apply(made, given), got)


@pytest.mark.parametrize("name", ["GaussianBlur", "LowResolution", "Median", "Sharpen"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_nothing_beyond_the_halo_matters(name, ndim):
    shape = (15, 40, 37)[-ndim:]
    kind = getattr(msa, name)
    image = phantoms.image(ndim, channels=1, shape=shape)
    sample = msa.Sample(image=image, axes="CZYX"[:1] + "ZYX"[-ndim:], id="one")
    plan = msa.Pipeline([harness.full(kind)]).plan(sample, seed=3)
    halo = plan.segments[0].steps[0].halo[-ndim:]
    place, half = tuple(n // 2 for n in shape), 2  # a box: low resolution skips single voxels
    other = image.copy()
    other[(0, *[slice(p - half, p + half + 1) for p in place])] += 1000
    changed = plan(sample.replace(image=other)).image != plan(sample).image
    assert changed.any()
    far = np.abs(np.indices(shape) - np.reshape(place, (-1, *[1] * ndim)))
    beyond = np.any(far - half > np.reshape(halo, (-1, *[1] * ndim)), axis=0)
    assert not changed[0][beyond].any()


@pytest.mark.parametrize("name", ["GaussianBlur", "LowResolution", "Median", "Sharpen"])
def test_one_channel_more_than_input_and_output(name, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 2)
    image = phantoms.image(3, channels=4, shape=(48, 96, 96))
    sample = msa.Sample(image=image, axes="CZYX", id="big")
    plan = msa.Pipeline([harness.full(getattr(msa, name))]).plan(sample, seed=1)
    plan(sample)
    tracemalloc.start()
    out = plan(sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scratch = 3 * 2**20  # of two threads, whatever the image's size
    assert peak < out.image.nbytes + image[0].nbytes + scratch


def test_nodata_of_real_kind(real_data):
    """A scene with a wide nodata margin: no value comes from it, and none goes into it."""
    scene = msa.load(sorted(real_data.rglob("*.tif"))[0])
    sample = msa.Crop(size=(200, 220))(scene, seed=0)
    rng = np.random.default_rng(0)
    valid = np.ones((1, 200, 220), bool)
    valid[0] = np.add.outer(np.arange(200), 2 * np.arange(220)) > 250
    valid[0] &= rng.random((200, 220)) > 0.001
    sample = sample.replace(image=sample.image.astype(np.float32), valid=valid, id="scene")
    junk = sample.replace(image=np.where(valid, sample.image, np.float32(-1e6)))
    for kind in (msa.GaussianBlur, msa.LowResolution, msa.Median):
        one, two = (harness.run(harness.full(kind), s) for s in (sample, junk))
        seen = np.broadcast_to(valid, one.image.shape)
        np.testing.assert_array_equal(one.image[seen], two.image[seen])
        np.testing.assert_array_equal(np.broadcast_to(one.valid, seen.shape), seen)
        low, high = sample.image[seen].min(), sample.image[seen].max()
        assert low - 1e-3 * abs(low) <= one.image[seen].min()
        assert one.image[seen].max() <= high * (1 + 1e-5)
