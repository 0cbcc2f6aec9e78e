"""The algebra of values: folding equals applying one step after the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsataug.values import Barrier, ChannelAffine, Tile, fold_values

CHANNELS = 3


@st.composite
def channel_affines(draw, where=("valid", "all")):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mixed = draw(st.booleans())
    shape = (CHANNELS, CHANNELS) if mixed else CHANNELS
    names = draw(st.sampled_from([None, None, ("a", "b", "c")]))
    gain, bias = rng.uniform(-2, 2, shape), rng.uniform(-5, 5, CHANNELS)
    return ChannelAffine(gain, bias, names, draw(st.sampled_from(where)))


def apply(steps, x):
    for step in steps:
        if isinstance(step, ChannelAffine):
            x = step.matrix @ x + step.bias[:, None]
    return x


IMAGE = np.random.default_rng(1).uniform(-9, 9, (CHANNELS, 20))


@settings(max_examples=60, deadline=None)
@given(st.lists(channel_affines(), max_size=6))
def test_fold_equals_one_after_the_other(steps):
    folded = fold_values(steps)
    np.testing.assert_allclose(apply(folded, IMAGE), apply(steps, IMAGE), atol=1e-6, rtol=1e-9)
    for a, b in itertools.pairwise(folded):
        assert a.where != b.where
    names = [s.names for s in steps if s.names]
    assert [s.names for s in folded if s.names][-1:] == names[-1:]


@settings(max_examples=40, deadline=None)
@given(st.lists(channel_affines(("valid",)), min_size=3, max_size=3))
def test_folding_is_associative(steps):
    a, b, c = steps
    left = fold_values([*fold_values([a, b]), c])
    right = fold_values([a, *fold_values([b, c])])
    np.testing.assert_allclose(apply(left, IMAGE), apply(right, IMAGE), atol=1e-6, rtol=1e-9)


def test_what_changes_nothing_is_dropped():
    ones, zeros = np.ones(CHANNELS), np.zeros(CHANNELS)
    assert fold_values([ChannelAffine(ones, zeros)]) == []
    assert fold_values([ChannelAffine(np.eye(CHANNELS), zeros)]) == []
    assert fold_values([ChannelAffine(2 * ones, zeros), ChannelAffine(ones / 2, zeros)]) == []
    assert len(fold_values([ChannelAffine(ones, zeros, ("a", "b", "c"))])) == 1
    assert len(fold_values([ChannelAffine(np.ones((1, CHANNELS)), np.zeros(1))])) == 1


@pytest.mark.parametrize("between", [Tile("gamma", ((1.5,),)), Barrier()])
def test_other_steps_part_what_would_fold(between):
    gain = ChannelAffine(np.full(CHANNELS, 2.0), np.ones(CHANNELS))
    folded = fold_values([gain, between, gain])
    assert [type(s) for s in folded] == [ChannelAffine, type(between), ChannelAffine]


@pytest.mark.parametrize("where", ["nonzero", (1, 2)])
def test_a_place_that_depends_on_the_values_does_not_fold(where):
    gain = ChannelAffine(np.full(CHANNELS, 2.0), np.ones(CHANNELS), None, where)
    assert len(fold_values([gain, gain])) == 2


def test_channel_counts_may_change():
    to_one = ChannelAffine(np.array([[0.2, 0.3, 0.5]]), np.array([1.0]), ("grey",))
    double = ChannelAffine(np.array([2.0]), np.array([-1.0]))
    (folded,) = fold_values([to_one, double])
    np.testing.assert_allclose(folded.gain, [[0.4, 0.6, 1.0]])
    np.testing.assert_allclose(folded.bias, [1.0])
    assert folded.names == ("grey",)
