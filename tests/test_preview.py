"""Pictures: orientation, aspect, colours and captions are right, and nothing is clipped."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medsataug.errors import ConfigError, FormatError
from medsataug.grid import RAS_MM, Grid
from medsataug.preview import _figure, draw, side_by_side
from medsataug.preview.overlays import draw_grid, length_text, nice_length, outline_cover
from medsataug.preview.page import Writer
from medsataug.preview.panels import IGNORED, Panel, at_hand
from medsataug.preview.raster import composite_bands, north_up, raster_columns
from medsataug.preview.volume import CT_WINDOW, Reading, largest_object_centre, volume_columns
from medsataug.types import Channel, Sample

PAIRS = ("SI", "AP", "LR")
ROWS = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
ORIENTATIONS = ["".join(o) for p in permutations(PAIRS) for o in product(*p)]
#: How a body is laid out when stored inferior, posterior, left: 12 slices of 5 mm, 30 × 24 × 1.5.
SHAPE, SPACING = (12, 30, 24), (5.0, 2.0, 1.5)


def body() -> tuple[np.ndarray, np.ndarray]:
    """Asymmetric phantom and label, in display order: down, to the back, to the left."""
    image = np.zeros(SHAPE, dtype=np.int16)
    image[1:11, 3:27, 2:21] = 400
    image[2:4, 5:9, 3:8] = 900  # superior, anterior, right
    image[8:10, 20:26, 12:14] = 700
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[2:4, 5:9, 3:8] = 3
    label[9, 22, 12] = 1
    return image, label


def stored(letters: str, turn_deg: float = 0.0) -> Sample:
    """Return the phantom stored in the order ``letters`` (array order), turned in the world."""
    image, label = body()
    order = [next(i for i, pair in enumerate(PAIRS) if c in pair) for c in letters]
    steps = tuple(slice(None, None, 1 if c in "IPL" else -1) for c in letters)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for k, c in enumerate(letters):
        affine[ROWS[c], k] = SPACING[order[k]] * (1 if c in "RAS" else -1)
    a = np.deg2rad(turn_deg)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    image, label = (v.transpose(order)[steps] for v in (image, label))
    grid = Grid(image.shape, affine, RAS_MM, (1e-3,) * 3)
    return Sample(image[None], label, grid=grid, channels=["T1"])


def copy_of(sample: Sample, index: int = 0, **changes: object) -> Sample:
    drawn = [["Rotate", {"degrees": "+12.1°", "axis": "z"}], ["Elastic", {"magnitude": "4.2 mm"}]]
    return sample.replace(**{"record": {"seed": 7, "index": index, "drawn": drawn}, **changes})


def scene(size: int = 64, bands: int = 6, **changes: object) -> Sample:
    rng = np.random.default_rng(3)
    image = rng.integers(100, 3000, (bands, size, size + 8)).astype(np.uint16)
    label = np.zeros(image.shape[1:], dtype=np.uint8)
    label[5:20, 4:30], label[30:40, 40:50], label[:, -4:] = 1, 4, 255
    affine = np.array([[0, 10.0, 4e5], [-10.0, 0, 5e6], [0, 0, 1]])
    grid = Grid(label.shape, affine, "EPSG:32633", (1.0, 1.0))
    valid = np.ones((1, *label.shape), dtype=bool)
    valid[..., -4:] = False
    names = ["B2", "B3", "B4", "B8", "B11", "B12"][:bands]
    fields = {"label": label, "grid": grid, "valid": valid, "channels": names}
    meta = {"label_meta": {"nodata": 255.0}}
    return Sample(image, **{**fields, "meta": meta, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("letters", ORIENTATIONS)
def test_every_storage_order_shows_the_same_planes(letters: str) -> None:
    image, _ = body()
    column = volume_columns([stored(letters)], [0])[0]
    axial, coronal, sagittal = (p.pixels[..., 0] for p in column.panels)
    # The centre of the larger object is a tie of voxels: 2 or 3, 6 or 7, 5.
    assert any(np.array_equal(axial == 255, image[z] == 900) for z in (2, 3))
    assert any(np.array_equal(coronal == 255, image[:, y] == 900) for y in (6, 7))
    np.testing.assert_array_equal(sagittal == 255, image[:, :, 5] == 900)


@pytest.mark.parametrize("turn", [0.0, 25.0])
@pytest.mark.parametrize("letters", ORIENTATIONS)
def test_marks_agree_with_the_affine(letters: str, turn: float) -> None:
    sample = stored(letters, turn)
    panels = volume_columns([sample], [0])[0].panels
    assert [p.marks for p in panels] == [
        ("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I")
    ]  # fmt: skip
    toward = dict(zip("LRPAIS", [(0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1)], strict=True))
    for panel in panels:
        world = sample.grid.world_of(panel.index_of(np.array([[2.0, 3.0], [2, 4], [3, 3]])))
        for step, mark in ((world[1] - world[0], panel.marks[1]),
                           (world[2] - world[0], panel.marks[3])):  # fmt: skip
            axis, sign = toward[mark]
            assert np.argmax(np.abs(step)) == axis
            assert np.sign(step[axis]) == sign


def test_panel_pixels_are_the_voxels_they_name() -> None:
    sample = stored("PIR")
    for panel in volume_columns([sample], [0])[0].panels:
        rows, columns = panel.pixels.shape[:2]
        points = np.stack(np.meshgrid(range(rows), range(columns), indexing="ij"), -1)
        index = panel.index_of(points.reshape(-1, 2).astype(float)).astype(int)
        values = sample.label[tuple(index.T)].reshape(rows, columns)  # type: ignore[index]
        np.testing.assert_array_equal(panel.label[0], values)  # type: ignore[index]


def test_unknown_orientation_has_axis_names_and_no_letters() -> None:
    image, label = body()
    sample = Sample(image, label, axes="ZYX", spacing=(5, 2, 1.5))
    column = volume_columns([sample], [0])[0]
    marks = "".join("".join(p.marks) for p in column.panels)
    assert not set(marks) & set("LRAPSI")
    assert column.panels[0].marks == ("", "x\u2009→", "", "y\u2009↓")
    assert Reading.of(sample.grid).names == ("z plane", "y plane", "x plane")
    assert "orientation unknown" in column.notes
    np.testing.assert_array_equal(column.panels[1].pixels[..., 0] == 255, image[:, 6] == 900)


def test_sizes_are_physical_and_the_page_keeps_the_aspect() -> None:
    sample = stored("SAR")
    panels = volume_columns([sample], [0])[0].panels
    np.testing.assert_allclose(panels[0].size, (0.060, 0.036))
    np.testing.assert_allclose(panels[1].size, (0.060, 0.036))
    np.testing.assert_allclose(panels[2].size, (0.060, 0.060))
    half = np.diag([1.0, 1, 1, 1])
    part = copy_of(
        sample, image=sample.image[:, :, :15], label=sample.label[:, :15],
        grid=sample.grid.moved(half, (12, 15, 24)),
    )  # fmt: skip
    figure = _figure(sample, [part], (), None, None, "")
    scales = []
    for ax in figure.axes:
        box = ax.get_window_extent()
        (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
        scales += [box.width / abs(x1 - x0), box.height / abs(y1 - y0)]
    np.testing.assert_allclose(scales, scales[0], rtol=2e-3)


def test_planes_pass_through_the_largest_object_not_the_centre_of_all() -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[1:4, 1:4, 2:5] = True
    mask[8, 8, 8] = True
    assert largest_object_centre(mask) == (2, 2, 3)
    assert largest_object_centre(np.zeros((3, 3, 3), dtype=bool)) is None
    ring = np.zeros((1, 7, 7), dtype=bool)
    ring[0, 1:6, 1:6] = True
    ring[0, 2:5, 2:5] = False
    assert ring[largest_object_centre(ring)]


def test_ct_window_and_another_unit() -> None:
    sample = stored("SAR").replace(meta={"modality": "CT"})
    normal = (np.asarray(sample.image) - 400) / 200.0
    columns = volume_columns([sample, copy_of(sample), copy_of(sample, image=normal)], [0, 0, 0])
    assert f"T1, window {CT_WINDOW[0]:.0f} to {CT_WINDOW[1]:.0f} HU" in columns[0].notes
    assert not any("another unit" in n for n in columns[1].notes)
    assert any("another unit" in n for n in columns[2].notes)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (["B2", "B3", "B4", "B8"], (2, 1, 0)),
        (["B01", "B02", "B03", "B04"], (3, 2, 1)),
        (["Red", "Green", "Blue", "NIR"], (0, 1, 2)),
        (["nir", "blue", "green", "red"], (3, 2, 1)),
        ([Channel("a", 0.842), Channel("b", 0.49), Channel("c", 0.56), Channel("d", 0.665)],
         (3, 2, 1)),
        (["band 1", "band 2", "band 3", "band 4"], (0, 1, 2)),
        (["VV", "VH"], (0,)),
    ],
)  # fmt: skip
def test_composite_bands(channels: list[str], expected: tuple[int, ...]) -> None:
    sample = Sample(np.zeros((len(channels), 4, 5)), axes="CYX", channels=channels)
    assert composite_bands(sample, None, None) == expected


def test_composite_bands_named_by_the_user() -> None:
    assert composite_bands(scene(), ["B12", "B8", "B3"], None) == (5, 3, 1)
    assert composite_bands(scene(), None, "B8") == (3,)
    with pytest.raises(ConfigError, match=r"'B9' is not in this image.*B2, B3"):
        composite_bands(scene(), ["B9", "B8", "B3"], None)
    with pytest.raises(ConfigError, match="one or three"):
        composite_bands(scene(), ["B8", "B3"], None)


def test_nodata_is_clear_and_ignored_labels_are_left_out() -> None:
    sample = scene()
    column = raster_columns([sample], [(2, 1, 0)])[0]
    panel = column.panels[0]
    np.testing.assert_array_equal(panel.pixels[..., 3] == 255, sample.valid[0])
    assert np.all(panel.label[0, :, -4:] == IGNORED)
    assert [(c.name, c.measure, c.voxels) for c in column.counts] == [
        ("1", "3.90 ha", "390 px"), ("4", "1.00 ha", "100 px")
    ]  # fmt: skip


def test_stretch_of_the_original_is_shared() -> None:
    sample = scene()
    darker = copy_of(sample, image=(np.asarray(sample.image) * 0.8).astype(np.uint16))
    first, second = raster_columns([sample, darker], [(2, 1, 0)] * 2)
    shown = sample.valid[0]
    assert (
        second.panels[0].pixels[shown, :3].mean() < 0.9 * first.panels[0].pixels[shown, :3].mean()
    )


def test_volumes_in_ml() -> None:
    count = volume_columns([stored("LPI")], [0])[0].counts
    assert [(c.name, c.measure, c.voxels) for c in count] == [
        ("1", "0.015 ml", "1 voxels"), ("3", "0.60 ml", "40 voxels")
    ]  # fmt: skip


def test_north_arrow_only_where_north_is_up() -> None:
    grid = scene().grid
    assert north_up(grid)
    turned = grid.affine @ np.array([[0.9, -0.1, 0], [0.1, 0.9, 0], [0, 0, 1]])
    assert not north_up(Grid(grid.shape, turned, grid.world, grid.metres))
    assert not north_up(Grid.regular((4, 5), (1, 1)))


def moving(original: Sample, shift: np.ndarray) -> list[np.ndarray]:
    """Vertices of the lines drawn over the first panel when the content is moved by ``shift``."""
    from matplotlib.figure import Figure

    panel = volume_columns([original], [0])[0].panels[0]
    ax = Figure().add_subplot()
    spacing = np.linalg.norm(original.grid.physical, axis=0)
    draw_grid(ax, panel, lambda p: p - shift, panel, original.grid.shape, spacing, 0.01)
    return [np.concatenate([p.vertices for p in c.get_paths()]) for c in ax.collections]


@pytest.mark.parametrize("letters", ["SAR", "LPI", "ASL"])
def test_deformed_grid_lines_move_with_the_content(letters: str) -> None:
    sample = stored(letters)
    left = letters.index("L" if "L" in letters else "R")
    shift = np.zeros(3)
    shift[left] = 2 if letters[left] == "L" else -2  # two voxels, 3 mm, to the patient's left
    still, moved = moving(sample, np.zeros(3)), moving(sample, shift)
    columns = [np.unique(np.round(v[1][np.isfinite(v[1][:, 0]), 0], 5)) for v in (still, moved)]
    np.testing.assert_allclose(columns[0], [-0.01, 0, 0.01], atol=1e-5)
    # The viewer's right is the patient's left.
    np.testing.assert_allclose(columns[1], [-0.007, 0.003, 0.013], atol=1e-5)


def test_outline_cover_counts_boundaries() -> None:
    label = np.zeros((1, 10, 10), dtype=np.int64)
    label[0, :, ::2] = 1
    panel = Panel(np.zeros((10, 10, 3), np.uint8), (10, 10), label, ("",) * 4, (0, 1), np.asarray)
    assert outline_cover(panel, 10.0, 5.0) == pytest.approx(9 * 100 * 5 / 1e4)


def test_dense_labels_get_a_row_of_their_own() -> None:
    rng = np.random.default_rng(0)
    busy = scene(label=rng.integers(1, 6, (64, 72)).astype(np.uint8))
    assert len(_figure(busy, [copy_of(busy)], (), None, None, "").axes) == 4
    assert len(_figure(scene(), [copy_of(scene())], (), None, None, "").axes) == 2


def test_lengths() -> None:
    assert [nice_length(x) for x in (0.05, 0.049, 730, 1000)] == [0.05, 0.02, 500, 1000]
    assert [length_text(x) for x in (0.05, 0.001, 200, 2000, 2e-6)] == [
        "50 mm", "1 mm", "200 m", "2 km", "2 µm"
    ]  # fmt: skip


def test_captions_wrap_and_say_how_many_are_left_out() -> None:
    writer = Writer()
    texts = [f"Transform{i}: magnitude 4.25 mm, spacing 32 mm" for i in range(12)]
    lines = writer.entries(texts, 6.5, 200, 10)
    assert len(lines) <= 10
    assert lines[-1] == f"+{12 - (len(lines) - 1) // 2} more"
    assert all(writer.width(line, 6.5) <= 200 for line in lines)
    endless = writer.wrap("x" * 300 + " $y$", 6.5, 120)
    assert all(writer.width(line, 6.5) <= 120 for line in endless)
    assert "".join(line.strip() for line in endless).startswith("x" * 300)


def cases() -> dict[str, Sample]:
    image, _ = body()
    thin = stored("SAR")
    return {
        "volume": stored("SAL"),
        "volume without label": stored("SAR").replace(label=None),
        "volume of unknown size": Sample(image, axes="ZYX"),
        "volume of one slice": thin.replace(
            image=thin.image[:, :1],
            label=thin.label[:1],
            grid=thin.grid.moved(np.eye(4), (1, 30, 24)),
        ),
        "two label layers": stored("SAR").replace(label=np.stack([body()[1], body()[1] * 2])),
        "bands": scene(),
        "bands without label or valid": scene(label=None, valid=None),
        "one band": scene(bands=1),
        "plain image": Sample(np.arange(120.0).reshape(10, 12), axes="YX"),
        "constant": Sample(np.zeros((3, 16, 12)), axes="CYX"),
        "nothing valid": scene(valid=np.zeros((1, 64, 72), dtype=bool)),
        "not a number": Sample(np.full((8, 9), np.nan), axes="YX"),
        "many classes": scene(label=(np.arange(64 * 72) // 256).reshape(64, 72)),
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 8])
@pytest.mark.parametrize("name", list(cases()))
def test_nothing_is_clipped_or_overlaps(name: str, count: int) -> None:
    sample = cases()[name]
    copies = [copy_of(sample, i) for i in range(count)]
    positions = [lambda p: 1.1 * p + 0.3] * count
    title = "A rather long title, " * 4
    figure = _figure(sample, copies, positions, None, None, title)
    figure.canvas.draw()
    page = figure.bbox
    boxes = [t.get_window_extent() for t in figure.texts if t.get_text().strip()]
    for box in [*boxes, *(a.get_window_extent() for a in figure.axes)]:
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= page.width + 0.5
        assert box.y1 <= page.height + 0.5
    panels = [a.get_window_extent() for a in figure.axes]
    for one, two in [*combinations(boxes, 2), *product(boxes, panels)]:
        across = min(one.x1, two.x1) - max(one.x0, two.x0)
        down = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert min(across, down) < 2, (one, two)


def test_writes_the_same_bytes_whatever_the_user_style(tmp_path: Path) -> None:
    import matplotlib

    sample = stored("LAS")
    image, label = np.array(sample.image), np.array(sample.label)
    first = draw(sample, [copy_of(sample)], tmp_path / "deep" / "a.png", positions=[lambda p: p])
    with matplotlib.rc_context({"font.family": "serif", "lines.linewidth": 9, "savefig.dpi": 30}):
        second = draw(sample, [copy_of(sample)], tmp_path / "b.png", positions=[lambda p: p])
    data = first.read_bytes()
    assert data == second.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert b"Software" not in data
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["b.png", "deep"]
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.label, label)


def test_first_eight_copies_are_drawn(tmp_path: Path) -> None:
    sample = Sample(np.arange(120.0).reshape(10, 12), axes="YX")
    ten = [copy_of(sample, i) for i in range(10)]
    draw(sample, ten, tmp_path / "ten.png")
    from matplotlib.image import imread

    assert imread(tmp_path / "ten.png").shape[1] < 9 * 300


def test_mistakes_have_one_clear_line(tmp_path: Path) -> None:
    volume, flat = stored("SAR"), scene()
    with pytest.raises(ConfigError, match=r"end it in \.png"):
        draw(volume, [], tmp_path / "a.jpg")
    with pytest.raises(ConfigError, match="original's 3 dimensions"):
        draw(volume, [flat], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="give channel= instead"):
        draw(volume, [], tmp_path / "a.png", bands=["T1"])
    with pytest.raises(ConfigError, match="channel 'T2' is not in this image"):
        draw(volume, [], tmp_path / "a.png", channel="T2")
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="cannot be written"):
        draw(flat, [], tmp_path / "file" / "a.png")


class Lazy:
    """A raster that counts how much of it was read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read_pixels = 0

    def read(self, window: tuple[slice, ...]) -> np.ndarray:
        part = self.array[(slice(None), *window)]
        self.read_pixels += part[0].size
        return part

    def read_valid(self, window: tuple[slice, ...]) -> np.ndarray:
        return self.read(window) > 0


def test_lazy_images_are_read_around_their_centre(tmp_path: Path) -> None:
    whole = np.broadcast_to(np.arange(3000, dtype=np.uint16), (3, 2000, 3000))
    lazy = Lazy(whole)
    affine = np.array([[0, 10.0, 0], [-10.0, 0, 0], [0, 0, 1]])
    grid = Grid((2000, 3000), affine, "EPSG:32633", (1.0, 1.0))
    sample = Sample(lazy, grid=grid)
    part, first = at_hand(sample)
    np.testing.assert_array_equal(first, [488, 988])
    assert part.grid.shape == (1024, 1024)
    np.testing.assert_allclose(part.grid.affine[:2, 2], [9880, -4880])
    assert part.image[0, 0, 0] == 988
    lazy.read_pixels = 0
    draw(sample, [sample], tmp_path / "lazy.png", positions=[lambda p: p])
    assert lazy.read_pixels <= 4 * 1024**2


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np
from medsataug.preview import draw
from medsataug.types import Sample
assert "matplotlib" not in sys.modules
s = Sample(np.zeros((9, 8)), axes="YX")
draw(s, [s], {str(tmp_path / "a.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_liver_is_on_the_viewers_left(samples: Path) -> None:
    import nibabel as nib

    file = nib.load(samples / "ct_label.nii.gz")
    label = np.asarray(file.dataobj).transpose(2, 1, 0)
    grid = Grid(label.shape, file.affine[:, [2, 1, 0, 3]], RAS_MM, (1e-3,) * 3)
    axial = volume_columns([Sample(label[None], label, grid=grid)], [0])[0].panels[0]
    liver = ndimage.center_of_mass(axial.label[0] == 1)
    spine = ndimage.center_of_mass(axial.label[0] == 3)
    assert liver[1] < spine[1]
    assert liver[0] < spine[0]


def test_real_brain_stored_to_the_left(real_data: Path, tmp_path: Path) -> None:
    import nibabel as nib

    folder = real_data / "mri_ms_brain" / "patient07"
    file = nib.load(folder / "flair.nii.gz")
    image = np.asarray(file.dataobj).transpose(2, 1, 0)
    lesion = np.asarray(nib.load(folder / "lesion.nii.gz").dataobj).transpose(2, 1, 0)
    grid = Grid(image.shape, file.affine[:, [2, 1, 0, 3]], RAS_MM, (1e-3,) * 3)
    sample = Sample(image[None], lesion.astype(np.uint8), grid=grid)
    axial = volume_columns([sample], [0])[0].panels[0]
    # Stored from right to left, and so shown as stored; anterior is stored last, shown first.
    z = largest_object_centre(lesion > 0)[0]
    np.testing.assert_array_equal(axial.label[0], lesion[z, ::-1])
    assert draw(sample, [copy_of(sample)], tmp_path / "brain.png").stat().st_size > 50_000


def test_side_by_side_all_are_shown_where_the_first_has_its_label() -> None:
    truth = stored("IPL")
    found = np.zeros_like(truth.label)
    found[9, 22, 12] = 1  # its own largest object lies elsewhere
    prediction = truth.replace(label=found)
    own = volume_columns([truth, prediction], [0, 0])
    shared = volume_columns([truth, prediction], [0, 0], one_place=True)
    np.testing.assert_array_equal(shared[0].panels[0].pixels, shared[1].panels[0].pixels)
    assert (own[0].panels[0].pixels != own[1].panels[0].pixels).any()
    given = ([truth, prediction], ("truth", "prediction"), ((), ("Dice 0.1",)), "case 1")
    png = side_by_side(*given)
    assert png.startswith(b"\x89PNG")
    assert png == side_by_side(*given)
