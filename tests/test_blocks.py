"""One resampling, however it is cut into blocks, laid out in memory, or read."""

from __future__ import annotations

import functools
import math
import signal
from dataclasses import replace

import numpy as np
import pytest

from medsataug import blocks, resample, threads
from medsataug.kernels import bands, gather, vote
from medsataug.maps import Affine, Displacement, SpatialMap, homogeneous, input_box
from medsataug.roles import BORDERS, Roles
from tests import naive

DTYPES = (np.float32, np.uint8, np.int16, np.uint16)
LABELS = (np.uint8, np.int16, np.uint16, np.int32, np.int64)
SHAPES = {2: (19, 23), 3: (9, 11, 13)}
OUT = {2: (17, 29), 3: (8, 12, 15)}


def affine(ndim: int, scale=0.9, shift=1.3) -> Affine:
    turn = np.array([[0, 0.2, -0.1], [-0.15, 0, 0.3], [0.1, -0.3, 0]])[-ndim:, -ndim:]
    return Affine(homogeneous(np.eye(ndim) * scale + turn, np.array([1.0, -2, shift])[-ndim:]))


def bend(ndim: int, magnitude=2.5) -> Displacement:
    cells = (2, 3, 3)[-ndim:]
    rng = np.random.default_rng(ndim)
    controls = rng.uniform(-magnitude, magnitude, (ndim, *(c + 3 for c in cells)))
    origin, spacing = np.full(ndim, -0.5), np.array(OUT[ndim]) / cells
    return Displacement(controls.astype(np.float32), origin, spacing)


def spatial(kind: str, ndim: int, out=None, channels=None) -> SpatialMap:
    horizon = np.eye(ndim + 1)
    horizon[-1, :2], horizon[-1, -1] = (0.05, -0.08), 0.7137
    parts = {
        "affine": (affine(ndim),),
        "inner": (affine(ndim, 0.2, 8.0),),
        "elastic": (bend(ndim),),
        "both": (bend(ndim), affine(ndim)),
        "chain": (affine(ndim), bend(ndim), affine(ndim)),
        "shrinking": (affine(ndim, 2.2), bend(ndim)),
        "perspective": (Affine(horizon),),
        "wild": (bend(ndim, 60.0),),
        "outside": (Affine(homogeneous(np.eye(ndim), -100.0)),),
    }
    return SpatialMap(out or OUT[ndim], parts[kind], channels=channels)


KINDS = ("affine", "inner", "elastic", "both", "chain", "shrinking", "perspective", "wild")


def image(ndim: int, count=3, dtype=np.float32, shape=None) -> np.ndarray:
    rng = np.random.default_rng(count)
    values = rng.uniform(0, 200, (count, *(shape or SHAPES[ndim])))
    return (values if np.dtype(dtype).kind == "u" else values - 90).astype(dtype)


def labels(ndim: int, dtype=np.uint8, shape=None) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(0, 5, (2, *(shape or SHAPES[ndim]))).astype(dtype)


def spoiled(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[np.random.default_rng(1).random(array.shape) < 0.1] = np.nan
    return array


def beside(array: np.ndarray) -> np.ndarray:
    """Same numbers with channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)


def window(array: np.ndarray) -> np.ndarray:
    """Same numbers as a part of something larger."""
    large = np.full([n + 4 for n in array.shape], 99, array.dtype)
    part = large[tuple(slice(2, 2 + n) for n in array.shape)]
    part[...] = array
    return part


def carry(kind, given, label=None, valid=None, as_given=False, fill=-7.5, **roles):
    """Image, label, and whether it is whole, after a map or a kind of it."""
    if isinstance(kind, str):
        kind = spatial(kind, given.ndim - 1)
    fills = np.full(len(given), fill, np.float32)
    made = resample.resample_image(kind, given, valid, label, fills, 9, Roles(**roles), as_given)
    assert made[0].dtype == np.float32
    assert not (made[2] and np.isnan(made[0]).any())
    return made


def same(a, b) -> None:
    for one, other in zip(a[:2], b[:2], strict=True):
        if one is not None:
            assert one.dtype == other.dtype
            assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


@pytest.fixture(autouse=True)
def patience():
    """Fail, rather than hang, where blocks are cut for ever."""

    def give_up(*_):
        raise TimeoutError("30 s for one resampling of a few voxels")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def reads(monkeypatch):
    """Check every index that a kernel will use; vectors do not check theirs.

    These images are small: most blocks would be packed for their border's sake.
    """
    seen = set()
    monkeypatch.setattr(resample, "MANY", 0)

    def tapped(src, first, at, steps, before, after):
        assert int(first.min()) + int(at.min()) - before * sum(steps) >= 0
        assert int(first.max()) + int(at.max()) + after * sum(steps) < len(src)

    def valued(kernel, name, *given):
        src, first, at, frac, steps, nx, out, to, strides = given
        steps = steps[-len(frac) :]
        before, after = (1, 2) if name == "cubic" else (0, 1)
        if "bands" in name:
            assert np.array_equal(first, first[0] + np.arange(len(first)))
            assert np.array_equal(to, to[0] + np.arange(len(to)))
            tapped(src, first, at, steps, before, after)
        else:
            assert steps[-1] == 1 or name in ("cubic", "nearest")
            tapped(src, first, at, steps, before, after)
        rows = len(at) // nx
        assert rows * nx == len(at)
        ends = (
            np.arange(rows) // strides[0] * strides[1] + np.arange(rows) % strides[0] * strides[2]
        )
        assert int(to.max()) + int(ends.max()) + (nx - 1) * strides[3] < len(out)
        seen.add(name)
        return kernel(*given)

    def voted(kernel, name, *given):
        src, at, frac, steps, owner, out = given
        assert steps[2] == 1
        assert len(at) == owner * len(out)
        tapped(src, np.zeros(1, int), at, steps[-len(frac) :], 0, 1)
        seen.add(name)
        return kernel(*given)

    checks = {"linear_2d": valued, "linear_3d": valued, "cubic": valued, "nearest": valued}
    checks |= {"linear_bands_2d": valued, "linear_bands_3d": valued}
    checks |= {"vote_2d": voted, "vote_3d": voted}
    wrapped = {}
    for module in (gather, bands, vote):
        for name in checks.keys() & vars(module).keys():
            kernel = getattr(module, name)
            wrapped[kernel] = functools.partial(checks[name], kernel, name)
            monkeypatch.setattr(module, name, wrapped[kernel])
    for table in [t for t in vars(resample).values() if isinstance(t, dict)]:
        for key, kernel in table.items():
            if callable(kernel) and kernel in wrapped:
                monkeypatch.setitem(table, key, wrapped[kernel])
    return seen


@pytest.mark.parametrize("ndim", [2, 3])
def test_all_kernels_are_checked(ndim, reads):
    given = image(ndim, 5)
    for interpolation in ("linear", "cubic", "nearest"):
        carry("affine", given, labels(ndim), interpolation=interpolation)
    carry("affine", beside(given), as_given=True)
    assert reads == {
        f"linear_{ndim}d",
        f"linear_bands_{ndim}d",
        "cubic",
        "nearest",
        f"vote_{ndim}d",
    }


@pytest.mark.parametrize(
    "out", [(1, 1), (300, 1000), (1, 9000), (1, 1, 1), (65, 70, 75), (3, 1, 7)]
)
@pytest.mark.parametrize("most", [1, 7, 100, 2**14])
@pytest.mark.parametrize("antialias", [False, True])
def test_blocks_cover_every_voxel_once(out, most, antialias, monkeypatch):
    if math.prod(out) / most > 5000:
        pytest.skip("too many blocks")
    monkeypatch.setattr(blocks, "BLOCK", most)
    how = {
        "antialias": antialias,
        "border": "edge",
        "interpolation": "linear",
        "packed": True,
        "channels": 1,
    }
    ndim = len(out)
    made = blocks.Positions(spatial("shrinking", ndim, out), SHAPES[ndim], **how)
    hits = np.zeros(out, int)
    for start, size in made.blocks:
        assert math.prod(size) * made.owner <= max(most, made.owner)
        hits[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] += 1
    assert np.all(hits == 1)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", BORDERS)
def test_values_are_those_of_the_map(ndim, kind, border):
    given, mode = image(ndim, 2), BORDERS[border]
    move = spatial(kind, ndim)
    got = carry(move, given, labels(ndim), border=border, antialias=False)
    points = np.indices(OUT[ndim]).reshape(ndim, -1).T.astype(float)
    which = np.random.default_rng(0).choice(len(points), 150, replace=False)
    for k in which:
        p = move(points[k : k + 1])[0]
        if np.isnan(p).any():  # behind a perspective's horizon there is nothing
            if border == "constant":
                assert (got[0][0].flat[k], got[1][1].flat[k]) == (-7.5, 9)
            continue
        for c in (0, 1) if np.abs(p).max() < 2000 else ():
            value = naive.linear(given[c], p, mode, -7.5)
            assert got[0][c].flat[k] == pytest.approx(value, abs=2e-2)
        votes = sorted(naive.ballot(labels(ndim)[1], [p], mode, 9).values())
        if len(votes) == 1 or votes[-1] - votes[-2] > 1e-4:
            assert got[1][1].flat[k] == naive.vote(labels(ndim)[1], [p], mode, 9)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
def test_any_cut_gives_the_same_bytes(ndim, kind, border, interpolation, monkeypatch):
    given, valid = spoiled(image(ndim, 4)), np.random.default_rng(2).random(SHAPES[ndim]) > 0.1
    roles = {"border": border, "interpolation": interpolation}
    if interpolation == "nearest":
        roles["label_interpolation"] = "nearest"
    cases = ({"valid": None}, {"valid": valid[None]})
    want = [carry(kind, given, labels(ndim), **case, **roles) for case in cases]
    for block, most in ((300, 2**20), (2**14, 900)):
        monkeypatch.setattr(blocks, "BLOCK", block)
        monkeypatch.setattr(blocks, "BOX", most)
        monkeypatch.setattr(blocks, "SPAN", most)
        for case, whole in zip(cases, want, strict=True):
            same(carry(kind, given, labels(ndim), **case, **roles), whole)
    same(carry(kind, beside(given), labels(ndim), as_given=True, **roles), want[0])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "both"])
def test_blocks_with_a_large_source_are_divided(ndim, kind, monkeypatch):
    how = {"antialias": False, "border": "edge", "interpolation": "linear"}
    monkeypatch.setattr(blocks, "BOX", 150)
    made = blocks.Positions(spatial(kind, ndim), SHAPES[ndim], **how, packed=True, channels=1)
    hits, sizes = np.zeros(OUT[ndim], int), []

    def job(block):
        hits[block.window] += 1
        sizes.append(math.prod(block.extent))
        assert math.prod(block.size) == 1 or sizes[-1] <= 150
        low = np.array(block.low[-ndim:])[:, None]
        assert np.all(block.idx >= low)
        assert np.all(block.idx + 1 < low + np.array(block.extent[-ndim:])[:, None])

    for start, size in made.blocks:
        made.each(start, size, [job])
    assert np.all(hits == 1)
    assert len(sizes) > len(made.blocks)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_read_in_place_and_packed_give_the_same_bytes(ndim, kind, border, dtype):
    given = image(ndim, 2, dtype)
    everywhere = np.ones((1, *SHAPES[ndim]), bool)
    for fill in (-7.5, np.nan):
        direct = carry(kind, given, border=border, fill=fill)
        same(direct, carry(kind, given, valid=everywhere, border=border, fill=fill))
        assert direct[2] or (border == "constant" and np.isnan(fill))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_last_give_the_bytes_of_planes(ndim, count, dtype):
    given = image(ndim, count, dtype)
    if dtype == np.float32:
        given = spoiled(given)
    for kind in ("inner", "both", "shrinking", "outside"):
        for border in BORDERS:
            want = carry(kind, given, border=border)
            assert want[0].flags.c_contiguous
            assert carry(kind, beside(given), border=border)[0].flags.c_contiguous
            last = carry(kind, beside(given), border=border, as_given=True)
            assert count == 1 or np.moveaxis(last[0], 0, -1).flags.c_contiguous
            same(carry(kind, beside(given), border=border), want)
            same(last, want)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_of_larger_arrays(ndim, dtype):
    given, label = image(ndim, 4, dtype), labels(ndim)
    for kind in ("inner", "both", "shrinking"):
        want = carry(kind, given, label)
        turned = np.ascontiguousarray(given.swapaxes(-1, -2)).swapaxes(-1, -2)
        mirrored = np.ascontiguousarray(given[..., ::-1])[..., ::-1]
        for other in (
            window(given),
            turned,
            mirrored,
            beside(window(given)),
            window(beside(given)),
        ):
            same(carry(kind, other, window(label)), want)
            same(carry(kind, other, window(label), as_given=True), want)
        part = window(np.moveaxis(given, 0, -1))
        same(carry(kind, np.moveaxis(part, -1, 0), label, as_given=True), want)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [(1,), (2, 0), (2, 3), (3, 0, 2, 1), (0, 1, 2, 3)])
def test_only_some_channels_move(ndim, channels):
    given, out = image(ndim, 4), SHAPES[ndim]
    move, all_move = spatial("both", ndim, out, channels), spatial("both", ndim, out)
    want = given.copy()
    want[list(channels)] = carry(all_move, given)[0][list(channels)]
    for other in (given, beside(given)):
        for as_given in (False, True):
            got, label, _ = carry(move, other, labels(ndim), as_given=as_given)
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(label, labels(ndim))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", LABELS)
@pytest.mark.parametrize("kind", ["both", "shrinking", "perspective"])
def test_labels_of_any_dtype(ndim, dtype, kind):
    want = carry(kind, image(ndim), labels(ndim))[1]
    got = carry(kind, image(ndim), labels(ndim, dtype))[1]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, want)
    high = labels(ndim, dtype) + np.iinfo(dtype).max - 4
    inner = [carry("inner", image(ndim), given, border="edge")[1] for given in (high, labels(ndim))]
    np.testing.assert_array_equal(inner[0] - (np.iinfo(dtype).max - 4), inner[1])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_tiny_images(ndim, border, size, count):
    """Vectors at the last voxels of the smallest memory; one voxel has no neighbour."""
    for shape in {(size,) * ndim, (*(2,) * (ndim - 1), size), (size, *(2,) * (ndim - 1))}:
        given, label = image(ndim, count, shape=shape), labels(ndim, shape=shape)
        for shift in (-40.0, -2.0, -0.5, 0.0, 0.5, 40.0):
            move = SpatialMap((6,) * ndim, (Affine(homogeneous(np.eye(ndim) * 0.75, shift)),))
            want = carry(move, given, label, border=border)
            same(carry(move, beside(given), label, border=border, as_given=True), want)
            at = np.indices(move.out_shape).reshape(ndim, -1).T * 0.75 + shift
            for k in range(0, len(at), 5):
                value = naive.linear(given[-1], at[k], BORDERS[border], -7.5)
                assert want[0][-1].flat[k] == pytest.approx(value, abs=1e-3)
                assert want[1][-1].flat[k] == naive.vote(label[-1], [at[k]], BORDERS[border], 9)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shift", [-3.0e3, 1e6, -1e12, np.inf])
def test_far_outside(ndim, interpolation, border, shift):
    given, label = image(ndim, 2), labels(ndim)
    with np.errstate(invalid="ignore"):
        move = SpatialMap((5,) * ndim, (Affine(homogeneous(np.eye(ndim), shift)),))
    got = carry(move, given, label, border=border, interpolation=interpolation)
    if border == "constant":
        assert np.all(got[0] == -7.5)
        assert np.all(got[1] == 9)
    elif border == "reflect" and abs(shift) < 1e7:
        place = [(np.arange(5) + int(shift)) % (2 * n) for n in SHAPES[ndim]]
        place = [np.minimum(i, 2 * n - 1 - i) for i, n in zip(place, SHAPES[ndim], strict=True)]
        np.testing.assert_allclose(got[0][1], given[1][np.ix_(*place)], atol=1e-3)
        np.testing.assert_array_equal(got[1][1], label[1][np.ix_(*place)])
    assert np.isfinite(got[0]).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("scale", [40.0, 1e5, 1e15])
def test_a_huge_reach(ndim, border, scale):
    """Neighbours in the output lie far apart in the source."""
    given, label = image(ndim, 2), labels(ndim)
    stretched = SpatialMap((5,) * ndim, (Affine(homogeneous(np.eye(ndim) * scale, 0.25)),))
    thrown = SpatialMap((5,) * ndim, (bend(ndim, scale), affine(ndim)))
    for move in (stretched, thrown):
        for interpolation in ("linear", "cubic"):
            roles = {"border": border, "interpolation": interpolation, "antialias": False}
            got = carry(move, given, label, **roles)
            assert np.isfinite(got[0]).all()
            same(carry(move, beside(given), label, as_given=True, **roles), got)


def test_a_gap_is_never_missed_whatever_the_threads(monkeypatch):
    """A thread that meets NaN must not lose that to one that does not."""
    monkeypatch.setattr(threads, "count", lambda: 3)
    monkeypatch.setattr(blocks, "BLOCK", 2**11)
    given = image(3, 1, shape=(40, 60, 70))
    given[0, 20:22, 30:32, 30:32] = np.nan
    move = SpatialMap((40, 60, 70), (Affine(homogeneous(np.eye(3) * 0.7, 0.25)),))
    for _ in range(60):
        made = carry(move, given)
        assert np.isnan(made[0]).any()
        assert not made[2]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", BORDERS)
def test_packing_for_the_borders_sake_changes_no_byte(ndim, kind, border, monkeypatch):
    given = spoiled(image(ndim, 5))
    want = carry(kind, given, border=border)
    for many in (3, 10**9):
        monkeypatch.setattr(resample, "MANY", many)
        same(carry(kind, given, border=border), want)
        same(carry(kind, beside(given), border=border, as_given=True), want)


def test_positions_of_a_window_are_those_of_the_whole():
    """Rounded in the window's own frame, some of these 2.6 million would differ by a bit."""
    turn = np.linalg.qr(np.array([[9.0, 2, -3], [1, 8, 4], [3, -2, 7]]))[0]
    offset = np.array([150.3, 165.1, 170.7]) - turn @ np.full(3, 47.5)
    there = (Affine(homogeneous(turn, offset)),)
    whole, shape = SpatialMap((96, 96, 96), there), (300, 310, 320)
    box = input_box(whole, shape, 3)
    part = replace(whole, origin=tuple(start for start, _ in box))
    assert all(0 < start < stop < n for (start, stop), n in zip(box, shape, strict=True))

    def positions(spatial, shape):
        got = blocks.Positions(
            spatial, shape, antialias=False, border="constant", interpolation="linear",
            packed=False, channels=1,
        )  # fmt: skip
        found = []
        for at in got.blocks:
            got.each(*at, [lambda b: found.append((b.window, b.idx.copy(), b.frac.copy()))])
        idx, frac = np.empty((3, 96, 96, 96), int), np.empty((3, 96, 96, 96), np.float32)
        for window, i, f in found:
            size = [s.stop - s.start for s in window]
            idx[:, *window], frac[:, *window] = i.reshape(3, *size), f.reshape(3, *size)
        return idx, frac

    (idx, frac), (near, own) = positions(whole, shape), positions(part, [b - a for a, b in box])
    np.testing.assert_array_equal(near + np.reshape(part.origin, (3, 1, 1, 1)), idx)
    np.testing.assert_array_equal(own.view(np.uint32), frac.view(np.uint32))
