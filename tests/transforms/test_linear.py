"""Rotations, scalings, shears, shifts, mirrors and quarter turns against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.grid import RAS_MM, Grid
from tests import phantoms

CUBE = (9, 9, 9)
CENTRE = np.array([4.0, 4.0, 4.0])
AXES = {"z": 0, "y": 1, "x": 2}


def cube() -> msa.Sample:
    return msa.Sample(image=np.zeros((1, *CUBE), np.float32), axes="CZYX", spacing=(1, 1, 1))


def moved(transform, sample, points, **settings):
    """Where the content at ``points`` goes."""
    plan = msa.Pipeline([transform], **settings).plan(sample, seed=1)
    return plan.output_positions(np.atleast_2d(np.asarray(points, dtype=float)))


def distances(points, linear):
    apart = (points[:, None] - points) @ linear.T
    return np.linalg.norm(apart, axis=-1)


LANDMARKS = np.array([[3.0, 5, 4], [8, 12, 2], [5, 9, 9], [10, 3, 6]])


@pytest.mark.parametrize(
    ("about", "start", "end"), [("z", "x", "y"), ("y", "z", "x"), ("x", "y", "z")]
)
def test_rotate_positive_is_right_handed(about, start, end):
    """Positive turns +x towards +y about z, +y towards +z about x, +z towards +x about y."""
    point, expected = CENTRE.copy(), CENTRE.copy()
    point[AXES[start]] += 3
    expected[AXES[end]] += 3
    got = moved(msa.Rotate(degrees={about: 90}), cube(), point)
    np.testing.assert_allclose(got[0], expected, atol=1e-9)
    # The voxels say the same, not only the plan.
    sample = cube()
    sample.image[(0, *point.astype(int))] = 1
    out = msa.Rotate(degrees={about: 80})(sample, seed=1)
    z, y, x = np.unravel_index(out.image[0].argmax(), CUBE)
    turned = np.array([z, y, x]) - CENTRE
    assert turned[AXES[end]] == 3
    assert 0 <= turned[AXES[start]] <= 1


def test_rotate_2d_takes_x_towards_y():
    sample = phantoms.sample(2)
    centre = (np.array(phantoms.SHAPES[2]) - 1) / 2
    dy, dx = phantoms.SPACINGS[2]
    got = moved(msa.Rotate(degrees=90), sample, centre + np.array([0, 2]))
    np.testing.assert_allclose(got[0], centre + np.array([2 * dx / dy, 0]), atol=1e-9)
    got = moved(msa.Rotate(degrees=90, frame="index"), sample, centre + np.array([0, 2]))
    np.testing.assert_allclose(got[0], centre + np.array([2, 0]), atol=1e-9)


def test_rotate_composes_z_y_x():
    given = {"z": 30, "y": -20, "x": 10}
    whole = moved(msa.Rotate(degrees=given), cube(), LANDMARKS)
    points = LANDMARKS
    for axis in "xyz":  # R = Rz · Ry · Rx: x turns first
        points = moved(msa.Rotate(degrees={axis: given[axis]}), cube(), points)
    np.testing.assert_allclose(whole, points, atol=1e-9)


def tilted() -> Grid:
    """A sheared grid, as of a tilted CT gantry."""
    affine = phantoms.grid(3).affine.copy()
    affine[:3, 0] += (0, 0.9, 0)
    return Grid(phantoms.SHAPES[3], affine, RAS_MM, (1e-3,) * 3)


@pytest.mark.parametrize("grid", [phantoms.grid(3), tilted()], ids=["oblong", "tilted"])
def test_rotate_is_rigid_in_millimetres(grid):
    sample = phantoms.sample(3, grid=grid)
    turn = {"z": 17, "y": -23, "x": 31}
    linear = grid.physical
    got = moved(msa.Rotate(degrees=turn), sample, LANDMARKS)
    np.testing.assert_allclose(
        distances(got, linear), distances(LANDMARKS, linear), rtol=1e-9, atol=1e-12
    )
    assert np.linalg.norm(got - LANDMARKS) > 1
    got = moved(msa.Rotate(degrees=turn, frame="index"), sample, LANDMARKS)
    np.testing.assert_allclose(distances(got, np.eye(3)), distances(LANDMARKS, np.eye(3)))
    assert not np.allclose(distances(got, linear), distances(LANDMARKS, linear), rtol=0.01)


def test_rotate_axes():
    plan = msa.Pipeline([msa.Rotate(degrees=(10, 20), axes="z")]).plan(phantoms.sample(3), seed=3)
    at = phantoms.index(phantoms.SHAPES[3])
    np.testing.assert_array_equal(plan.source_positions(at)[:, 0], at[:, 0])


def test_scale_above_one_enlarges():
    got = moved(msa.Scale(factor=1.5), phantoms.sample(3), LANDMARKS)
    np.testing.assert_allclose(distances(got, np.eye(3)), 1.5 * distances(LANDMARKS, np.eye(3)))
    label = phantoms.label(3)
    sizes = [
        (msa.Scale(factor=f)(phantoms.sample(3, label=label), seed=1).label == 4).sum()
        for f in (0.7, 1, 1.4)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_scale_per_axis():
    centre = (np.array(phantoms.SHAPES[3]) - 1) / 2
    got = moved(
        msa.Scale(factor={"x": 2, "z": 0.5}), phantoms.sample(3), centre + np.array([2, 1, 1])
    )
    np.testing.assert_allclose(got[0], centre + np.array([1, 1, 2]))
    drawn = msa.Pipeline([msa.Scale(factor=(0.5, 2), isotropic=False)]).plan(phantoms.sample(3), 1)
    diagonal = np.diag(drawn.exact) != np.diag(phantoms.grid(3).affine)
    assert diagonal.any()
    matrix = drawn.segments[0].spatial.matrix
    assert len(set(np.diag(matrix)[:3].round(6))) == 3


def test_shear_slides_x_with_growing_y():
    sample, angle = phantoms.sample(3), 20
    centre = (np.array(phantoms.SHAPES[3]) - 1) / 2
    for pair in ("xy", "xz", "yz", "zx"):
        along, by = AXES[pair[0]], AXES[pair[1]]
        point = centre.copy()
        point[by] += 2
        got = moved(msa.Shear(degrees=angle, pairs=(pair,)), sample, point)[0] - point
        mm = got * phantoms.SPACINGS[3]
        expected = np.zeros(3)
        expected[along] = np.tan(np.radians(angle)) * 2 * phantoms.SPACINGS[3][by]
        np.testing.assert_allclose(mm, expected, atol=1e-9)
    with pytest.raises(msa.ConfigError, match=r"Shear\.degrees"):
        moved(msa.Shear(degrees=85), sample, centre)
    with pytest.raises(msa.ConfigError, match=r"Shear\.pairs"):
        msa.Shear(pairs=("xz",))(phantoms.sample(2), seed=1)


def test_translate_in_millimetres_towards_higher_indices():
    got = moved(msa.Translate(offset="6mm"), phantoms.sample(3), LANDMARKS)
    np.testing.assert_allclose(got, LANDMARKS + np.array([2, 6, 4]))
    got = moved(msa.Translate(offset={"y": "0.6cm", "x": -2}), phantoms.sample(3), LANDMARKS)
    np.testing.assert_allclose(got, LANDMARKS + np.array([0, 6, -2]))
    got = moved(msa.Translate(offset="3m"), phantoms.sample(2), [[4.0, 5.0]])
    np.testing.assert_allclose(got, [[7, 7]])
    sample = cube()
    sample.image[0, 4, 4, 4] = 1
    assert msa.Translate(offset=2)(sample, seed=1).image[0, 6, 6, 6] == 1
    unknown = msa.Sample(image=np.zeros((5, 5), np.float32), axes="YX")
    with pytest.raises(msa.ConfigError, match="voxels"):
        msa.Translate(offset="6mm")(unknown, seed=1)


def test_affine_is_scale_shear_rotate_translate():
    sample = phantoms.sample(3)
    chain = [
        msa.Scale(factor=1.2), msa.Shear(degrees=10), msa.Rotate(degrees={"z": 30}),
        msa.Translate(offset={"x": 3}),
    ]  # fmt: skip
    one = msa.Affine(scale=1.2, shear=10, degrees={"z": 30}, offset={"x": 3})
    plan = msa.Pipeline(chain).plan(sample, 1)
    np.testing.assert_allclose(
        msa.Pipeline([one]).plan(sample, 1).output_positions(LANDMARKS),
        plan.output_positions(LANDMARKS),
    )
    np.testing.assert_array_equal(
        msa.Pipeline([one])(sample, seed=1).image, msa.Pipeline(chain)(sample, seed=1).image
    )


def test_affine_matrix_is_pull_back():
    matrix = [[1, 0, 2.0], [0, 1, -1.0]]
    plan = msa.Pipeline([msa.Affine(matrix=matrix)]).plan(phantoms.sample(2), 1)
    np.testing.assert_allclose(plan.source_positions(np.array([[3.0, 4.0]])), [[5, 3]])
    for bad, word in (([[1, 0], [0, 1]], "rows"), ([[1, 0, 0], [1, 0, 0]], "inverted")):
        with pytest.raises(msa.ConfigError, match=word):
            msa.Affine(matrix=bad)(phantoms.sample(2), seed=1)


# ------------------------------------------------------------------ mirrors and quarter turns


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_flip_is_numpy_flip(ndim, axis):
    if ndim == 2 and axis == "z":
        with pytest.raises(msa.GeometryError, match="does not exist"):
            msa.Flip(axes=axis, p=1)(phantoms.sample(2), seed=1)
        return
    sample = phantoms.sample(ndim, "int16")
    out = msa.Flip(axes=axis, p=1)(sample, seed=1)
    np.testing.assert_array_equal(out.image, np.flip(sample.image, -1 - "xyz".index(axis)))
    np.testing.assert_array_equal(out.label, np.flip(sample.label, -1 - "xyz".index(axis)))


def oriented(orientation: str) -> Grid:
    """Grid whose array axes (z, y, x) point to the given letters."""
    rows = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for k, letter in enumerate(orientation):
        row, sign = rows[letter]
        affine[row, k] = sign * phantoms.SPACINGS[3][k]
    return Grid(phantoms.SHAPES[3], affine, RAS_MM, (1e-3,) * 3)


@pytest.mark.parametrize(("orientation", "axis"), [("SAR", 2), ("SAL", 2), ("RPS", 0), ("ILA", 1)])
def test_flip_left_right_finds_its_axis_and_swaps(orientation, axis):
    sample = phantoms.sample(3, grid=oriented(orientation))
    assert sample.grid.orientation == orientation
    out = msa.Flip(axes="left-right", p=1, swap={1: 4})(sample, seed=1)
    np.testing.assert_array_equal(out.image, np.flip(sample.image, axis + 1))
    table = np.array([0, 4, 2, 3, 1])
    np.testing.assert_array_equal(out.label, np.flip(table[sample.label], axis))
    # Named by its array axis it is the same mirror; the others leave sides alone.
    for other in range(3):
        out = msa.Flip(axes=other, p=1, swap={1: 4})(sample, seed=1)
        values = table[sample.label] if other == axis else sample.label
        np.testing.assert_array_equal(out.label, np.flip(values, other))


def test_flip_swap_is_refused_where_the_affine_is_mirrored():
    with pytest.raises(msa.GeometryError, match=r"transforms\[0\] Flip.swap"):
        msa.Pipeline([msa.Flip(swap={1: 4}, p=1)], geometry="exact")(phantoms.sample(3), seed=1)


def test_flip_unknown_orientation_is_not_guessed():
    sample = msa.Sample(image=np.zeros((1, *CUBE), np.float32), axes="CZYX", spacing=(1, 1, 1))
    with pytest.raises(msa.GeometryError, match="orientation"):
        msa.Flip(axes="left-right", p=1)(sample, seed=1)
    with pytest.raises(msa.GeometryError, match="twice"):
        msa.Flip(axes=("x", "left-right"))(phantoms.sample(3), seed=1)


def test_flip_of_a_slice_without_sides():
    """A sagittal slice has no left and right: mirroring it swaps nothing."""
    affine = np.array([[0, 0, 9.0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    slice_ = msa.Sample(
        image=phantoms.image(2), label=phantoms.label(2),
        grid=Grid(phantoms.SHAPES[2], affine, RAS_MM, (1e-3,) * 3),
    )  # fmt: skip
    assert slice_.grid.orientation == "SA"
    out = msa.Flip(axes="x", p=1, swap={1: 4})(slice_, seed=1)
    np.testing.assert_array_equal(out.label, slice_.label[:, ::-1])


def test_flip_axes_by_chance_of_their_own():
    sample = phantoms.sample(3)
    pipeline = msa.Pipeline([msa.Flip(axes=("x", "y"), p=0.5)])
    kinds = [
        dict(pipeline.plan(sample, 1, i).drawn).get("Flip", {}).get("axes") for i in range(400)
    ]
    shares = [kinds.count(k) / 400 for k in (None, "x", "y", "x, y")]
    np.testing.assert_allclose(shares, 0.25, atol=0.09)  # four standard errors


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("plane", ["xy", "xz", "yz"])
def test_rot90_is_numpy_rot90(turns, plane):
    sample = phantoms.sample(3, "uint16")
    axes = tuple(-1 - "xyz".index(a) for a in plane)
    transform = msa.Rot90(turns=[turns], plane=plane)
    out = msa.Pipeline([transform], geometry="exact")(sample, seed=1)
    np.testing.assert_array_equal(out.image, np.rot90(sample.image, turns, axes))
    np.testing.assert_array_equal(out.label, np.rot90(sample.label, turns, axes))
    assert out.grid.shape == out.image.shape[1:]


def test_rot90_refuses_to_deform():
    with pytest.raises(msa.GeometryError, match="quarter turn would deform"):
        msa.Rot90(turns=[1])(phantoms.sample(3), seed=1)
    msa.Rot90(turns=[2])(phantoms.sample(3), seed=1)


def test_rot90_equals_rotate():
    sample = cube().replace(image=phantoms.image(3, shape=CUBE, channels=1))
    for turns, degrees in ((1, 90), (2, 180), (3, -90)):
        np.testing.assert_array_equal(
            msa.Rot90(turns=[turns])(sample, seed=1).image,
            msa.Rotate(degrees={"z": degrees})(sample, seed=1).image,
        )


# ------------------------------------------------------------------ the world


CHAIN = [
    msa.Rotate(degrees={"z": 20, "x": -9}), msa.Scale(factor=1.1), msa.Flip(axes=("x",), p=1),
    msa.Shear(degrees=4), msa.Crop(size=(9, 12, 8)), msa.Rot90(turns=[1], plane="xz"),
    msa.Resize(size=(10, 9, 11)), msa.Resample(spacing="2mm"), msa.Pad(margin=1),
    msa.Translate(offset=1.5), msa.Patch(size=(9, 9, 9)),
]  # fmt: skip


def test_exact_keeps_landmarks_in_the_world():
    sample = phantoms.sample(3, image=phantoms.ramp(3), channels=("ramp",), points=LANDMARKS)
    for count in range(1, len(CHAIN) + 1):
        plan = msa.Pipeline(CHAIN[:count], geometry="exact", antialias=False).plan(sample, seed=2)
        out = plan(sample)
        np.testing.assert_allclose(
            out.grid.world_of(out.points), sample.grid.world_of(LANDMARKS), atol=1e-6
        )
        assert out.grid.shape == out.image.shape[1:]
        np.testing.assert_array_equal(plan.exact, out.grid.affine)
    # And the voxels: the ramp, seen at a world position, is what it was there.
    at = phantoms.index(out.grid.shape)
    back = np.linalg.inv(sample.grid.affine)
    source = out.grid.world_of(at) @ back[:3, :3].T + back[:3, 3]
    inside = np.all((source >= 0) & (source <= np.array(phantoms.SHAPES[3]) - 1), axis=1)
    assert inside.sum() > 50
    np.testing.assert_allclose(
        out.image.reshape(-1)[inside], phantoms.on_ramp(source[inside]), atol=1e-3
    )


def test_moved_changes_the_affine_by_regridding_only():
    sample = phantoms.sample(3)
    turned = [t for t in CHAIN if not isinstance(t, msa.Rot90)]
    regrids = (msa.Crop, msa.Pad, msa.Patch, msa.Resize, msa.Resample)
    only = [t for t in turned if isinstance(t, regrids)]
    got = msa.Pipeline(turned, geometry="moved").plan(sample, seed=2)
    expected = msa.Pipeline(only, geometry="moved").plan(sample, seed=2)
    np.testing.assert_allclose(got.grid.affine, expected.grid.affine, atol=1e-9)
    assert got.grid.shape == expected.grid.shape
    still = [t for t in turned if not isinstance(t, regrids)]
    np.testing.assert_array_equal(
        msa.Pipeline(still, geometry="moved")(sample, seed=2).grid.affine, sample.grid.affine
    )


def test_auto_is_exact_for_rasters_and_moved_for_volumes():
    turn = msa.Pipeline([msa.Rotate(degrees={"z": 9})])
    assert turn.plan(phantoms.sample(3), 1).geometry == "moved"
    plan = turn.plan(phantoms.sample(2), 1)
    assert plan.geometry == "exact"
    assert not np.array_equal(plan.grid.affine, phantoms.grid(2).affine)
