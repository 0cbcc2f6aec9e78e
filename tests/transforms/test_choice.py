"""OneOf and SomeOf choose as often as they should."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import medsataug as msa
from tests import phantoms

CHILDREN = [
    msa.Brightness(offset=(1, 2)), msa.Gamma(exponent=(1.2, 1.4)), msa.Contrast(factor=0.5),
]  # fmt: skip


def chosen(transform, count):
    pipeline, sample = msa.Pipeline([transform]), phantoms.sample(2)
    plans = [pipeline.plan(sample, 1, i) for i in range(count)]
    return [dict(p.drawn).get(type(transform).__name__, {}).get("chose", "") for p in plans]


def test_one_of_by_weight():
    found = chosen(msa.OneOf(transforms=CHILDREN, weights=(1, 3, 0)), 800)
    share = found.count("Gamma") / 800
    assert found.count("Contrast") == 0
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 800)
    found = chosen(msa.OneOf(transforms=CHILDREN), 800)
    for child in CHILDREN:
        assert abs(found.count(type(child).__name__) / 800 - 1 / 3) < 4 * np.sqrt(2 / 9 / 800)
    for weights in ((1, 1), (1, -1, 1), (0, 0, 0)):
        with pytest.raises(msa.ConfigError, match="weights"):
            chosen(msa.OneOf(transforms=CHILDREN, weights=weights), 1)


def test_some_of_without_repetition_in_order():
    found = chosen(msa.SomeOf(transforms=CHILDREN, count=2), 600)
    names = [type(c).__name__ for c in CHILDREN]
    pairs = [", ".join(p) for p in combinations(names, 2)]
    counts = [found.count(p) for p in pairs]
    assert sum(counts) == 600
    assert np.all(np.abs(np.array(counts) - 200) < 4 * np.sqrt(600 * 2 / 9))
    sizes = [
        len(c.split(", ")) if c else 0
        for c in chosen(msa.SomeOf(transforms=CHILDREN, count=(0, 3)), 600)
    ]
    assert np.all(np.abs(np.bincount(sizes, minlength=4) - 150) < 4 * np.sqrt(600 * 3 / 16))
    with pytest.raises(msa.ConfigError, match=r"SomeOf\.count"):
        chosen(msa.SomeOf(transforms=CHILDREN, count=4), 1)


def test_chosen_children_do_what_they_do_alone():
    """A chain of all of them, with the state of each handed to the next."""
    sample = phantoms.sample(2)
    children = [msa.Crop(size=(12, 8)), msa.Crop(size=(6, 6)), msa.Brightness(offset=5)]
    got = msa.SomeOf(transforms=children, count=3)(sample, seed=1)
    expected = msa.Pipeline(children)(sample, seed=1)
    np.testing.assert_array_equal(got.image, expected.image)
    np.testing.assert_array_equal(got.grid.affine, expected.grid.affine)


def test_a_child_that_normalises_makes_float():
    sample = phantoms.sample(2, "uint8")
    out = msa.OneOf(transforms=[msa.Normalize(), msa.Normalize(method="minmax")])(sample, seed=1)
    assert out.image.dtype == np.float32


def test_errors_name_the_child():
    with pytest.raises(msa.ConfigError, match=r"transforms\[1\] Gamma.exponent"):
        msa.OneOf(transforms=[{"contrast": {}}, {"gamma": {"exponent": -1}}])


@pytest.mark.parametrize("kind", [msa.OneOf, msa.SomeOf])
def test_there_is_something_to_choose_from(kind):
    with pytest.raises(msa.ConfigError, match=rf"{kind.__name__}\.transforms"):
        kind(transforms=[])
