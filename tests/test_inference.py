"""Prediction: what goes out comes back, views average, and nothing is left to chance."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import rasterio
from scipy.ndimage import gaussian_filter

import medsataug as msa
from medsataug import threads
from medsataug.errors import ConfigError, GeometryError
from medsataug.inference import back, predict, torch_network
from medsataug.inference.inverse import brought_back
from tests import phantoms

ISOTROPIC = (1.0, 1.0, 1.0)
NOTHING = msa.Pipeline([], name="nothing")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def case(shape: tuple[int, ...], channels: int = 2, spacing=ISOTROPIC) -> msa.Sample:
    return msa.Sample(
        rng(3).random((channels, *shape)).astype(np.float32),
        axes="CZYX" if len(shape) == 3 else "CYX",
        spacing=spacing[-len(shape) :],
    )


def pointwise(x: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(9 * x[0]), x[-1] ** 2, 1 - x[0] * x[-1]]).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


# --- the way back -----------------------------------------------------------------------------

EXACT = [
    [msa.Flip(p=1, axes="x"), msa.Rot90(turns=[1])],
    [msa.Crop(size=5), msa.Rot90(turns=[3]), msa.Pad(size=21)],
    [msa.Pad(size=23), msa.Flip(p=1, axes=["x", "y"]), msa.Crop(size=9)],
    # What the crop cuts away is not known, though the pad brings its place back.
    [msa.Crop(size=7), msa.Clip(low=0), msa.Pad(size=30), msa.D4(elements=["t"])],
    [msa.Pad(size=23), msa.Clip(low=0), msa.Crop(size=9)],
]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("steps", EXACT)
def test_moved_voxels_come_back_bit_for_bit(ndim: int, steps: list) -> None:
    grid = case(phantoms.SHAPES[ndim])
    plan = msa.Pipeline(steps, geometry="moved").plan(grid, seed=1)
    given = rng().random((3, *plan.grid.shape)).astype(np.float32)
    found = back(plan, given)
    # By naive search: each output voxel tells the source voxel that it shows, if all frames hold
    # that. A crop within one resampling cuts nothing away that a later pad brings back.
    moves = [s for s in steps if type(s) is not msa.Clip]
    shown = msa.Pipeline(moves, geometry="moved").plan(grid, seed=1)
    sources = shown.source_positions(phantoms.index(plan.grid.shape))
    wanted = np.zeros((3, *grid.grid.shape), np.float32)
    kept = np.ones(grid.grid.shape, bool)
    if len(moves) < len(steps):
        first = msa.Pipeline(steps[:1]).plan(grid, seed=1)
        seen = first.source_positions(phantoms.index(first.grid.shape)).astype(int)
        kept[...] = False
        seen = seen[((seen >= 0) & (seen < grid.grid.shape)).all(axis=1)]
        kept[tuple(seen.T)] = True
    for source, value in zip(sources, given.reshape(3, -1).T, strict=True):
        place = tuple(np.round(source).astype(int))
        if all(0 <= i < n for i, n in zip(place, grid.grid.shape, strict=True)) and kept[place]:
            wanted[(slice(None), *place)] = value
    assert found.any()
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(back(msa.Plan.from_json(plan.to_json()), given), found)


BENT = {
    "affine": [msa.Rotate(degrees=(20, 20)), msa.Scale(factor=1.2), msa.Resample(spacing=1.3)],
    "elastic": [msa.Elastic(spacing=8, magnitude=1.5), msa.Rotate(degrees=9)],
    "twice": [msa.Rotate(degrees=9), msa.Clip(low=-1e9), msa.Resample(spacing=0.8)],
    "perspective": [msa.Perspective(corners=0.1)],
}  # fmt: skip


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", BENT)
def test_other_maps_come_back_to_a_thousandth_of_a_voxel(ndim: int, name: str) -> None:
    if name == "perspective" and ndim == 3:
        return
    sample = phantoms.sample(ndim, label=None)
    plan = msa.Pipeline(BENT[name], antialias=False, geometry="moved").plan(sample, seed=4)
    # The probabilities are the output's own coordinates: back, they say where each voxel went.
    index = phantoms.index(plan.grid.shape)
    given = index.T.reshape(-1, *plan.grid.shape).astype(np.float32)
    found, covered = brought_back(plan, given)
    inside = np.ones(plan.source.shape, bool) if covered is None else covered
    where = found.reshape(ndim, -1).T.astype(np.float64)
    # Beyond the last voxel's centre the rim is held, so that positions stop there.
    free = ((where > 0) & (where < np.array(plan.grid.shape) - 1)).all(axis=1) & inside.ravel()
    assert free.sum() > 0.4 * free.size
    returned = plan.source_positions(where[free])
    apart = np.abs(returned - phantoms.index(plan.source.shape)[free])
    assert apart.max() < 1e-3
    assert not found[:, ~inside].any()


def test_shrinking_on_the_way_back_averages() -> None:
    sample = case((7, 5, 6), spacing=(3.0, 1.0, 1.0))
    finer = msa.Resample(spacing="1mm")
    made = msa.Pipeline([finer]).plan(sample, seed=0)
    given = rng().random((2, *made.grid.shape)).astype(np.float32)
    wanted = given.reshape(2, 7, 3, 5, 6).mean(axis=2)
    np.testing.assert_allclose(back(made, given), wanted, atol=1e-6)
    plain = msa.Pipeline([finer], antialias=False).plan(sample, seed=0)
    np.testing.assert_allclose(back(plain, given), given[:, 1::3], atol=1e-6)


def test_rims_hold_what_lies_beside_them_and_probabilities_still_sum_to_one() -> None:
    sample = case((9, 14, 11), spacing=(2.5, 1.0, 1.3))
    plan = msa.Pipeline([msa.Resample(spacing="1.7mm")]).plan(sample, seed=0)
    p = softmax(rng().normal(size=(3, *plan.grid.shape)).astype(np.float32))
    found, covered = brought_back(plan, p)
    assert covered is None
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(back(plan, np.ones_like(p)), 1)


def test_labels_come_back_by_the_largest_share() -> None:
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.Resample(spacing="0.7mm")]).plan(sample, seed=0)
    made = plan(sample).label
    found = back(plan, made)
    assert found.dtype == made.dtype
    assert found.shape == sample.label.shape
    assert np.mean(found == sample.label) > 0.99
    layers = back(plan, np.stack([made, made]))
    np.testing.assert_array_equal(layers, np.stack([found, found]))
    crop = msa.Pipeline([msa.Crop(size=6)]).plan(sample, seed=0)
    filled = back(crop, crop(sample).label, fill=9)
    inner = filled != 9
    assert inner.sum() == 6**3
    np.testing.assert_array_equal(filled[inner], sample.label[inner])


def test_what_does_not_fit_is_refused() -> None:
    sample = case((6, 7))
    plan = msa.Pipeline([msa.Crop(size=4)]).plan(sample, seed=0)
    with pytest.raises(GeometryError, match=r"\(K, 4, 4\).*got float32 of \[2, 4, 5\]"):
        back(plan, np.zeros((2, 4, 5), np.float32))
    mixed = msa.Pipeline([msa.CutMix(p=1)]).plan(
        sample.replace(label=np.zeros((6, 7), np.uint8)),
        seed=0,
        partners=[
            case((6, 7)).replace(
                image=sample.image[:, ::-1], id="b", label=np.zeros((6, 7), np.uint8)
            )
        ],
    )
    with pytest.raises(ConfigError, match="mixes in other samples"):
        back(mixed, np.zeros((2, 6, 7), np.float32))


# --- views ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("views", ["flips", "turns", "d4"])
def test_an_equivariant_network_gains_and_loses_nothing(ndim: int, views: str) -> None:
    sample = case((6, 9, 7)[-ndim:])
    plain, averaged = (predict(pointwise, sample, NOTHING, views=v) for v in ("none", views))
    np.testing.assert_array_equal(averaged.soft, plain.soft)
    np.testing.assert_array_equal(averaged.label, plain.label)
    np.testing.assert_allclose(plain.soft, softmax(pointwise(sample.image)), atol=1e-6)

    def blur(x: np.ndarray) -> np.ndarray:
        return np.stack([gaussian_filter(x[0], 1.1), gaussian_filter(x[1], 0.8)])

    one, many = (predict(blur, sample, NOTHING, views=v).soft for v in ("none", views))
    np.testing.assert_allclose(many, one, atol=1e-6)


def one_sided(x: np.ndarray) -> np.ndarray:
    """Scores that depend on the neighbour before, along every axis differently."""
    y = x[0].copy()
    for k in range(y.ndim):
        y += (k + 2) * np.roll(x[0], 1, axis=k) ** (k + 1)
    return np.stack([y, 3 * x[-1]])


def flips(ndim: int) -> list[tuple[int, ...]]:
    return [tuple(k + 1 for k in range(ndim) if n >> k & 1) for n in range(2**ndim)]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_mean_is_of_every_mirror_image_once(ndim: int) -> None:
    sample = case((5, 8, 7)[-ndim:], spacing=(3.0, 1.0, 1.0))
    found = predict(one_sided, sample, NOTHING, views="flips")
    wanted = np.mean(
        [np.flip(softmax(one_sided(np.flip(sample.image, a))), a) for a in flips(ndim)],
        axis=0,
        dtype=np.float64,
    )
    np.testing.assert_allclose(found.soft, wanted, atol=1e-6)
    assert np.abs(predict(one_sided, sample, NOTHING).soft - wanted).max() > 0.1
    # A mirrored case gives the mirrored prediction, bit for bit.
    for axes in flips(ndim):
        other = predict(one_sided, sample.replace(image=np.flip(sample.image, axes)), NOTHING,
                        views="flips")  # fmt: skip
        np.testing.assert_array_equal(other.soft, np.flip(found.soft, axes))
    only = predict(one_sided, sample, NOTHING, views="flips", axes=["y"]).soft
    pair = [np.flip(softmax(one_sided(np.flip(sample.image, a))), a) for a in ((), (ndim - 1,))]
    np.testing.assert_allclose(only, np.mean(pair, axis=0), atol=1e-6)


@pytest.mark.parametrize(("views", "count"), [("turns", 4), ("d4", 8)])
def test_the_mean_is_of_every_turn_once(views: str, count: int) -> None:
    sample, seen = case((4, 8, 5)), []
    mirrored = [False, True][: count // 4]

    def network(x: np.ndarray) -> np.ndarray:
        seen.append(x.shape)
        return one_sided(x)

    found = predict(network, sample, NOTHING, views=views)
    assert sorted(seen) == sorted([(2, 4, 8, 5), (2, 4, 5, 8)] * (count // 2))
    wanted = []
    for mirror in mirrored:
        x = np.flip(sample.image, 3) if mirror else sample.image
        for n in range(4):
            y = np.rot90(softmax(one_sided(np.rot90(x, n, (2, 3)))), -n, (2, 3))
            wanted.append(np.flip(y, 3) if mirror else y)
    np.testing.assert_allclose(found.soft, np.mean(wanted, axis=0), atol=1e-6)
    if views == "d4":
        # A turned case gives the turned prediction, bit for bit.
        for turn in (lambda x: x.swapaxes(2, 3), lambda x: np.rot90(x, 1, (2, 3))):
            other = case((4, 5, 8)).replace(image=turn(sample.image))
            again = predict(one_sided, other, NOTHING, views="d4")
            np.testing.assert_array_equal(again.soft, turn(found.soft))


def test_views_of_ones_own_are_averaged_where_they_see_something() -> None:
    sample = case((12, 10))
    crop = msa.Pipeline([msa.Crop(size=6)])
    found = predict(pointwise, sample, NOTHING, views=[NOTHING, crop]).soft
    np.testing.assert_array_equal(found, predict(pointwise, sample, NOTHING).soft)
    brighter = msa.Brightness(offset=0.1)
    found = predict(pointwise, sample, NOTHING, views=[NOTHING, brighter]).soft
    pair = [softmax(pointwise(sample.image + np.float32(d))) for d in (0, 0.1)]
    np.testing.assert_allclose(found, np.mean(pair, axis=0), atol=1e-5)


def test_mirrors_can_swap_classes_with_sides() -> None:
    sample = phantoms.sample(3, label=None)
    letters = sample.grid.orientation
    assert letters is not None
    axis = next(k for k in range(3) if letters[k] in "LR")

    def sides(x: np.ndarray) -> np.ndarray:
        """Class 1 in one half of the frame, class 2 in the other, whatever is there."""
        at = np.moveaxis(np.zeros(x.shape[1:], np.float32), axis, 0)
        first = at.copy()
        first[: len(at) // 2] = 9
        last = at.copy()
        last[-(len(at) // 2) :] = 9
        return np.stack([np.moveaxis(a, 0, axis) for a in (at, first, last)])

    plain = predict(sides, sample, NOTHING)
    assert set(np.unique(plain.label)) == {0, 1, 2}
    swapped = predict(sides, sample, NOTHING, views="flips", swap={1: 2})
    np.testing.assert_array_equal(swapped.soft, plain.soft)
    assert not np.array_equal(predict(sides, sample, NOTHING, views="flips").soft, plain.soft)
    with pytest.raises(ConfigError, match="only one is a class"):
        predict(pointwise, sample, NOTHING, views="flips", swap={1: 5})


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "where"),
    [
        (msa.GaussianNoise(std=5), "GaussianNoise"),
        (msa.Flip(p=0.01, axes="x"), "Flip"),
        (msa.Gamma(exponent=(0.9, 1.1)), "Gamma"),
        (msa.Patch(size=4), "Patch"),
        (msa.OneOf(transforms=[msa.Flip(p=1, axes="x"), msa.Rot90(turns=[2])]), "OneOf"),
    ],
)
def test_chance_is_refused_by_name(step: msa.transforms.base.Transform, where: str) -> None:
    sample = case((8, 8))
    recipe = msa.Pipeline([msa.Flip(p=1, axes="y"), step])
    with pytest.raises(ConfigError, match=rf"recipe '': transforms\[1\] {where} draws random"):
        predict(pointwise, sample, recipe)
    with pytest.raises(ConfigError, match=rf"views\[1\]: transforms\[0\] {where} draws random"):
        predict(pointwise, sample, NOTHING, views=[NOTHING, step])


def test_other_mistakes_are_named() -> None:
    volume = case((4, 8, 8), spacing=(1.0, 2.0, 1.0))
    with pytest.raises(GeometryError, match="quarter turn would deform"):
        predict(pointwise, volume, NOTHING, views="turns")
    assert predict(pointwise, volume, NOTHING, views="turns", axes=["x", "z"]).soft is not None
    with pytest.raises(GeometryError, match="two axes of a plane"):
        predict(pointwise, volume, NOTHING, views="d4", axes=["x"])
    with pytest.raises(ConfigError, match="'mirror'; allowed: none, flips, turns, d4"):
        predict(pointwise, volume, NOTHING, views="mirror")
    with pytest.raises(ConfigError, match="views"):
        predict(pointwise, volume, NOTHING, views=[])
    with pytest.raises(ConfigError, match="mixes in other samples"):
        predict(pointwise, volume, msa.Pipeline([msa.CutMix()]))
    with pytest.raises(GeometryError, match=r"\(K, 4, 8, 8\) scores expected, got \[1, 2, 4"):
        predict(lambda x: x[None], volume, NOTHING)
    with pytest.raises(ConfigError, match="NaN"):
        predict(lambda x: x * np.nan, volume, NOTHING)
    with pytest.raises(ConfigError, match="no probabilities"):
        predict(lambda x: x + 3, volume, NOTHING, activation="none")
    with pytest.raises(ConfigError, match="two or more exclusive classes"):
        predict(lambda x: x[:1], volume, NOTHING)
    with pytest.raises(ConfigError, match="overlap=True"):
        predict(pointwise, volume, NOTHING, activation="sigmoid")
    with pytest.raises(ConfigError, match="3 rising numbers"):
        predict(pointwise, volume, NOTHING, classes=[2, 1, 3])


# --- the result -------------------------------------------------------------------------------


def test_the_prediction_lies_on_the_case_and_ignores_its_label(tmp_path: Path) -> None:
    sample = phantoms.sample(3)
    kept = sample.image.copy(), sample.label.copy()
    found = predict(pointwise, sample, views="flips")
    assert found.soft.shape == (3, *sample.grid.shape)
    np.testing.assert_allclose(found.soft.sum(axis=0), 1, atol=1e-5)
    assert found.label.dtype == np.uint8
    np.testing.assert_array_equal(found.label, found.soft.argmax(axis=0))
    unlabelled = predict(pointwise, sample.replace(label=None), views="flips")
    np.testing.assert_array_equal(found.soft, unlabelled.soft)
    with pytest.raises(ConfigError, match="there is no label"):  # which no new case has
        predict(pointwise, sample, msa.Pipeline([msa.CropForeground()]))
    np.testing.assert_array_equal(sample.image, kept[0])
    np.testing.assert_array_equal(sample.label, kept[1])
    np.testing.assert_array_equal(found.image, sample.image)
    assert not np.shares_memory(found.image, sample.image)
    written = {p.name: p for p in msa.save(found, tmp_path / "out")}
    read = nib.load(written["prediction.nii.gz"])
    # Files hold x, y, z; nibabel's affine runs over them.
    np.testing.assert_allclose(read.affine[:, [2, 1, 0, 3]], sample.grid.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(read.dataobj).T, found.label)
    assert msa.load(written["image.nii.gz"], written["prediction.nii.gz"]).grid.mismatch(
        sample.grid
    ) is None  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_change_no_bit(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = phantoms.sample(3, label=None)
    first = predict(one_sided, sample, views="flips").soft.tobytes()
    monkeypatch.setattr(threads, "count", lambda: count)
    assert predict(one_sided, sample, views="flips").soft.tobytes() == first


def test_equal_probabilities_go_to_the_smallest_value() -> None:
    found = predict(lambda x: np.zeros((4, *x.shape[1:])), case((3, 4)), NOTHING,
                    classes=[3, 5, 300, 301])  # fmt: skip
    assert found.label.dtype == np.uint16
    assert (found.label == 3).all()


def test_a_single_score_and_regions() -> None:
    sample = case((5, 6))

    def score(x: np.ndarray) -> np.ndarray:
        return 8 * x[:1] - 4

    one = predict(score, sample, NOTHING, activation="sigmoid")
    np.testing.assert_array_equal(one.label, sample.image[0] > 0.5)
    np.testing.assert_allclose(one.soft[1], 1 / (1 + np.exp(-score(sample.image)[0])), atol=1e-6)
    np.testing.assert_allclose(one.soft.sum(axis=0), 1)
    many = predict(lambda x: 8 * x - 4, sample, NOTHING, activation="sigmoid", overlap=True)
    np.testing.assert_array_equal(many.label, sample.image > 0.5)


def test_what_is_cut_away_or_missing_is_no_class(tmp_path: Path) -> None:
    sample = phantoms.sample(2, valid=phantoms.holes(2))
    cut = msa.Pipeline([msa.Crop(size=8)], name="cut")
    found = predict(pointwise, sample, cut)
    seen = back(cut.plan(sample, seed=0), np.ones((1, 8, 8), np.float32))[0] > 0
    known = seen & sample.valid[0]
    assert 0 < known.sum() < 64
    assert (found.label[~known] == 255).all()
    assert found.label[known].max() < 3
    assert not found.soft[:, ~known].any()
    written = {p.name: p for p in msa.save(found, tmp_path / "out")}
    with rasterio.open(written["prediction.tif"]) as read:
        assert read.nodata == 255
        assert tuple(read.transform)[:6] == (1.5, 0, 499_999.25, 0, -1, 5_000_000.5)
        np.testing.assert_array_equal(read.read(1), found.label)
    volume = phantoms.sample(3)
    assert not predict(pointwise, volume, cut).label[0, 0].any()
    assert (predict(pointwise, volume, cut, ignore_index=7).label[0, 0] == 7).all()
    with pytest.raises(ConfigError, match="255 would mark"):
        predict(pointwise, sample, cut, classes=[0, 1, 255])


def test_networks_never_see_nan() -> None:
    image = np.array(case((6, 6)).image)
    image[0, 2, 3] = np.nan
    seen: list[np.ndarray] = []
    found = predict(
        lambda x: seen.append(x) or pointwise(x), msa.Sample(image, axes="CYX"), NOTHING
    )
    assert seen[0][0, 2, 3] == 0
    assert found.soft[:, 2, 3].any()  # the other channel has data there


def test_pytorch_modules_are_networks() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    torch.manual_seed(0)
    module = torch.nn.Conv2d(2, 3, 3, padding=1)
    sample = case((9, 7))
    found = predict(torch_network(module), sample, NOTHING, views="d4")
    with torch.inference_mode():
        scores = module(torch.from_numpy(sample.image)[None])[0].numpy()
    plain = predict(torch_network(module, "cpu"), sample, NOTHING)
    np.testing.assert_allclose(plain.soft, softmax(scores), atol=1e-6)
    assert np.abs(found.soft - plain.soft).max() > 1e-3


# --- research data ----------------------------------------------------------------------------


@pytest.mark.parametrize(("spacing", "least"), [("0.6mm", 0.995), ("0.8mm", 0.98), ("1.5mm", 0.8)])
def test_hippocampus_labels_survive_the_way_there_and_back(
    real_data: Path, spacing: str, least: float
) -> None:
    folder, name = real_data / "mri_hippocampus", "hippocampus_001.nii.gz"
    given = msa.load(folder / "images" / name, folder / "labels" / name)
    plan = msa.Pipeline([msa.Resample(spacing=spacing)]).plan(given, seed=0)
    there = plan(given)
    shares = np.stack([there.label == v for v in (0, 1, 2)]).astype(np.float32)
    found = back(plan, shares).argmax(axis=0)
    np.testing.assert_array_equal(found, back(plan, there.label))
    for value in (1, 2):
        a, b = found == value, given.label == value
        assert (a & b).sum() / (a | b).sum() >= least


@pytest.mark.parametrize("scene", ["l2a", "l1c"])
def test_scenes_are_predicted_where_they_lie(real_data: Path, tmp_path: Path, scene: str) -> None:
    path = sorted((real_data / "geo_sentinel2" / scene).glob("*.tif"))[0]
    given = msa.load(path)
    found = predict(pointwise, given, "inference-raster", views="d4")
    written = {p.name: p for p in msa.save(found, tmp_path / "out")}
    with rasterio.open(path) as a, rasterio.open(written["prediction.tif"]) as b:
        assert a.transform == b.transform
        assert a.crs == b.crs
        np.testing.assert_array_equal(b.read(1), found.label)
