"""What every transform owes its users, as functions that fail where it is broken.

`tests/transforms/test_contracts.py` runs them on every transform there is, and
`tests/test_contracts_catch.py` on transforms and kernels broken on purpose.
"""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug import catalog, transforms
from medsataug.errors import MedSatAugError
from medsataug.plan import Plan
from medsataug.roles import Roles, label_fill
from medsataug.transforms.base import ValueTransform
from medsataug.types import Sample
from tests import phantoms
from tests.harness import (
    Counted,
    Kind,
    assert_same,
    fingerprint,
    full,
    is_structural,
    moves,
    pipeline,
    run,
    small_blocks,
    state,
)


def check_determinism(kind: Kind, ndim: int) -> None:
    """Same seed and index, same bytes."""
    sample = phantoms.sample(ndim, valid=phantoms.holes(ndim))
    assert_same(run(full(kind), sample, 7, 3), run(full(kind), sample, 7, 3))


def check_chance(kind: Kind, ndim: int) -> None:
    """Other indices and seeds give other results, where there is chance at all."""
    sample = phantoms.sample(ndim)
    needed = {n: kind.cases.full[n] for n, f in kind.model_fields.items() if f.is_required()}
    candidates = [needed, kind.cases.full]
    if "p" in kind.__annotations__:  # a probability of its own, such as one for each axis
        candidates.append(kind.cases.full | {"p": 0.5})
    asked, varies = 0, False
    for given in candidates:
        try:
            made = kind(**given)
            draws = Counted(1, "a", 0, "T")
            made.steps(draws, state(sample))
        except MedSatAugError:
            continue  # defaults need not suit so small a phantom
        asked = max(asked, draws.asked)
        results = {fingerprint(run(made, sample, 7, i)) for i in range(6)}
        results |= {fingerprint(run(made, sample, s, 0)) for s in range(4)}
        varies |= len(results) > 1
    chance = asked > 2  # one uniform for p, and the words it is made of
    assert varies or not chance, "draws numbers, yet every result is the same"


def check_replay(kind: Kind, ndim: int) -> None:
    """A plan survives JSON and pickle, and gives the same bytes again."""
    sample = phantoms.sample(ndim, valid=phantoms.holes(ndim))
    plan = pipeline(full(kind)).plan(sample, seed=5)
    text = plan.to_json()
    again = Plan.from_json(text)
    assert again.to_json() == text
    expected = plan(sample)
    assert_same(again(sample, phantoms.partners(sample)), expected)
    assert_same(pickle.loads(pickle.dumps(plan))(sample), expected)


def check_recipe(kind: Kind, ndim: int, folder: Any) -> None:
    """A recipe survives YAML, a transform pickle."""
    sample = phantoms.sample(ndim)
    made = full(kind, key="mine", p=1.0)
    assert pickle.loads(pickle.dumps(made)) == made
    given = pipeline(made)
    again = msa.Pipeline.load(given.save(folder / "recipe.yaml"))
    assert again.transforms == given.transforms
    partners = phantoms.partners(sample)
    assert_same(again(sample, seed=2, partners=partners), given(sample, seed=2))


def check_streams(kind: Kind, ndim: int) -> None:
    """Switched off it shifts no other's numbers; ``key`` pins its own."""
    sample = phantoms.sample(ndim)
    others = [msa.GaussianNoise(std=(1, 2)), msa.Brightness(offset=(1, 2)), msa.Contrast()]
    others = [o for o in others if type(o) is not kind]
    off = pipeline(others[0], full(kind, p=0), *others[1:])
    assert_same(off(sample, seed=3), pipeline(*others)(sample, seed=3))
    on = pipeline(others[0], full(kind), *others[1:]).plan(sample, seed=3).drawn
    assert [d for d in on if d[0] != kind.__name__] == list(off.plan(sample, seed=3).drawn)
    if is_structural(kind, ndim):
        return  # its numbers follow from the frame, or are its children's
    pinned = full(kind, key="mine")
    alone = pipeline(pinned).plan(sample, seed=3).drawn
    assert pipeline(full(kind, p=0), pinned).plan(sample, seed=3).drawn == alone


def check_threads(kind: Kind, ndim: int) -> None:
    """Neither threads nor the size of blocks change a bit."""
    for valid in (None, phantoms.holes(ndim)):
        sample = phantoms.sample(ndim, "int16", valid=valid)
        expected = run(full(kind), sample)
        for number in (1, 2, 3):
            with small_blocks(number):
                assert_same(run(full(kind), sample), expected)


def check_identity(kind: Kind, ndim: int) -> None:
    """Zero strength, and a probability of zero, give back every bit."""
    cases = kind.cases
    if cases.zero is None:
        assert cases.why, "cases without zero strength say why"
    chosen = [kind(**cases.full | {"p": 0})]
    chosen += [] if cases.zero is None else [kind(**cases.zero)]
    for dtype in ("uint8", "int16", "uint16", "float32"):
        sample = phantoms.sample(ndim, dtype, valid=phantoms.holes(ndim))
        if dtype == "float32":
            sample.image[:, 3, 4] = np.nan
        for transform in chosen:
            out = run(transform, sample)
            if kind.changes_unit and dtype != "float32":
                continue  # a recipe that normalises gives float32, applied or not
            assert out.image.dtype == sample.image.dtype
            assert out.image.tobytes() == sample.image.tobytes()
            np.testing.assert_array_equal(out.label, sample.label)
            np.testing.assert_array_equal(out.grid.affine, sample.grid.affine)
            assert out.valid is not None
            ours = np.broadcast_to(out.valid, sample.image.shape)
            theirs = np.broadcast_to(sample.valid, sample.image.shape) & ~np.isnan(sample.image)
            assert not np.any(ours & ~np.broadcast_to(sample.valid, sample.image.shape))
            np.testing.assert_array_equal(ours & theirs, theirs)


def check_change(kind: Kind, ndim: int) -> None:
    """Full strength changes the image, of integers by at least a unit."""
    if kind.cases.full == kind.cases.zero:
        assert kind.cases.why, "cases that change nothing say why"
        return
    for dtype in ("uint8", "float32"):
        sample = phantoms.sample(ndim, dtype)
        out = run(full(kind), sample)
        same = out.image.shape == sample.image.shape and np.array_equal(out.image, sample.image)
        assert not same, f"full strength leaves {dtype} as it was"


def check_untouched(kind: Kind, ndim: int) -> None:
    """Inputs stay as they are; results own their memory."""
    sample = phantoms.sample(ndim, valid=phantoms.holes(ndim))
    before = fingerprint(sample)
    for array in (sample.image, sample.label, sample.valid):
        array.setflags(write=False)
    for transform in (full(kind), kind(**kind.cases.full | {"p": 0})):
        out = run(transform, sample)
        assert fingerprint(sample) == before
        for ours, theirs in ((out.image, sample.image), (out.label, sample.label)):
            assert not np.shares_memory(ours, theirs)
            assert ours.flags.writeable
            assert ours.flags.c_contiguous


def check_labels(kind: Kind, ndim: int) -> None:
    """Labels keep their type, and hold no value that was not there, the fill apart."""
    for dtype, classes in phantoms.CLASSES.items():
        sample = phantoms.sample(ndim, label_dtype=dtype)
        fill = label_fill(Roles(), sample)
        for how in ("vote", "nearest"):
            out = run(full(kind), sample, label_interpolation=how)
            assert out.label.dtype == np.dtype(dtype)
            assert out.label.shape == out.image.shape[1:]
            assert set(np.unique(out.label)) <= {*classes, fill}
    layers = np.stack([phantoms.label(ndim), phantoms.label(ndim)[::-1]])
    out = run(full(kind), phantoms.sample(ndim, label=layers))
    assert out.label.shape == (2, *out.image.shape[1:])
    alone = run(full(kind), phantoms.sample(ndim))
    np.testing.assert_array_equal(out.label[0], alone.label)


def check_dtypes(kind: Kind, ndim: int) -> None:
    """Images keep their type, unless their unit changes."""
    for dtype in ("uint8", "int16", "uint16", "int32", "float32"):
        out = run(full(kind), phantoms.sample(ndim, dtype))
        assert out.image.dtype == np.dtype("float32" if kind.changes_unit else dtype)


def check_layouts(kind: Kind, ndim: int) -> None:
    """Strides, byte order and read-only marks of the input do not matter."""
    for dtype in ("int16", "float32"):
        plain = phantoms.sample(ndim, dtype, "uint16", valid=phantoms.holes(ndim))
        expected = run(full(kind), plain)
        for form in (_swapped, _strided, _frozen):
            other = plain.replace(
                image=form(plain.image), label=form(plain.label), valid=form(plain.valid)
            )
            assert_same(run(full(kind), other), expected)


def _swapped(array: Any) -> Any:
    return array.astype(array.dtype.newbyteorder(">"))


def _strided(array: Any) -> Any:
    wide = np.zeros([2 * n for n in array.shape], array.dtype)[(slice(None, None, 2),) * array.ndim]
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(wide, 0, -1)), -1, 0)[..., ::-1]
    turned[...] = array
    return turned


def _frozen(array: Any) -> Any:
    frozen = array.copy()
    frozen.setflags(write=False)
    return frozen


def check_nodata(kind: Kind, ndim: int) -> None:
    """What is stored where there is no data matters nowhere, and stays where nothing moves."""
    for channels in (1, 3):
        valid = phantoms.holes(ndim, channels)
        everywhere = np.broadcast_to(valid, (3, *phantoms.SHAPES[ndim]))
        for dtype in ("int16", "float32"):
            results = []
            for junk in (-32000, 31000, np.nan):
                if np.isnan(junk) and dtype != "float32":
                    continue
                values = phantoms.image(ndim, dtype)
                values[~everywhere] = junk
                sample = phantoms.sample(ndim, dtype, valid=valid, image=values)
                plan = pipeline(full(kind)).plan(sample, seed=4)
                out = plan(sample)
                results.append(out)
                if not moves(plan) and not kind.changes_unit:
                    np.testing.assert_array_equal(out.image[:3][~everywhere], values[~everywhere])
            for out in results[1:]:
                assert (out.valid is None) == (results[0].valid is None)
                if out.valid is None:
                    np.testing.assert_array_equal(out.image, results[0].image)
                    continue
                np.testing.assert_array_equal(
                    np.broadcast_to(out.valid, out.image.shape),
                    np.broadcast_to(results[0].valid, out.image.shape),
                )
                seen = np.broadcast_to(out.valid, out.image.shape)
                np.testing.assert_array_equal(out.image[seen], results[0].image[seen])
            # NaN alone says the same as a mask.
            if dtype == "float32":
                values = phantoms.image(ndim)
                values[~everywhere] = np.nan
                # With a mask that hides nothing, what lies outside is filled alike.
                bare = phantoms.sample(ndim, image=values, valid=np.ones_like(valid))
                out = run(full(kind), bare, seed=4)
                ours, theirs = _seen(out), _seen(results[0])
                np.testing.assert_array_equal(ours, theirs)
                np.testing.assert_array_equal(out.image[ours], results[0].image[ours])


def _seen(sample: Sample) -> Any:
    seen = ~np.isnan(sample.image)
    return seen if sample.valid is None else seen & sample.valid


def check_where(kind: Kind, ndim: int) -> None:
    """``where`` and ``channels`` restrict a value transform exactly."""
    if not issubclass(kind, ValueTransform):
        return
    sample = phantoms.sample(ndim)
    for where, keep in (
        ((4,), np.broadcast_to(sample.label == 4, sample.image.shape)),
        ((0, 1), np.broadcast_to(sample.label != 4, sample.image.shape)),
        ("nonzero", sample.image != 0),
    ):
        out = run(full(kind, where=where), sample)
        np.testing.assert_array_equal(out.image[~keep], sample.image[~keep])
        assert np.any(out.image[keep] != sample.image[keep])
    for chosen in ((1,), (sample.channels[1].name,)):
        out = run(full(kind, channels=chosen), sample)
        np.testing.assert_array_equal(out.image[[0, 2]], sample.image[[0, 2]])
        assert np.any(out.image[1] != sample.image[1])
    with pytest.raises(msa.ConfigError, match="channels"):
        run(full(kind, channels=("no such band",)), sample)


def check_ramp(kind: Kind, ndim: int) -> None:
    """A linear ramp comes through as the same ramp: every value tells its exact position."""
    image = phantoms.ramp(ndim)
    threshold = float(np.median(image))
    sample = phantoms.sample(
        ndim, image=image, channels=("ramp",), label=(image[0] > threshold).astype(np.uint8)
    )
    for how, margin in (("linear", 0), ("cubic", 1)):
        chain = pipeline(full(kind), interpolation=how, antialias=False)
        plan = chain.plan(sample, seed=11)
        if not moves(plan):
            return
        out = plan(sample)
        at = plan.source_positions(phantoms.index(out.image.shape[1:]))
        shape = np.array(image.shape[1:])
        inside = np.all((at >= margin) & (at <= shape - 1 - margin), axis=1)
        assert inside.sum() > 20, "too few positions to tell"
        values, expected = out.image[0].reshape(-1)[inside], phantoms.on_ramp(at[inside])
        np.testing.assert_allclose(values, expected, atol=2e-4)
        # The label went the same way: it can differ only within a voxel of the edge.
        far = np.abs(expected - threshold) > 10.5  # sum of the slopes' magnitudes, and a bit
        assert far.any()
        np.testing.assert_array_equal(out.label.reshape(-1)[inside][far], expected[far] > threshold)


def check_world(kind: Kind, ndim: int) -> None:
    """``exact``: content keeps its world position. ``moved``: only regridding moves the grid."""
    image = phantoms.ramp(ndim)
    sample = phantoms.sample(ndim, image=image, channels=("ramp",))
    plan = pipeline(full(kind), antialias=False).plan(sample, seed=11)
    out = plan(sample)
    if not plan.elastic:
        world = out.grid.world_of(phantoms.index(out.image.shape[1:]))
        back = np.linalg.pinv(sample.grid.affine[:-1, :-1])
        at = (world - sample.grid.affine[:-1, -1]) @ back.T
        inside = np.all((at >= 0) & (at <= np.array(image.shape[1:]) - 1), axis=1)
        assert inside.sum() > 20
        values = out.image[0].reshape(-1)[inside]
        if not any(s.steps for s in plan.segments):
            np.testing.assert_allclose(values, phantoms.on_ramp(at[inside]), atol=1e-3)
    try:
        still = pipeline(full(kind), geometry="moved").plan(sample, seed=11)
    except msa.GeometryError:
        return  # a quarter turn of oblong voxels
    regrids = any(s.spatial is not None and s.spatial.regrids for s in still.segments)
    if not regrids:
        np.testing.assert_array_equal(still.grid.affine, sample.grid.affine)
    np.testing.assert_allclose(still.exact, plan.exact, atol=1e-9)


def check_points(kind: Kind, ndim: int) -> None:
    """Points follow what they mark."""
    points = phantoms.index(phantoms.SHAPES[ndim])[::97] + 0.25
    sample = phantoms.sample(ndim, points=points)
    plan = pipeline(full(kind)).plan(sample, seed=11)
    out = plan(sample)
    assert out.points.shape == points.shape
    kept = np.all(np.isfinite(out.points), axis=1)
    assert kept.mean() > 0.9 or plan.smallest_jacobian <= 0, "points without an inverse"
    assert kept.any()
    np.testing.assert_allclose(plan.source_positions(out.points[kept]), points[kept], atol=2e-3)


def check_soft(kind: Kind, ndim: int) -> None:
    """Class probabilities go where the label goes, and still add up to one."""
    label = phantoms.label(ndim)
    classes = phantoms.CLASSES["uint8"]
    soft = np.stack([label == c for c in classes]).astype(np.float32)
    out = run(full(kind), phantoms.sample(ndim, soft=soft), label_fill=0)
    np.testing.assert_allclose(out.soft.sum(axis=0), 1, atol=1e-5)
    top = np.sort(out.soft, axis=0)
    clear = top[-1] - top[-2] > 1e-4
    np.testing.assert_array_equal(
        np.array(classes)[np.argmax(out.soft, axis=0)][clear], out.label[clear]
    )


def check_documented(kind: Kind, ndim: int) -> None:
    """A first line, a line for every field, and where its formula is from."""
    entry = catalog.entry(kind.__name__)
    assert entry.summary.endswith((".", ":")), entry.summary
    known = {n for base in kind.__mro__ for n in _documented(base.__dict__.get("__doc__") or "")}
    missing = set(kind.model_fields) - known
    assert not missing, f"Parameters lacks {missing}"
    assert entry.source or is_structural(kind, ndim), "no 'Source:'"
    plan = pipeline(full(kind)).plan(phantoms.sample(ndim), seed=1)
    assert "plan of" in plan.explain()


def _documented(doc: str) -> list[str]:
    """Names in the section Parameters of a docstring."""
    _, _, section = inspect.cleandoc(doc).partition("\nParameters\n")
    section = re.split(r"\n\n(?=\w)", section)[0]
    lines = [line for line in section.splitlines()[1:] if line and not line.startswith(" ")]
    return [n.strip() for line in lines for n in line.split(" : ")[0].split(",")]


CHECKS: tuple[Callable[[Kind, int], None], ...] = (
    check_determinism, check_chance, check_replay, check_streams, check_threads, check_identity,
    check_change, check_untouched, check_labels, check_dtypes, check_layouts, check_nodata,
    check_where, check_ramp, check_world, check_points, check_soft, check_documented,
)  # fmt: skip


def kinds() -> list[tuple[str, int]]:
    """Every transform in every number of dimensions it works in."""
    return [(n, d) for n in transforms.names() for d in transforms.find(n).cases.ndims]
