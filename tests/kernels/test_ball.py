"""Distances of a few voxels, against SciPy's exact transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medsataug.kernels.ball import squared_distances


@pytest.mark.parametrize("shape", [(1, 23, 31), (17, 23, 31), (9, 1, 40), (2, 3, 1)])
@pytest.mark.parametrize("reach", [0, 1, 4, 8, 100])
@pytest.mark.parametrize("share", [0, 0.002, 0.3, 1])
def test_exact_up_to_the_reach(shape, reach, share):
    inside = np.random.default_rng(3).random(shape) < share
    rows, got = np.empty(shape, np.uint16), np.empty(shape, np.uint16)
    squared_distances(inside, reach, rows, got)
    assert np.all(got[~inside] > 0)
    want = np.full(shape, np.inf)
    if inside.any():
        want = np.round(ndimage.distance_transform_edt(~inside) ** 2)
    near = want <= reach**2
    np.testing.assert_array_equal(got[near], want[near])
    assert np.all(got[~near] > reach**2)
