"""The contract checks fail where something is broken: each is shown a bug of its kind."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import medsataug as msa
from medsataug import execute, resample
from medsataug.kernels import gather
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.ranges import Number, Range
from medsataug.transforms.base import Cases, Transform, ValueTransform
from medsataug.values import LabelStep, Tile
from tests import contracts, harness, phantoms

DIMENSIONS = [2, 3]


def moved_by(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let resampling use other matrices than the plan says."""
    right = execute.resample_image

    def wrong(spatial: SpatialMap, *arguments: Any) -> Any:
        return right(harness.shifted(spatial, change), *arguments)

    monkeypatch.setattr(execute, "resample_image", wrong)


def transposed(matrix: Any) -> Any:
    n = len(matrix) - 1
    matrix[:n, :n] = matrix[:n, :n].T.copy()
    return matrix


def half_a_voxel(matrix: Any) -> Any:
    matrix[:-1, -1] += 0.5
    return matrix


@pytest.mark.parametrize("ndim", DIMENSIONS)
@pytest.mark.parametrize("change", [transposed, half_a_voxel])
def test_wrong_positions_are_caught(monkeypatch, ndim, change):
    contracts.check_ramp(msa.Rotate, ndim)
    moved_by(monkeypatch, change)
    for check in (contracts.check_ramp, contracts.check_world):
        with pytest.raises(AssertionError):
            check(msa.Rotate, ndim)


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_a_label_that_goes_another_way_is_caught(monkeypatch, ndim):
    right = resample.resample_image

    def wrong(spatial, image, valid, label, *rest):
        out, _, whole = right(spatial, image, valid, label, *rest)
        late = right(harness.shifted(spatial, lambda m: m + 3 * _last_column(m)), image,
                     valid, label, *rest)[1]  # fmt: skip
        return out, late, whole

    monkeypatch.setattr(execute, "resample_image", wrong)
    with pytest.raises(AssertionError):
        contracts.check_ramp(msa.Rotate, ndim)


def _last_column(matrix: Any) -> Any:
    out = np.zeros_like(matrix)
    out[:-1, -1] = 1
    return out


def fails(kind: type[Transform], check: Any, ndim: int = 3) -> None:
    """The check fails on this transform, which is known under its name meanwhile."""
    with harness.registered(kind), pytest.raises(AssertionError):
        check(kind, ndim)


class Probe(ValueTransform):
    """Add a number, as it should be.

    Parameters
    ----------
    amount : range

    Source: none.
    """

    cases: ClassVar[Cases] = Cases(zero={"amount": 0}, full={"amount": (30, 40)})

    amount: Number = Range.of(1)

    def sample(self, draws: Any, state: Any) -> Any:
        value = draws.draw("amount", self.amount)
        return self.tile("probe", self.for_each(draws, state, lambda: lambda _: (value,)))

    @staticmethod
    def kernel(x: Any, p: Any, first: int, key: int) -> None:
        x += np.float32(p[0])


@pytest.mark.parametrize("check", contracts.CHECKS, ids=lambda c: c.__name__[6:])
@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_the_honest_probe_passes(check, ndim):
    with harness.registered(Probe):
        check(Probe, ndim)


def like(**changes: Any) -> type[Transform]:
    """Return the probe with something broken."""
    notes = {k: v for k, v in Probe.__annotations__.items() if k not in changes.get("hide", ())}
    changes.pop("hide", None)
    body = {"__doc__": Probe.__doc__, "__module__": __name__, "__annotations__": notes,
            "cases": Probe.cases, "amount": Probe.model_fields["amount"].default}  # fmt: skip
    return type("Probe", (Probe,), body | changes)


def test_no_change_is_caught():
    fails(like(sample=lambda self, draws, state: ()), contracts.check_change)


def test_change_at_zero_is_caught():
    def kernel(x, p, first, key):
        x += np.float32(p[0] + 1e-3)

    fails(like(kernel=staticmethod(kernel)), contracts.check_identity)


def test_leaking_classes_are_caught():
    """Labels blended instead of voted."""

    def sample(self, draws, state):
        return (LabelStep("probe:blend"),)

    def blend(label, image, params, key):
        return np.rint((label.astype(float) + np.roll(label, 1, -1)) / 2)

    fails(like(sample=sample, blend=staticmethod(blend)), contracts.check_labels)


def test_labels_interpolated_as_images_are_caught(monkeypatch):
    def blended(src, at, frac, steps, owner, out):
        values, n, one = np.empty(len(at), np.float32), len(at), np.zeros(1, np.int64)
        rows = (1, 0, n, 1)
        gather.linear_3d(src.astype(np.float32), one, at, frac, steps, n, values, one, rows)
        out[:] = np.rint(values[::owner])

    monkeypatch.setitem(resample._VOTE, 3, blended)
    with pytest.raises(AssertionError):
        contracts.check_labels(msa.Rotate, 3)


def test_chance_outside_the_stream_is_caught():
    rng = np.random.default_rng()

    def sample(self, draws, state):
        value = float(rng.random())
        return self.tile("probe", self.for_each(draws, state, lambda: lambda _: (value,)))

    fails(like(sample=sample), contracts.check_determinism)


def test_drawing_in_vain_is_caught():
    def sample(self, draws, state):
        draws.uniform(), draws.uniform()
        return self.tile("probe", self.for_each(draws, state, lambda: lambda _: (5.0,)))

    fails(like(sample=sample), contracts.check_chance)


def test_a_kernel_that_looks_at_its_slice_is_caught():
    def kernel(x, p, first, key):
        x += np.float32(p[0] * 1e-3) * x.mean()

    fails(like(kernel=staticmethod(kernel)), contracts.check_threads)


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_nodata_taken_for_data_is_caught(monkeypatch, ndim):
    right = execute._working
    monkeypatch.setattr(
        execute, "_working", lambda image, valid, **rest: right(image, None, **rest)
    )
    for kind in (msa.Brightness, msa.Gamma):
        with pytest.raises(AssertionError):
            contracts.check_nodata(kind, ndim)


@pytest.mark.parametrize("ndim", DIMENSIONS)
def test_nodata_that_spreads_is_caught(monkeypatch, ndim):
    right = execute.resample_image
    monkeypatch.setattr(
        execute, "resample_image", lambda s, i, valid, *rest: right(s, i, None, *rest)
    )
    with pytest.raises(AssertionError):
        contracts.check_nodata(msa.Rotate, ndim)


def test_ignoring_where_is_caught():
    def sample(self, draws, state):
        return (Tile("probe", ((5.0,),) * len(state.channels)),)

    fails(like(sample=sample), contracts.check_where)


def test_changed_inputs_are_caught():
    def sample(self, draws, state):
        return (LabelStep("probe:spoil"),)

    def spoil(label, image, params, key):
        label[...] = 0
        return label

    kind = like(sample=sample, spoil=staticmethod(spoil))
    with harness.registered(kind), pytest.raises((AssertionError, ValueError)):
        contracts.check_untouched(kind, 3)


def test_missing_words_are_caught():
    for kind in (NoSource, NoParameters):
        with harness.registered(kind), pytest.raises(AssertionError, match=r"Source|Parameters"):
            contracts.check_documented(kind, 3)


class NoSource(ValueTransform):
    """Add five.

    Parameters
    ----------
    amount : float
    """

    cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

    amount: float = 5

    def sample(self, draws: Any, state: Any) -> Any:
        return self.tile("no_source", self.for_each(draws, state, lambda: lambda _: (5.0,)))


class NoParameters(ValueTransform):
    """Add five.

    Source: none.
    """

    cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

    amount: float = 5


def test_a_grid_that_does_not_follow_is_caught():
    """A crop that does not say it regrids leaves the affine behind the content."""

    class Cut(Transform):
        """Cut."""

        cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

        def sample(self, draws: Any, state: Any) -> Any:
            shape = tuple(n - 3 for n in state.grid.shape)
            start = homogeneous(np.eye(state.ndim), np.full(state.ndim, 2.0))
            return (SpatialMap(shape, (Affine(start),), regrids=False),)

    with harness.registered(Cut):
        plan = msa.Pipeline([Cut()], geometry="moved").plan(phantoms.sample(3), 1)
        np.testing.assert_array_equal(plan.grid.affine, phantoms.grid(3).affine)
        assert not np.array_equal(plan.exact, plan.grid.affine)
