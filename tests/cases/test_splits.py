"""Folds: no leak between training and testing."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from medsataug import cases
from medsataug.cases.scenes import _blocks
from medsataug.errors import ConfigError
from tests.cases import files


def made(count, groups=None):
    return [
        cases.Case(f"c{k}", (Path(f"{k}.png"),), group=None if groups is None else groups[k])
        for k in range(count)
    ]


def once(folds, count):
    assert sorted(i for _, test in folds for i in test) == list(range(count))
    for train, test in folds:
        assert train == sorted(train)
        assert test == sorted(test)
        assert not set(train) & set(test)
        assert train
        assert test


def test_groups_stay_together_and_folds_are_alike_in_size():
    groups = [f"p{k // 3}" for k in range(36)]
    given = made(36, groups)
    folds = cases.split(given, folds=4, seed=3)
    once(folds, 36)
    for train, test in folds:
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        assert len(train) + len(test) == 36
        assert len(test) == 9


def test_a_split_is_the_seeds_alone():
    given = made(20)
    first = cases.split(given, seed=1)
    assert first == cases.split(given, seed=1)
    assert first != cases.split(given, seed=2)
    turned = cases.split(given[::-1], seed=1)
    names = [{given[i].id for i in test} for _, test in first]
    assert [{given[::-1][i].id for i in test} for _, test in turned] == names


def test_the_drawn_order_is_pinned():
    folds = cases.split(made(7), folds=3, seed=0)
    assert [test for _, test in folds] == [[0, 2, 5], [1, 4], [3, 6]]


def test_a_series_is_cut_into_runs():
    folds = cases.split(made(30), folds=5, ordered=True)
    assert [test for _, test in folds] == [list(range(k, k + 6)) for k in range(0, 30, 6)]
    folds = cases.split(made(30), folds=5, ordered=True, buffer=2)
    once(folds, 30)
    for train, test in folds:
        assert min(abs(i - j) for i in train for j in test) == 3
        assert len(train) in (30 - 6 - 2, 30 - 6 - 4)
    for count, number in itertools.product(range(2, 12), range(2, 6)):
        if number <= count:
            once(cases.split(made(count), number, ordered=True), count)


def test_a_series_of_groups():
    groups = list("aaabbbbbcdddddd")
    folds = cases.split(made(15, groups), folds=3, ordered=True)
    once(folds, 15)
    for train, test in folds:
        assert not {groups[i] for i in train} & {groups[i] for i in test}
    with pytest.raises(ConfigError, match=r"cases of group a do not follow one another"):
        cases.split(made(4, list("abab")), folds=2, ordered=True)


def pixels(shape, tiles):
    seen = np.zeros(shape, bool)
    for case in tiles:
        seen[case.window] = True
    return seen


@pytest.mark.parametrize(("size", "tile", "folds", "buffer"), [
    ((300, 470), 40, 5, None), ((300, 470), 40, 4, 0), ((210, 100), 32, 3, 40),
    ((64, 640), 64, 5, 1),
])  # fmt: skip
def test_no_tested_pixel_is_near_a_training_tile(tmp_path, size, tile, folds, buffer):
    image = files.raster(tmp_path / "scene.tif", shape=(1, *size))
    label = files.raster(tmp_path / "label.tif", shape=(1, *size), values=(0, 1))
    tiles = cases.scene(image, label, tile=tile, folds=folds, buffer=buffer)
    assert pixels(size, tiles).all()
    assert len({case.group for case in tiles}) == folds
    away = tile if buffer is None else buffer
    found = cases.split(tiles, folds)
    once(found, len(tiles))
    for train, test in found:
        near = pixels(size, tiles.pick(test))
        for axis in range(2):  # grown by ``away`` pixels on every side
            grown = near.copy()
            for shift in range(1, away + 1):
                grown |= np.roll(near, shift, axis) & (np.indices(size)[axis] >= shift)
                ends = np.indices(size)[axis] < size[axis] - shift
                grown |= np.roll(near, -shift, axis) & ends
            near = grown
        assert not (near & pixels(size, tiles.pick(train))).any()
    sample = tiles[-1].load()
    assert sample.image.shape == (1, tile, tile)
    assert sample.label.shape == (tile, tile)


def test_blocks_are_rectangles_of_like_size():
    for rows, columns, count in itertools.product(range(1, 7), range(1, 7), range(1, 12)):
        if rows * columns < count:
            continue
        blocks = _blocks(((0, rows), (0, columns)), count)
        seen = np.zeros((rows, columns), int)
        for (a, b), (c, d) in blocks:
            assert b > a
            assert d > c
            seen[a:b, c:d] += 1
        assert len(blocks) == count
        assert (seen == 1).all()


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match=r"folds: 5 for 2 groups of 6 cases"):
        cases.split(made(6, list("aaabbb")))
    with pytest.raises(ConfigError, match=r"folds: 1 for"):
        cases.split(made(6), folds=1)
    with pytest.raises(ConfigError, match=r"buffer: -1"):
        cases.split(made(6), buffer=-1)
    with pytest.raises(ConfigError, match=r"buffer: 9 leaves nothing to train on in fold 0"):
        cases.split(made(6), folds=2, ordered=True, buffer=9)
    image = files.raster(tmp_path / "scene.tif")
    with pytest.raises(ConfigError, match=r"1 x 1 tiles of 256 pixels for 5 folds"):
        cases.scene(image)
    with pytest.raises(ConfigError, match=r"tile=0"):
        cases.scene(image, tile=0)
    volume = files.volume(tmp_path / "v.nii.gz")
    with pytest.raises(ConfigError, match=r"a raster \(Y, X\) is cut into tiles"):
        cases.scene(volume, tile=4)


def test_real_sections_and_scene(real_data):
    sections = cases.find(real_data / "em_membrane")
    for train, test in cases.split(sections, ordered=True, buffer=1):
        assert min(abs(i - j) for i in train for j in test) == 2
    name = "637U_59R_1_3.tif"
    scene = real_data / "geo_sentinel2"
    tiles = cases.scene(
        [scene / "l1c" / name, scene / "l2a" / name], scene / "landcover" / name, tile=32
    )
    once(cases.split(tiles), 49)
    assert tiles[3].load().image.shape == (25, 32, 32)
