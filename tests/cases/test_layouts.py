"""Finding data sets: every layout, by its own rules."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

import medsataug as msa
from medsataug import cases
from tests.cases import files


def test_nnunet(tmp_path):
    root = files.nnunet(tmp_path / "Dataset007_Test")
    found = cases.find(root)
    assert found.name == "Dataset007_Test"
    assert [case.id for case in found] == ["a_1", "a_2", "a_10"]
    assert found.channels == ("T1", "T2")
    assert found.labels == {"background": 0, "organ": 1, "tumour": 2}
    assert found.regions is found.ignore is None
    sample = found[1].load()
    assert sample.id == "a_2"
    assert [c.name for c in sample.channels] == ["T1", "T2"]
    want = msa.load([root / f"imagesTr/a_2_000{c}.nii.gz" for c in (0, 1)])
    np.testing.assert_array_equal(sample.image, want.image)
    assert sample.image.shape == (2, *files.SHAPE[::-1])
    found.check()


def test_nnunets_regions_and_ignored_voxels(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    root = files.nnunet(tmp_path, labels=labels, regions_class_order=[1, 2, 3])
    found = cases.find(root)
    assert found.regions == ((1, 2, 3), (2, 3), 3)
    assert found.region_order == (1, 2, 3)
    assert found.ignore == 4
    assert found[0].values == (0, 1, 2, 3, 4)
    found.check()


def test_nnunets_own_list_of_files(tmp_path):
    root = files.nnunet(tmp_path / "set", names=("a",))
    for part in ("imagesTr", "labelsTr"):
        shutil.move(root / part, tmp_path / "elsewhere" / part)
    given = json.loads((root / "dataset.json").read_text())
    listed = {
        "only": {
            "images": [f"../elsewhere/imagesTr/a_000{c}.nii.gz" for c in (0, 1)],
            "label": "../elsewhere/labelsTr/a.nii.gz",
        }
    }
    files.described(root, **given, dataset=listed)
    (case,) = cases.find(root)
    assert case.id == "only"
    assert case.load().image.shape[0] == 2


def test_nnunets_pictures_hold_their_channels(tmp_path):
    for k in range(2):
        files.picture(tmp_path / f"imagesTr/p{k}_0000.png", k, (20, 30, 3))
        files.picture(tmp_path / f"labelsTr/p{k}.png", k, values=(0, 1))
    files.described(
        tmp_path,
        channel_names={"0": "R", "1": "G", "2": "B"},
        labels={"background": 0, "road": 1},
        numTraining=2,
        file_ending=".png",
    )
    found = cases.find(tmp_path)
    assert [c.name for c in found[0].load().channels] == ["R", "G", "B"]


def test_decathlon(tmp_path):
    found = cases.find(files.decathlon(tmp_path))
    assert found.name == "LIVER"
    assert found.channels == ("CT", "PET")
    assert found.labels == {"background": 0, "liver": 1}
    assert [case.id for case in found] == ["liver_0", "liver_1"]
    sample = found[0].load()
    assert [c.name for c in sample.channels] == ["CT", "PET"]
    want = msa.load(tmp_path / "imagesTr/liver_0.nii.gz").image
    np.testing.assert_array_equal(sample.image, want)
    found.check()


def test_nnunets_first_version_lists_cases_but_has_a_file_a_channel(tmp_path):
    root = files.decathlon(tmp_path, channels=1)
    given = json.loads((root / "dataset.json").read_text())
    for name in ("liver_0", "liver_1"):
        file = root / f"imagesTr/{name}.nii.gz"
        shutil.copy(file, root / f"imagesTr/{name}_0001.nii.gz")
        file.rename(root / f"imagesTr/{name}_0000.nii.gz")
    files.described(root, **{**given, "modality": {"0": "CT", "1": "PET"}})
    found = cases.find(root)
    assert len(found[0].images) == 2
    found.check()


@pytest.mark.parametrize(
    ("folder", "start", "names", "group"),
    [
        ("BraTS-GLI-00012-000", "BraTS-GLI-00012-000-", "t1c t1n t2f t2w seg", "BraTS-GLI-00012"),
        ("BraTS20_Training_001", "BraTS20_Training_001_", "flair t1 t1ce t2 seg", None),
        ("patient07", "", "flair t1 t1post lesion", None),
        ("one", "Other_name-", "t1 t2 label", None),
    ],
)
def test_a_folder_a_case(tmp_path, folder, start, names, group):
    *images, label = names.split()
    for name in images:
        files.volume(tmp_path / folder / f"{start}{name}.nii.gz")
    files.volume(tmp_path / folder / f"{start}{label}.nii.gz", values=(0, 1, 2, 4))
    (tmp_path / "notes").mkdir()
    found = cases.find(tmp_path)
    assert found.channels == tuple(sorted(images))
    (case,) = found
    assert (case.id, case.group) == (folder, group)
    sample = case.load()
    assert [c.name for c in sample.channels] == sorted(images)
    assert found.labels == {"background": 0, "class 1": 1, "class 2": 2, "class 4": 4}


def test_folders_of_images_and_labels(tmp_path):
    for name in ("s1", "s10", "s2"):
        files.picture(tmp_path / f"images/{name}.png")
        files.picture(tmp_path / f"masks/{name}.png", values=(0, 255))
    (tmp_path / "images" / "Thumbs.txt").write_text("no image")
    files.picture(tmp_path / "previews/s1.png")
    found = cases.find(tmp_path)
    assert [case.id for case in found] == ["s1", "s2", "s10"]
    assert found.channels == ("image",)
    assert found.labels == {"background": 0, "class 255": 255}


def test_folders_of_bands_are_channels(tmp_path):
    for name in ("north", "south"):
        files.raster(tmp_path / f"s2/{name}.tif", 1)
        files.raster(tmp_path / f"dem/{name}.tif", 2, (1, 50, 70))
        files.raster(tmp_path / f"landcover/{name}.tif", 3, (1, 50, 70), values=(1, 2, 9))
    found = cases.find(tmp_path)
    assert found.channels == ("dem", "band 1", "band 2", "band 3", "band 4")
    assert found[0].load().image.shape == (5, 50, 70)
    assert found.labels == {"class 1": 1, "class 2": 2, "class 9": 9}


def test_table(tmp_path):
    for k in range(3):
        files.raster(tmp_path / f"in/{k}_rgb.tif", k, (3, 50, 70))
        files.raster(tmp_path / f"in/{k}_nir.tif", k, (1, 50, 70))
        files.raster(tmp_path / f"out/{k}.tif", k, (1, 50, 70), values=(0, 1))
    rows = [f"in/{k}_rgb.tif;in/{k}_nir.tif,out/{k}.tif,tile {k},{'ab'[k % 2]}" for k in range(3)]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["\ufeffImage,label,id,group", *rows]), encoding="utf-8")
    found = cases.find(table)
    assert [(c.id, c.group) for c in found] == [("tile 0", "a"), ("tile 1", "b"), ("tile 2", "a")]
    assert len(found.channels) == 4
    found.check()
    bare = tmp_path / "bare.tsv"
    bare.write_text("image\nin/0_rgb.tif\nin/1_rgb.tif\n")
    assert [case.id for case in cases.find(bare)] == ["0_rgb", "1_rgb"]
    assert cases.find(bare)[0].load().label is None


def test_a_table_cuts_scenes_into_tiles(tmp_path):
    for name in ("west", "east"):
        files.raster(tmp_path / name / "scene.tif", 1)
        files.raster(tmp_path / name / "cover.tif", 2, (1, 50, 70), values=(0, 1))
    table = tmp_path / "tiles.csv"
    rows = ["west/scene.tif,west/cover.tif,w,,10,", "east/scene.tif,east/cover.tif,e,,20,3"]
    table.write_text("\n".join(["image,label,id,group,tile,blocks", *rows]))
    found = cases.find(table)
    assert len(found) == 5 * 7 + 3 * 4
    assert {case.group for case in found} == {
        *(f"w block {k}" for k in range(5)),
        *(f"e block {k}" for k in range(3)),
    }
    assert found.buffer == 20  # the largest tile
    assert found.channels == ("band 1", "band 2", "band 3", "band 4")
    whole = cases.scene(tmp_path / "west/scene.tif", tmp_path / "west/cover.tif", tile=10, name="w")
    for got, want in zip(found[:35], whole, strict=True):
        assert (got.id, got.window, got.group) == (want.id, want.window, want.group)
    sample = found[35].load()
    assert sample.id == "e 0-0"
    full = msa.load(tmp_path / "east/scene.tif", tmp_path / "east/cover.tif")
    np.testing.assert_array_equal(sample.image, full.image[:, :20, :20])
    np.testing.assert_array_equal(sample.label, full.label[:20, :20])
    for train, test in cases.split(found, folds=4):
        assert {found[i].group for i in train}.isdisjoint(found[i].group for i in test)


def test_a_table_keeps_the_tiles_of_a_group_together_and_whole_rasters_whole(tmp_path):
    for name in "abc":
        files.raster(tmp_path / f"{name}.tif", ord(name))
    table = tmp_path / "tiles.csv"
    table.write_text("image,group,tile\na.tif,first,40\nb.tif,second,40\nc.tif,,\n")
    found = cases.find(table)
    assert [case.group for case in found] == ["first"] * 4 + ["second"] * 4 + [None]
    assert found[-1].window is None
    assert [case.id for case in found[:4]] == ["a 0-0", "a 0-1", "a 1-0", "a 1-1"]


def test_the_shipped_table_of_tiles(samples):
    found = cases.find(samples / "multispectral" / "tiles.csv")
    assert found.channels == ("B2", "B3", "B4", "B8", "B11", "B12")
    assert {case.window[0].stop - case.window[0].start for case in found} == {found.buffer}
    for train, test in cases.split(found):
        assert len(train) > 2 * len(test) > 0


def test_real_data(real_data):
    brain = cases.find(real_data / "mri_ms_brain")
    assert brain.channels == ("flair", "t1", "t1post", "t2")
    assert [case.id for case in brain] == ["patient07", "patient26"]
    heads = cases.find(real_data / "mri_hippocampus")
    assert len(heads) == 195
    assert heads[0].load().grid.ndim == 3
    assert heads[:7].labels == {"background": 0, "class 1": 1, "class 2": 2}
    sections = cases.find(real_data / "em_membrane")
    assert [case.id for case in sections] == [str(k) for k in range(30)]
    scenes = cases.find(real_data / "geo_sentinel2")
    assert scenes[0].label is not None
    assert scenes[0].label.parent.name == "landcover"
    sample = scenes[0].load()
    assert sample.image.shape == (25, 224, 224)
    assert [c.name for c in sample.channels] == list(scenes.channels)
    assert len(set(scenes.channels)) == 25


def test_names_written_are_the_data_sets(tmp_path):
    sample = cases.find(files.nnunet(tmp_path / "set"))[0].load()
    names = [path.name for path in msa.save(sample, tmp_path / "out")]
    assert names[:2] == ["a_1_0000.nii.gz", "a_1_0001.nii.gz"]


def test_a_window_is_a_part_of_a_raster(tmp_path):
    image = files.raster(tmp_path / "scene.tif", nodata=-1)
    label = files.raster(tmp_path / "label.tif", shape=(1, 50, 70), values=(0, 1))
    window = (slice(3, 23), slice(40, 70))
    case = cases.Case("part", (image,), label, window)
    sample, whole = case.load(), msa.load(image, label)
    np.testing.assert_array_equal(sample.image, whole.image[:, 3:23, 40:70])
    np.testing.assert_array_equal(sample.label, whole.label[3:23, 40:70])
    corner = np.array([[0.0, 0.0]])
    np.testing.assert_allclose(
        sample.grid.world_of(corner), whole.grid.world_of(corner + np.array([3, 40]))
    )
    written = msa.load(msa.save(sample, tmp_path / "out")[0])
    np.testing.assert_allclose(written.grid.affine, sample.grid.affine)


def test_cases_travel_to_workers(tmp_path):
    found = cases.find(files.nnunet(tmp_path))
    again = pickle.loads(pickle.dumps(found))
    assert list(again) == list(found)
    assert {case: 1 for case in found}[again[0]] == 1


def test_the_package_does_not_import_it():
    code = "import sys, medsataug; sys.exit('medsataug.cases' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
