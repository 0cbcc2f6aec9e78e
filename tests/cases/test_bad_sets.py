"""Incomplete and damaged data sets: one message that names the cases."""

from __future__ import annotations

import json

import pytest

from medsataug import cases
from medsataug.errors import ConfigError, FormatError, GeometryError
from tests.cases import files


def changed(root, **held):
    given = json.loads((root / "dataset.json").read_text())
    files.described(root, **{k: v for k, v in (given | held).items() if v is not None})


def test_all_that_is_missing_is_named_at_once(tmp_path):
    root = files.nnunet(tmp_path, names=[f"c{k}" for k in range(9)])
    for k in range(7):
        (root / f"labelsTr/c{k}.nii.gz").unlink()
    with pytest.raises(ConfigError, match=r"case c0: there is no label.*c4.*; and 2 more;") as told:
        cases.find(root)
    assert "c5" not in str(told.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (r / "imagesTr/a_2_0001.nii.gz").unlink(), r"case a_2: channel 1 is missing"),
        (
            lambda r: files.volume(r / "imagesTr/a_2_0002.nii.gz"),
            r"case a_2: channel 2 is one too many for the 2 in channel_names",
        ),
        (
            lambda r: files.volume(r / "labelsTr/b.nii.gz", values=(0, 1)),
            r"label labelsTr/b.nii.gz has no image",
        ),
        (lambda r: files.volume(r / "imagesTr/b.nii.gz"), r"b.nii.gz does not end in _0000.nii.gz"),
        (lambda r: changed(r, numTraining=4), r"numTraining is 4, but there are 3 cases"),
        (lambda r: changed(r, file_ending=None), r"file_ending: None; a suffix such as '.nii.gz'"),
        (lambda r: changed(r, file_ending=".mha"), r"no case in imagesTr|numTraining is 3"),
        (lambda r: changed(r, channel_names={"1": "T1"}), r"channel_names: .* without gaps"),
        (lambda r: changed(r, labels=None), r"labels: names and values expected"),
        (lambda r: changed(r, labels={"0": "background"}), r"the order of the .* Decathlon"),
        (
            lambda r: changed(r, labels={"background": 0, "a": [1, 2]}),
            r"regions_class_order: None; a label value for each of the 1",
        ),
        (
            lambda r: changed(r, labels={"background": 0, "ignore": 1, "a": 2}),
            r"ignore is 1; one number above all others",
        ),
        (lambda r: changed(r, labels={"background": 0, "a": 1, "b": 1}), r"two names have one"),
        (
            lambda r: changed(r, dataset={"x": {"images": ["a.nii.gz", "b.nii.gz"], "label": "c"}}),
            r"case x: a.nii.gz is missing",
        ),
        (lambda r: changed(r, dataset={"x": "a"}), r"case x: .* expected in dataset"),
    ],
)
def test_nnunet(tmp_path, spoil, message):
    root = files.nnunet(tmp_path)
    spoil(root)
    with pytest.raises(ConfigError, match=message) as told:
        cases.find(root)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"modality": None}, r"modality: None; names under"),
        ({"labels": {"background": 0}}, r"labels: .* such as \{\"0\": \"background\"\}"),
        ({"training": []}, r"training: a list of"),
        ({"training": ["./imagesTr/liver_0.nii.gz"]}, r"training\[0\].* names no image and label"),
        ({"numTraining": 3}, r"numTraining is 3, but training lists 2"),
    ],
)
def test_decathlon(tmp_path, held, message):
    changed(files.decathlon(tmp_path), **held)
    with pytest.raises(ConfigError, match=message):
        cases.find(tmp_path)


def test_decathlon_names_missing_files(tmp_path):
    root = files.decathlon(tmp_path)
    (root / "labelsTr/liver_1.nii.gz").unlink()
    with pytest.raises(ConfigError, match=r"case liver_1: liver_1.nii.gz is missing in labelsTr"):
        cases.find(root)


def test_folders(tmp_path):
    files.picture(tmp_path / "images/a.png")
    files.picture(tmp_path / "images/b.png")
    files.picture(tmp_path / "labels/b.png")
    files.picture(tmp_path / "labels/c.png")
    with pytest.raises(ConfigError, match=r"case a: no label in labels/; label labels/c.png has"):
        cases.find(tmp_path)
    files.raster(tmp_path / "images/b.tif")
    with pytest.raises(FormatError, match=r"b.png and b.tif bear one name"):
        cases.find(tmp_path)


def test_a_band_is_missing(tmp_path):
    for name in ("a", "b"):
        files.raster(tmp_path / f"l1c/{name}.tif")
        files.raster(tmp_path / f"mask/{name}.tif", values=(0, 1))
    files.raster(tmp_path / "l2a/a.tif")
    with pytest.raises(ConfigError, match=r"case b: no file in l2a/"):
        cases.find(tmp_path)


def test_case_folders(tmp_path):
    for name in ("p1", "p2", "p3"):
        for part in ("t1", "t2"):
            files.volume(tmp_path / name / f"{part}.nii.gz")
        files.volume(tmp_path / name / "seg.nii.gz", values=(0, 1))
    (tmp_path / "p2/t2.nii.gz").unlink()
    (tmp_path / "p3/seg.nii.gz").unlink()
    with pytest.raises(
        ConfigError, match=r"case p2: no file for the channel t2; case p3: no label"
    ):
        cases.find(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,b", r"its columns are path, label; image is needed"),
        ("image,label,gruop\na,b,c", r"allowed are image, label, id, group"),
        ("image,label\n", r"the table has no rows"),
        ("image,label\n,x.png", r"line 2: names no image"),
        ("image,label\na.png,", r"case a \(line 2\): names no label"),
        ("image,label\nnone.png,a.png", r"case a \(line 2\): none.png is missing"),
        ("image\na.png\na.png", r"lines 2 and 3 are both called 'a'; add a column id"),
        ("image\na.png\na.png;b.png", r"rows name 1 or 2 images"),
        ("image\na.png,b.png", r"line 2 has more fields .* parted by ';'"),
    ],
)
def test_table(tmp_path, text, message):
    files.picture(tmp_path / "a.png")
    files.picture(tmp_path / "b.png")
    table = tmp_path / "list.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=message):
        cases.find(table)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,,x,", r"case a \(line 2\): tile is 'x'; a whole number, 1 or more"),
        ("a.png,,0,", r"case a \(line 2\): tile is '0'; a whole number"),
        ("a.png,,-8,", r"tile is '-8'; a whole number"),
        ("a.png,,8.5,", r"tile is '8.5'; a whole number"),
        ("a.png,,²,", r"tile is '²'; a whole number"),
        ("a.png,,8,many", r"case a \(line 2\): blocks is 'many'; a whole number"),
        ("a.png,,,3", r"case a \(line 2\): blocks is 3, but tile is empty"),
        ("a.png,g,8,3", r"case a \(line 2\): group keeps all tiles together, blocks part them"),
        ("a.png,,20,", r"line 2\): .*a.png: 1 x 2 tiles of 20 pixels for 5 folds; use smaller"),
        ("v.nii.gz,,4,", r"case v \(line 2\): .*a raster \(Y, X\) is cut into tiles"),
        ("a.png,,x,\nv.nii.gz,,4,", r"line 2\): tile is 'x'.*; case v \(line 3\): .*a raster"),
    ],
)
def test_a_scene_in_a_table(tmp_path, row, message):
    files.picture(tmp_path / "a.png")
    files.volume(tmp_path / "v.nii.gz")
    table = tmp_path / "tiles.csv"
    table.write_text(f"image,group,tile,blocks\n{row}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        cases.find(table)
    assert "\n" not in str(caught.value)


def test_no_layout_fits(tmp_path):
    with pytest.raises(FormatError, match=r"nnunet: .*decathlon: .*table: .*folders: .*case-fold"):
        cases.find(tmp_path)
    with pytest.raises(FormatError, match=r"there is no such file"):
        cases.find(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"layout: 'nnunetv2' is not known; allowed: nnunet, dec"):
        cases.find(tmp_path, layout="nnunetv2")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(FormatError, match=r"dataset.json: is not JSON"):
        cases.find(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(FormatError, match=r"an object in braces expected, got a list"):
        cases.find(tmp_path)


def test_empty_folders(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(ConfigError, match=r"its folders images are empty"):
        cases.find(tmp_path)


def test_what_only_loading_shows(tmp_path):
    root = files.nnunet(tmp_path)
    found = cases.find(root)
    files.volume(root / "labelsTr/a_1.nii.gz", shape=(9, 11, 12), values=(0, 1))
    with pytest.raises(GeometryError, match=r"^case a_1: .*shape"):
        found[0].load()
    files.volume(root / "labelsTr/a_1.nii.gz", values=(0, 1, 7, 9))
    with pytest.raises(ConfigError, match=r"^case a_1: its label holds 7, 9, but .* only 0, 1, 2"):
        found[0].load()
    file = root / "imagesTr/a_2_0001.nii.gz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FormatError, match=r"^case a_2: .*a_2_0001.nii.gz.*truncated"):
        found[1].load()
    (root / "imagesTr/a_10_0000.nii.gz").unlink()
    with pytest.raises(FormatError, match=r"^case a_10: .*no such file"):
        found[2].load()
    with pytest.raises(ConfigError, match=r"case a_1: .*case a_2: .*case a_10: .*; correct or"):
        found.check()


def test_channels_that_differ(tmp_path):
    root = files.decathlon(tmp_path)
    files.volume(root / "imagesTr/liver_1.nii.gz", channels=3)
    with pytest.raises(ConfigError, match=r"case liver_1: its files hold 3 channels, .* names 2"):
        cases.find(root)[1].load()


def test_ids_and_windows(tmp_path):
    image = files.picture(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"two are called 'a'"):
        cases.CaseSet([cases.Case("a", (image,)), cases.Case("a", (image,))])
    with pytest.raises(GeometryError, match=r"case a: the window .* does not lie inside"):
        cases.Case("a", (image,), window=(slice(0, 20), slice(20, 31))).load()
