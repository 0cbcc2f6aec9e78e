"""What tests of transforms share: running them, comparing results, registering probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug import blocks, finished, mixing, sweep, threads, transforms
from medsataug.company import Company
from medsataug.draws import Draws
from medsataug.maps import Affine, SpatialMap
from medsataug.partners import Partners
from medsataug.plan import Plan
from medsataug.transforms.base import State, Transform
from medsataug.types import Sample
from medsataug.values import Barrier
from tests import phantoms

Kind = type[Transform]


def full(kind: Kind, **more: Any) -> Transform:
    """Transform at full strength."""
    return kind(**kind.cases.full | more)


def pipeline(*chain: Any, **settings: Any) -> msa.Pipeline:
    """Pipeline whose affine follows, so that no transform depends on square voxels."""
    return Accompanied(list(chain), **{"geometry": "exact", **settings})


class Accompanied(msa.Pipeline):
    """Pipeline that always has partners to mix with."""

    def plan(
        self, sample: Any, seed: Any = None, index: int = 0, progress: float = 0.0,
        partners: Any = None,
    ) -> Plan:  # fmt: skip
        partners = phantoms.partners(sample) if partners is None else partners
        return super().plan(sample, seed, index, progress, partners)


def state(sample: Sample) -> State:
    """State before the first transform, among partners."""
    before = State.of(sample, "exact", 0.0)
    chain = pipeline()
    planned = partial(chain._planned, seed=1, index=0, progress=0.0, guest=True)
    before.company = Company(sample, Partners.of(phantoms.partners(sample)), planned)
    return before


def run(transform: Any, sample: Sample, seed: int = 7, index: int = 0, **settings: Any) -> Sample:
    """Result of one transform alone."""
    return pipeline(transform, **settings)(sample, seed=seed, index=index)


def fingerprint(sample: Sample) -> tuple[Any, ...]:
    """Everything that counts as the same bytes."""
    parts = (sample.image, sample.label, sample.valid, sample.soft, sample.grid.affine)
    return tuple(
        None if p is None else (p.dtype.str, p.shape, np.ascontiguousarray(p).tobytes())
        for p in parts
    )


def assert_same(got: Sample, expected: Sample) -> None:
    """Same bytes, with a useful message where they differ."""
    np.testing.assert_array_equal(got.image, expected.image)
    for name in ("label", "valid", "soft"):
        a, b = getattr(got, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert fingerprint(got) == fingerprint(expected)


@contextmanager
def small_blocks(number: int) -> Iterator[None]:
    """Work in ``number`` threads over blocks so small that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 100)
        patch.setattr(sweep, "SLICE", 777)
        patch.setattr(finished, "SLICE", 777)
        patch.setattr(mixing, "SLICE", 77)
        patch.setattr(threads, "count", lambda: number)
        yield


@contextmanager
def registered(*made: Any) -> Iterator[None]:
    """Make transforms known for a while."""
    for kind in made:
        msa.register(kind)
    try:
        yield
    finally:
        for kind in made:
            del transforms._registered[transforms.recipe_name(kind.__name__)]
        transforms.function.cache_clear()


def steps_of(transform: Transform, sample: Sample) -> tuple[Any, ...]:
    """Return the steps of one application."""
    return transform.steps(Draws(1, "a", 0, "T"), state(sample))


def is_structural(kind: Kind, ndim: int) -> bool:
    """Whether it only arranges: cuts, pads, regrids, materialises or holds other transforms.

    Such transforms need no source for a formula.
    """
    if "transforms" in kind.model_fields:
        return True
    made = steps_of(full(kind), phantoms.sample(ndim))
    return all(isinstance(s, Barrier) or (isinstance(s, SpatialMap) and s.regrids) for s in made)


def moves(plan: Plan) -> bool:
    """Whether the whole image moves."""
    return any(s.spatial is not None and s.spatial.channels is None for s in plan.segments)


class Counted(Draws):
    """Stream that counts what is asked of it."""

    asked = 0

    def uniform(self) -> float:
        self.asked += 1
        return super().uniform()

    def words(self, count: int) -> Any:
        self.asked += 1
        return super().words(count)


def shifted(spatial: SpatialMap, change: Callable[[Any], Any]) -> SpatialMap:
    """Map whose matrices are changed: what a bug would make of them."""
    parts = tuple(
        Affine(change(p.matrix.copy())) if isinstance(p, Affine) else p for p in spatial.parts
    )
    return SpatialMap(spatial.out_shape, parts, spatial.regrids, spatial.channels)
