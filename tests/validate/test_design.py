"""Designs: every case is tested as it should be, and no set sees another's cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medsataug.cases import Case
from medsataug.errors import ConfigError
from medsataug.validate.design import folds, sets


def cases(count: int, groups: int = 0) -> list[Case]:
    return [
        Case(f"c{k}", (Path(f"{k}.png"),), group=f"g{k % groups}" if groups else None)
        for k in range(count)
    ]


def tiles() -> list[Case]:
    boxes = [(slice(8 * k, 8 * k + 8), slice(0, 8)) for k in range(6)]
    return [Case(f"t{k}", (Path("a.tif"),), window=box) for k, box in enumerate(boxes)]


def test_folds_test_every_case_once_in_each_repeat() -> None:
    made = folds(cases(11), 3, repeats=4, seed=5)
    assert made.kind == "folds"
    assert len(made.splits) == 12
    assert len({s.name for s in made.splits}) == len({s.seed for s in made.splits}) == 12
    for repeat in range(4):
        own = made.splits[3 * repeat : 3 * repeat + 3]
        assert sorted(i for s in own for i in s.test) == sorted(c.id for c in cases(11))
        for one in own:
            assert not set(one.training) & set(one.test)
            assert len(one.training) + len(one.test) == 11
    assert made.splits[0].test != made.splits[3].test  # drawn anew


def test_sizes_are_parts_of_one_another() -> None:
    made = folds(cases(12), 3, sizes=(2, 6, 4), seed=1)
    assert made.sizes == (2, 4, 6)
    assert [s.name for s in made.of(4)] == ["r1f1n4", "r1f2n4", "r1f3n4"]
    for few, some, many in zip(made.of(2), made.of(4), made.of(6), strict=True):
        assert set(few.training) < set(some.training) < set(many.training)
        assert few.test == some.test == many.test
        assert few.seed == many.seed  # the same first weights
    assert "9 trainings of each recipe, with 2 or 4 or 6 cases, tested with 4" in made.sentence


def test_blocks_are_neighbours_and_keep_their_distance() -> None:
    made = folds(cases(12), 3, ordered=True, buffer=1)
    assert made.kind == "blocks"
    middle = made.splits[1]
    assert middle.test == ("c4", "c5", "c6", "c7")
    assert "c3" not in middle.training
    assert "c8" not in middle.training


def test_sets_are_disjoint_and_meet_the_same_cases() -> None:
    few, many = sets(cases(30), 6, 6, seed=2), sets(cases(30), 3, 6, seed=2)
    for made, count in ((few, 6), (many, 3)):
        assert len(made.splits) == count
        assert {s.test for s in made.splits} == {few.splits[0].test}
        seen = [i for s in made.splits for i in s.training]
        assert len(seen) == len(set(seen)) == 24
        assert not set(seen) & set(few.splits[0].test)
    assert len({s.seed for s in few.splits}) == 6


def test_groups_stay_together_in_sets() -> None:
    given = cases(40, groups=10)
    group = {c.id: c.group for c in given}
    made = sets(given, 3, 7)
    parts = [{group[i] for i in made.splits[0].test}]
    parts += [{group[i] for i in s.training} for s in made.splits]
    assert sum(map(len, parts)) == 10 == len(set().union(*parts))
    assert len(made.splits[0].test) == 8  # whole groups


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: folds(cases(6), 3, sizes=(5,)), "sizes: 5; r1f1 has 1 to 4 cases to train with"),
        (lambda: folds(cases(6), 3, 2, ordered=True), "repeats: 2; the blocks of a series"),
        (lambda: folds(cases(2), 3), "folds: 3 for 2 groups"),
        (lambda: folds(cases(9, groups=3), 3, 2), "repeats: 2; some folds come again"),
        (lambda: folds(cases(6), 3, buffer=2), "buffer: 2, but these cases are neither tiles"),
        (lambda: folds(tiles(), 2), "buffer: a list of tiles does not say"),
        (lambda: folds(tiles(), 2, ordered=True), "ordered: tiles of a raster are no series"),
        (lambda: sets(tiles(), 2, 1), "sets: tiles of one raster are near one another"),
        (lambda: sets(cases(6), 1, 2), "sets: 1 sets and 2 test cases of 6 cases"),
        (lambda: sets(cases(6), 3, 4), "sets: 3 sets and 4 test cases"),
        (lambda: sets(cases(9, groups=3), 3, 3), "sets: 3, but 2 groups are left"),
    ],
)
def test_what_cannot_be_is_told(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        make()
