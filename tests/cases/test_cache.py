"""The cache: the same plans and bytes as from the files, for a patch's reading."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug import cases
from medsataug.cases import chunked
from medsataug.errors import ConfigError
from medsataug.types import is_lazy
from tests.cases import files

pytest.importorskip("blosc2", reason="Blosc2 is not installed (medsataug[cache])")


def same(plan, mine, theirs):
    """Both samples give the same bytes."""
    got, want = plan(mine), plan(theirs)
    for name in ("image", "label", "valid"):
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other, err_msg=name)
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert got.grid.mismatch(want.grid) is None
    assert repr(got.meta) == repr(want.meta)
    assert got.record == want.record


def alike(recipe, mine, theirs, count=3):
    """The same plans, and the same bytes of them."""
    for index in range(count):
        plan = recipe.plan(mine, seed=5, index=index)
        assert plan.to_json() == recipe.plan(theirs, seed=5, index=index).to_json()
        same(plan, mine, theirs)


def small(name):
    """A packaged recipe with a patch that fits the phantoms."""
    recipe = msa.Pipeline.load(name)
    if name == "nnunet":
        patch = msa.Patch(size=(8, 7, 6), foreground=0.33, empty="random")
        return recipe.changed(transforms=(patch, *recipe.transforms[1:]))
    return recipe


@pytest.mark.parametrize("name", ["mri", "nnunet"])
def test_volumes(tmp_path, name):
    found = cases.find(files.nnunet(tmp_path / "set"))
    kept = cases.cached(found, tmp_path / "cache")
    for case, other in zip(kept, found, strict=True):
        mine, theirs = case.load(), other.load()
        assert is_lazy(mine.image)
        assert is_lazy(mine.label)
        alike(small(name), mine, theirs, 6)


@pytest.mark.parametrize("name", ["mri", "nnunet"])
def test_real_volumes(tmp_path, real_data, name):
    found = cases.find(real_data / "mri_ms_brain")[:1]
    kept = cases.cached(found, tmp_path)
    alike(msa.Pipeline.load(name), kept[0].load(), found[0].load(), 2)


def test_rasters(tmp_path, real_data):
    image = files.raster(tmp_path / "scene.tif", shape=(4, 300, 410), nodata=-1)
    label = files.raster(tmp_path / "label.tif", shape=(1, 300, 410), values=(0, 1, 2))
    mine = cases.CaseSet([cases.Case("scene", (image,), label)])
    real = cases.find(real_data / "geo_sentinel2")[:1]
    recipe = msa.Pipeline(
        [
            msa.Rotate(degrees=(-40, 40)),
            msa.Patch(size=64, foreground=0.5),
            msa.IntensityScale(gain=(0.8, 1.2), offset=("-5%", "5%")),
            msa.GaussianNoise(std=("1%", "5%"), where="nonzero"),
        ]
    )
    for found in (mine, real):
        kept = cases.cached(found, tmp_path / "cache")
        alike(recipe, kept[0].load(), found[0].load())


def test_large_rasters_are_stored_piece_by_piece(tmp_path, monkeypatch):
    from medsataug.io import geotiff

    monkeypatch.setattr(geotiff, "SMALL_BYTES", 0)
    image = files.raster(tmp_path / "scene.tif", shape=(3, 600, 410), nodata=-1)
    label = files.raster(tmp_path / "label.tif", shape=(1, 600, 410), values=(0, 1, 2))
    found = cases.CaseSet([cases.Case("scene", (image,), label)])
    theirs = found[0].load()
    assert is_lazy(theirs.image)
    mine = cases.cached(found, tmp_path / "cache")[0].load()
    assert mine.valid is theirs.valid is None
    window = (slice(0, 20), slice(3, 11))
    np.testing.assert_array_equal(mine.image.read(window), theirs.image.read(window))
    want = theirs.image.read_valid(window)
    np.testing.assert_array_equal(mine.image.read_valid(window), np.broadcast_to(want, (3, 20, 8)))
    assert mine.image.read_valid((slice(300, 310), slice(0, 9))) is None
    recipe = msa.Pipeline([msa.Patch(size=50, foreground=0.5), msa.Normalize(method="zscore")])
    alike(recipe, mine, theirs)
    # What was not kept is computed as of the raster.
    assert mine.facts.distribution(1, (2,)).mean == theirs.facts.distribution(1, (2,)).mean


def test_missing_values_of_a_volume(tmp_path):
    import nibabel

    data = np.random.default_rng(0).normal(5, 1, files.SHAPE).astype(np.float32)
    data[2:4, 3:7] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 1, 3, 1])), tmp_path / "a.nii.gz")
    label = files.volume(tmp_path / "b.nii.gz", values=(0, 1))
    nibabel.save(nibabel.Nifti1Image(nibabel.load(label).get_fdata().astype(np.uint8),
                                     np.diag([1.0, 1, 3, 1])), label)  # fmt: skip
    found = cases.CaseSet([cases.Case("a", (tmp_path / "a.nii.gz",), label)])
    mine, theirs = cases.cached(found, tmp_path / "cache")[0].load(), found[0].load()
    assert theirs.valid is not None
    alike(small("nnunet"), mine, theirs, 6)
    alike(small("mri"), mine, theirs)


def test_facts_are_read_not_computed(tmp_path, monkeypatch):
    found = cases.find(files.nnunet(tmp_path / "set"))
    kept = cases.cached(found, tmp_path / "cache")
    theirs, mine = found[0].load().facts, kept[0].load().facts
    monkeypatch.setattr(chunked, "read", lambda *_: pytest.fail("voxels were read"))
    assert mine.classes == theirs.classes
    assert mine.layers == theirs.layers == 1
    for value in (0, 1, 2, 9):
        np.testing.assert_array_equal(mine.places(value), theirs.places(value)) if value < 3 else 0
        for layer in (None, 0):
            np.testing.assert_array_equal(mine.box((value,), layer), theirs.box((value,), layer))
    np.testing.assert_array_equal(mine.box((1, 2)), theirs.box((1, 2)))
    np.testing.assert_array_equal(mine.nonzero_box, theirs.nonzero_box)
    for channel in (0, 1):
        for where in ("valid", "all", "nonzero"):
            one, other = mine.distribution(channel, where), theirs.distribution(channel, where)
            assert (one.count, one.mean, one.std) == (other.count, other.mean, other.std)
            np.testing.assert_array_equal(one.values, other.values)


def test_layers_of_a_label(tmp_path):
    image = files.volume(tmp_path / "image.nii.gz")
    label = files.volume(tmp_path / "label.nii.gz", 1, channels=2, values=(0, 1, 2))
    found = cases.CaseSet([cases.Case("a", (image,), label)])
    mine, theirs = cases.cached(found, tmp_path / "cache")[0].load(), found[0].load()
    assert mine.facts.layers == theirs.facts.layers == 2
    for layer in (None, 0, 1):
        want = theirs.facts.box((1, 2), layer)
        np.testing.assert_array_equal(mine.facts.box((1, 2), layer), want)
    alike(msa.Pipeline([msa.Rotate(degrees=(-9, 9)), msa.Patch(size=5)]), mine, theirs)


@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
def test_a_window_gives_the_bits_of_the_whole(tmp_path, border, interpolation):
    image = files.volume(tmp_path / "image.nii.gz", shape=(70, 60, 50))
    label = files.volume(tmp_path / "label.nii.gz", shape=(70, 60, 50), values=(0, 1, 2))
    found = cases.CaseSet([cases.Case("a", (image,), label)])
    mine, theirs = cases.cached(found, tmp_path / "cache")[0].load(), found[0].load()
    recipe = msa.Pipeline(
        [
            msa.Rotate(degrees=(-25, 25)),
            msa.Scale(factor=(0.8, 1.3)),
            msa.Elastic(spacing=12, magnitude=(0, 2)),
            msa.Flip(axes=["z", "y", "x"]),
            msa.Patch(size=24),
        ],
        border=border,
        interpolation=interpolation,
        label_interpolation="nearest" if interpolation == "nearest" else "vote",
    )
    alike(recipe, mine, theirs, 4)
    alike(
        msa.Pipeline([msa.Flip(axes=["z", "y", "x"]), msa.Patch(size=20)], border=border),
        mine,
        theirs,
        4,
    )


def test_facts_that_were_not_kept(tmp_path):
    found = cases.find(files.nnunet(tmp_path / "set"))
    theirs, mine = found[0].load(), cases.cached(found, tmp_path / "cache")[0].load()
    assert mine.facts.distribution(0, (1, 2)).mean == theirs.facts.distribution(0, (1, 2)).mean
    other = np.where(theirs.label == 1, 5, 0).astype(np.uint8)
    assert mine.replace(label=other).facts.classes == theirs.replace(label=other).facts.classes
    assert mine.replace(label=None).facts.classes == {}
    assert mine.replace(id="x").facts.classes == theirs.facts.classes
    with pytest.raises(ConfigError, match="layer: 1"):
        mine.facts.box((1,), 1)


def test_prediction_reads_a_stored_case(tmp_path):
    from medsataug.inference import predict

    found = cases.find(files.nnunet(tmp_path / "set"))
    theirs, mine = found[0].load(), cases.cached(found, tmp_path / "cache")[0].load()

    def network(image):
        return np.stack([image[0], image[1]])

    want, got = predict(network, theirs), predict(network, mine)
    np.testing.assert_array_equal(got.soft, want.soft)


def test_a_patch_reads_its_own_chunks(tmp_path, monkeypatch):
    found = cases.find(files.nnunet(tmp_path / "set"))
    mine = cases.cached(found, tmp_path / "cache")[0].load()
    seen = []
    read = chunked.read
    monkeypatch.setattr(chunked, "read", lambda p, w: (seen.append((p.name, w)), read(p, w))[1])
    msa.Pipeline([msa.Patch(size=4)])(mine, seed=0)
    assert {name for name, _ in seen} == {"image.b2nd", "label.b2nd"}
    assert all(s.stop - s.start <= 4 + 2 * 4 for _, window in seen for s in window)


def test_a_recipe_is_applied_before_storing(tmp_path):
    found = cases.find(files.nnunet(tmp_path / "set"))
    recipe = msa.Pipeline(
        [msa.Resample(spacing="1.5mm"), msa.Normalize(method="zscore")], name="prepared"
    )
    mine = cases.cached(found, tmp_path / "cache", recipe)[0].load()
    want = recipe(found[0].load(), seed=0)
    assert mine.image.dtype == np.float32
    np.testing.assert_array_equal(mine.image.whole, want.image)
    np.testing.assert_array_equal(mine.label.whole[0], want.label)
    assert mine.facts.classes == want.facts.classes
    alike(small("nnunet"), mine, want)


def test_labels_come_from_stored_facts(tmp_path, monkeypatch):
    for name in ("a", "b"):
        files.picture(tmp_path / f"set/images/{name}.png")
        files.picture(tmp_path / f"set/masks/{name}.png", values=(0, 255))
    kept = cases.cached(cases.find(tmp_path / "set"), tmp_path / "cache")
    monkeypatch.setattr(chunked, "read", lambda *_: pytest.fail("voxels were read"))
    assert kept.labels == {"background": 0, "class 255": 255}
