"""One probe for every kind of step: executed, checked against NumPy, replayed from JSON."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import medsataug as msa
from medsataug.maps import Affine, Displacement, SpatialMap
from medsataug.plan import Plan
from medsataug.transforms.base import Cases, Transform
from medsataug.types import Sample
from medsataug.values import (
    Barrier,
    ChannelAffine,
    LabelStep,
    Mix,
    Stat,
    Stencil,
    Tile,
    Whole,
)
from tests import harness, phantoms


def probe(make: Any, **functions: Any) -> type[Transform]:
    """Transform ``Probe`` whose steps are ``make(state)`` and that offers ``functions``."""

    class Probe(Transform):
        cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

        def sample(self, draws: Any, state: Any) -> Any:
            return make(state)

    for name, function in functions.items():
        setattr(Probe, name, staticmethod(function))
    return Probe


def executed(
    kind: type[Transform], sample: Sample, partners: Any = None, **settings: Any
) -> Sample:
    """Result of the probe, the same after a journey through JSON."""
    with harness.registered(kind):
        plan = msa.Pipeline(["probe"], **settings).plan(sample, seed=3)
        out = plan(sample, partners)
        again = Plan.from_json(plan.to_json())
        harness.assert_same(again(sample, partners), out)
        assert plan.explain()
    return out


def lattice(ndim: int, scale: float, seed: int = 1) -> Displacement:
    rng = np.random.default_rng(seed)
    shape = phantoms.SHAPES[ndim]
    controls = rng.uniform(-scale, scale, (ndim, *[5] * ndim)).astype(np.float32)
    return Displacement(controls, np.full(ndim, -0.5), np.array(shape) / 2.0)


def matrix(ndim: int, last: tuple[float, ...] = ()) -> np.ndarray:
    """A general matrix near identity, its last row a perspective where asked."""
    m = np.eye(ndim + 1)
    m[:ndim, :ndim] += 0.05 * np.random.default_rng(2).normal(size=(ndim, ndim))
    m[:ndim, ndim] = (0.7, -0.4, 0.3)[:ndim]
    if last:
        m[ndim, :ndim] = last[-ndim:]
    return m


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    "parts",
    [
        lambda n: (Affine(matrix(n)),),
        lambda n: (Affine(matrix(n, (0.004, -0.003, 0.002))),),
        lambda n: (lattice(n, 1.0),),
        lambda n: (lattice(n, 0.6), lattice(n, 0.5, 4)),
        lambda n: (Affine(np.diag([1.1] * n + [1])), lattice(n, 0.6), Affine(matrix(n))),
        lambda n: (Affine(matrix(n)), lattice(n, 0.6), Affine(matrix(n)), lattice(n, 0.4, 7)),
    ],
    ids=["affine", "perspective", "lattice", "two lattices", "aligned", "chain"],
)
def test_spatial_map_shows_what_it_says(ndim, parts):
    sample = phantoms.sample(ndim, image=phantoms.ramp(ndim), channels=("ramp",))
    spatial = SpatialMap(phantoms.SHAPES[ndim], parts(ndim))
    out = executed(probe(lambda _: (spatial,)), sample, geometry="moved", antialias=False)
    at = spatial(phantoms.index(phantoms.SHAPES[ndim]))
    inside = np.all((at >= 0) & (at <= np.array(phantoms.SHAPES[ndim]) - 1), axis=1)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(
        out.image.reshape(-1)[inside], phantoms.on_ramp(at[inside]), atol=2e-4
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_spatial_map_of_some_channels(ndim):
    sample = phantoms.sample(ndim, points=np.full((1, ndim), 4.0))
    spatial = SpatialMap(phantoms.SHAPES[ndim], (Affine(matrix(ndim)),), channels=(1,))
    out = executed(probe(lambda _: (spatial,)), sample)
    np.testing.assert_array_equal(out.image[[0, 2]], sample.image[[0, 2]])
    assert np.abs(np.nan_to_num(out.image[1]) - sample.image[1]).max() > 1
    np.testing.assert_array_equal(out.label, sample.label)
    np.testing.assert_array_equal(out.points, sample.points)
    np.testing.assert_array_equal(out.grid.affine, sample.grid.affine)
    everything = executed(
        probe(lambda _: (SpatialMap(spatial.out_shape, spatial.parts),)), sample, geometry="moved"
    )
    np.testing.assert_array_equal(out.image[1], everything.image[1])
    # Beside a whole map it stays a resampling of its own.
    shift = SpatialMap(phantoms.SHAPES[ndim], (Affine(matrix(ndim)),))
    both = executed(probe(lambda _: (spatial, shift)), sample, geometry="moved")
    np.testing.assert_array_equal(both.image[0], everything.image[0])


def test_channel_affine_diagonal():
    gain, bias = np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.0, -3.0])
    sample = phantoms.sample(3)
    out = executed(probe(lambda _: (ChannelAffine(gain, bias), ChannelAffine(gain, bias))), sample)
    wide = (slice(None), *[None] * 3)
    expected = (sample.image * gain[wide] + bias[wide]) * gain[wide] + bias[wide]
    np.testing.assert_allclose(out.image, expected, rtol=1e-6)
    np.testing.assert_array_equal(out.image[1], sample.image[1])


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_channel_affine_mixing(dtype):
    """Three channels become two of other names; nodata of any is nodata of the sums it enters."""
    gain = np.array([[0.5, 0.25, 0.0], [0.0, 0.5, 0.5]])
    bias = np.array([1.0, 2.0])
    valid = phantoms.holes(3, 3)
    sample = phantoms.sample(3, dtype, valid=valid)
    step = ChannelAffine(gain, bias, ("grey", "t1"))
    out = executed(probe(lambda _: (step,)), sample)
    assert [c.name for c in out.channels] == ["grey", "t1"]
    assert out.image.dtype == np.dtype(dtype)
    expected = np.tensordot(gain, sample.image.astype(float), 1) + bias.reshape(2, 1, 1, 1)
    if dtype != "float32":
        expected = np.rint(expected)
    seen = np.broadcast_to(out.valid, out.image.shape)
    np.testing.assert_array_equal(seen[0], valid[0] & valid[1])
    np.testing.assert_array_equal(seen[1], valid[1] & valid[2])
    np.testing.assert_allclose(out.image[seen], expected[seen], rtol=1e-6)
    # Later steps see the new channels; what the case's statistics were no longer counts.
    kind = probe(lambda _: (step,))
    with harness.registered(kind):
        later = msa.Pipeline(["probe", msa.Brightness(offset=5, channels=("grey",))])
        got = later(sample, seed=3)
        np.testing.assert_array_equal(got.image[1], out.image[1])
        plan = msa.Pipeline(["probe", msa.Brightness(offset="5%")]).plan(sample, seed=3)
        with pytest.raises(msa.ConfigError, match="mixed"):
            plan(sample)


def test_tile_with_statistics_of_the_output():
    def centre(x, p, first, key):
        x -= np.float32(p[0])
        x /= np.float32(p[1])

    numbers = (Stat("mean", scope="output"), Stat("std", scope="output"))
    steps = (
        ChannelAffine(np.array([2.0, 3, 4]), np.zeros(3)),
        Tile("probe", (numbers, None, numbers)),
    )
    sample = phantoms.sample(3)
    out = executed(probe(lambda _: steps, kernel=centre), sample)
    np.testing.assert_allclose(out.image[[0, 2]].mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.image[[0, 2]].std(axis=(1, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(out.image[1], sample.image[1] * 3, rtol=1e-6)


def test_tile_gets_its_voxel_numbers():
    def number(x, p, first, key):
        x[:] = first + np.arange(len(x))

    sample = phantoms.sample(3)
    kind = probe(lambda _: (Tile("probe", ((0.0,),) * 3, key=9),), kernel=number)
    expected = np.arange(sample.image.size).reshape(sample.image.shape)
    np.testing.assert_array_equal(executed(kind, sample).image, expected)
    with harness.small_blocks(2):
        np.testing.assert_array_equal(executed(kind, sample).image, expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_stencil(ndim):
    def shifted(source, p, z, y, out):
        rolled = np.roll(source, 1, axis=2) * p[0]
        out[...] = rolled[z : z + out.shape[0], y : y + out.shape[1]]

    kind = probe(
        lambda _: (Stencil("probe:shift", ((2.0,), None, (3.0,)), (0, 0, 1), (1, 4)),),
        shift=shifted,
    )
    sample = phantoms.sample(ndim)
    out = executed(kind, sample)
    keep = np.isin(sample.label, (1, 4))
    rolled = np.roll(sample.image, 1, axis=-1)
    for c, factor in ((0, 2), (2, 3)):
        np.testing.assert_allclose(out.image[c][keep], factor * rolled[c][keep])
        np.testing.assert_array_equal(out.image[c][~keep], sample.image[c][~keep])
    np.testing.assert_array_equal(out.image[1], sample.image[1])


@pytest.mark.parametrize("ndim", [2, 3])
def test_whole_keeps_nodata(ndim):
    def ranked(channel, p, key, out):
        assert key == 2**63 + 5
        out[...] = np.nan_to_num(channel[::-1], nan=0) + p[0]

    kind = probe(
        lambda _: (Whole("probe", ((Stat("max", 1.0, 1.0),),) * 3, 2**63 + 5),), kernel=ranked
    )
    valid = phantoms.holes(ndim)
    sample = phantoms.sample(ndim, valid=valid)
    out = executed(kind, sample)
    seen = np.broadcast_to(valid, sample.image.shape)
    np.testing.assert_array_equal(np.broadcast_to(out.valid, seen.shape), seen)
    np.testing.assert_array_equal(out.image[~seen], sample.image[~seen])
    assert np.all(out.image[0][seen[0]] >= sample.image[0][seen[0]].max())


@pytest.mark.parametrize("layers", [1, 2])
def test_label_step(layers):
    def dropped(label, image, params, key):
        assert label.ndim == 4
        assert image.ndim == 4
        out = label.copy()
        out[label == params[0]] = 0
        return out.astype(np.int64)

    label = phantoms.label(3, "uint16")
    given = label if layers == 1 else np.stack([label, label[::-1]])
    sample = phantoms.sample(3, label=given)
    kind = probe(lambda _: (LabelStep("probe:drop", (60_000.0,)),), drop=dropped)
    out = executed(kind, sample)
    np.testing.assert_array_equal(out.label, np.where(given == 60_000, 0, given))
    assert out.label.dtype == np.uint16
    np.testing.assert_array_equal(out.image, sample.image)
    executed(kind, sample.replace(label=None))


def test_mix_brings_in_a_partner_after_its_own_plan():
    def half(label, shape, params):
        return params[0]

    valid = phantoms.holes(3)
    other = phantoms.sample(
        3, image=phantoms.image(3)[:, ::-1] * 2, label=phantoms.label(3)[::-1], valid=valid
    ).replace(id="other")
    own = msa.Pipeline([msa.Flip(axes="z", p=1)]).plan(other, seed=1)
    step = Mix("probe:half", "other", other.digest, (0.25,), own)
    kind = probe(lambda _: (step,), half=half)
    sample = phantoms.sample(3)
    out = executed(kind, sample, {"other": other})
    assert out.valid is None
    expected = 0.75 * sample.image + 0.5 * phantoms.image(3)
    # Where the partner has no data, nothing is mixed in.
    expected = np.where(valid[:, ::-1], expected, sample.image)
    np.testing.assert_allclose(out.image, expected, rtol=1e-5)
    np.testing.assert_array_equal(out.label, sample.label)
    with harness.registered(kind):
        plan = msa.Pipeline(["probe"]).plan(sample, seed=1)
        for partners, message in (
            ({}, "give it as"),
            ({"other": other.replace(image=other.image + 1)}, "digest"),
        ):
            with pytest.raises(msa.ConfigError, match=message):
                plan(sample, partners)
    small = msa.Crop(size=5)(other, seed=1)
    step = Mix("probe:half", "small", "", (0.5,))
    kind = probe(lambda _: (step,), half=half)
    with harness.registered(kind), pytest.raises(msa.GeometryError, match="Patch or Resize"):
        msa.Pipeline(["probe"]).plan(sample, seed=1)(sample, {"small": small})


def test_barrier_materialises():
    def there_and_back(state):
        away = SpatialMap(
            state.grid.shape, (Affine(np.array([[1, 0, 9.0], [0, 1, 0], [0, 0, 1]])),)
        )
        back = SpatialMap(state.grid.shape, (Affine(np.linalg.inv(away.parts[0].matrix)),))
        return away, back

    sample = phantoms.sample(2, "int16")
    out = executed(probe(there_and_back), sample)
    np.testing.assert_array_equal(out.image, sample.image)

    def with_barrier(state):
        away, back = there_and_back(state)
        return away, Barrier(), back

    out = executed(probe(with_barrier), sample)
    assert not out.valid[:, :9].any()
    np.testing.assert_array_equal(out.image[:, 9:], sample.image[:, 9:])


def test_an_unknown_step_says_to_register_it():
    kind = probe(lambda _: (LabelStep("probe:drop"),), drop=lambda label, *_: label)
    sample = phantoms.sample(2)
    with harness.registered(kind):
        text = msa.Pipeline(["probe"]).plan(sample, seed=1).to_json()
    with pytest.raises(msa.ConfigError, match="register"):
        Plan.from_json(text)(sample)


def test_register_refuses_names_that_are_taken():
    class Gamma(Transform):
        cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

    with pytest.raises(msa.ConfigError, match="choose another name"):
        msa.register(Gamma)
