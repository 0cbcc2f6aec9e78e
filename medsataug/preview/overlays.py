"""What is drawn over a panel: outlines, the deformed grid, marks, scale bar, north arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.preview.panels import IGNORED, Floats, Key, Panel, is_class
from medsataug.types import Sample

#: Bright, told apart by most eyes, and none close to grey: yellow, blue, red, green, …
PALETTE = (
    "#ffd92f", "#35b8ff", "#ff5a4f", "#58e06b", "#ff7ae9", "#ff9a2e",
    "#9f8bff", "#2fe6c8", "#c8f05a", "#ffb3a7", "#8fd3ff", "#d9a3ff",
)  # fmt: skip
GRID_COLOUR = "#7df9ff"
CHECKER = ("#5c6068", "#3f434a")


def class_colours(keys: Sequence[Key]) -> dict[Key, str]:
    """Return a colour for each class, the same whatever the column."""
    return {key: PALETTE[i % len(PALETTE)] for i, key in enumerate(keys)}


def halo(width: float, colour: str = "black") -> list[Any]:
    """Path effect that keeps lines and letters legible on any background."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground=colour)]


def show_pixels(
    ax: Any, pixels: NDArray[np.uint8], size: tuple[float, float], smooth: bool
) -> None:
    """Show pixels at their true size, centred on the axes' origin."""
    height, width = size
    ax.imshow(
        pixels,
        extent=(-width / 2, width / 2, height / 2, -height / 2),
        interpolation="bilinear" if smooth else "antialiased",
        aspect="auto",
    )


def show_checker(ax: Any, size: tuple[float, float], cell: float) -> None:
    """Fill the panel with the checkerboard that means "no data"; ``cell`` in the panel's unit."""
    from matplotlib.colors import to_rgb

    height, width = size
    rows, columns = (max(2, round(n / cell)) for n in size)
    odd = (np.arange(rows)[:, None] + np.arange(columns)) % 2
    ax.imshow(
        np.array([to_rgb(c) for c in CHECKER])[odd],
        extent=(-width / 2, width / 2, height / 2, -height / 2),
        interpolation="nearest",
        aspect="auto",
    )


def _centres(count: int, size: float) -> Floats:
    """Positions of ``count`` pixel centres, with one more on either side."""
    return np.asarray((np.arange(-1, count + 1) + 0.5) * (size / count) - size / 2)


def draw_outlines(ax: Any, panel: Panel, colours: dict[Key, str], width: float) -> None:
    """Draw the boundary of each class, halfway between pixel centres.

    There is none along the panel's edge or towards ignored pixels: nothing is known beyond.
    """
    if panel.label is None:
        return
    rows, columns = panel.label.shape[1:]
    y, x = _centres(rows, panel.size[0]), _centres(columns, panel.size[1])
    for number, layer in enumerate(panel.label):
        padded = np.pad(layer, 1, mode="edge")
        for value in np.unique(layer[is_class(layer)]):
            mask = np.ma.masked_where(padded == IGNORED, (padded == value).astype(np.float32))
            if mask.min() == mask.max():
                continue
            lines = ax.contour(
                x, y, mask, levels=[0.5], colors=[colours[number, int(value)]], linewidths=width
            )
            lines.set_path_effects(halo(width + 1.2, "#000000c0"))


def outline_cover(panel: Panel, scale: float, width: float) -> float:
    """Fraction of the panel that outlines ``width`` pixels wide would hide at ``scale``."""
    if panel.label is None:
        return 0.0
    rows, columns = panel.label.shape[1:]
    height, across = (n * scale for n in panel.size)
    length = 0.0
    for layer in panel.label:
        length += np.count_nonzero(layer[1:] != layer[:-1]) * across / columns
        length += np.count_nonzero(layer[:, 1:] != layer[:, :-1]) * height / rows
    return length * width / (height * across)


def filled(panel: Panel, colours: dict[Key, str]) -> NDArray[np.uint8]:
    """(H, W, 4) label map: each class in its colour, background black.

    Ignored pixels, and background where there is no data, are clear.
    """
    from matplotlib.colors import to_rgb

    assert panel.label is not None
    pixels = np.zeros((*panel.label.shape[1:], 4), dtype=np.uint8)
    pixels[..., 3] = panel.pixels[..., 3] if panel.pixels.shape[-1] == 4 else 255
    pixels[(panel.label == IGNORED).any(axis=0), 3] = 0
    for (layer, value), colour in colours.items():
        if layer < len(panel.label):
            rgb = np.rint(255 * np.array(to_rgb(colour)))
            pixels[panel.label[layer] == value] = [*rgb.astype(np.uint8), 255]
    return pixels


def draw_grid(
    ax: Any,
    panel: Panel,
    position: Callable[[Floats], Floats],
    origin: Panel,
    shape: Sequence[int],
    spacing: Floats,
    step: float,
) -> None:
    """Draw lines of constant input coordinate: where a square grid of the input went.

    ``position`` maps output to input index coordinates, ``origin`` is the original's panel of
    the same plane, ``shape`` and ``spacing`` the original's; ``step`` is in units of spacing.
    """
    rows, columns = panel.pixels.shape[:2]
    at_row = np.linspace(-0.5, rows - 0.5, min(rows + 1, 161))
    at_column = np.linspace(-0.5, columns - 0.5, min(columns + 1, 161))
    points = np.stack(np.meshgrid(at_row, at_column, indexing="ij"), axis=-1).reshape(-1, 2)
    source = np.asarray(position(panel.index_of(points)), dtype=np.float64)
    inside = np.ones(len(source), dtype=bool)
    for axis in origin.axes:
        inside &= (source[:, axis] >= -0.5) & (source[:, axis] <= shape[axis] - 0.5)
    y = (at_row + 0.5) * (panel.size[0] / rows) - panel.size[0] / 2
    x = (at_column + 0.5) * (panel.size[1] / columns) - panel.size[1] / 2
    for axis in origin.axes:
        middle = (shape[axis] - 1) / 2
        far = np.where(inside, (source[:, axis] - middle) * spacing[axis], np.nan)
        if not inside.any():
            continue
        low, high = np.nanmin(far), np.nanmax(far)
        levels = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
        if len(levels) and high > low:
            lines = ax.contour(
                x,
                y,
                np.ma.masked_invalid(far.reshape(len(at_row), len(at_column))),
                levels=levels,
                colors=[GRID_COLOUR],
                linewidths=0.6,
                linestyles="solid",
                alpha=0.8,
            )
            lines.set_path_effects(halo(1.4, "#00000070"))


def draw_shapes(ax: Any, panel: Panel, sample: Sample, width: float) -> None:
    """Draw points, boxes and polygons, each in its colour, which is the same in every column.

    Of a volume, what lies within half a voxel of the plane, and boxes that it cuts.
    """
    origin, *ends = panel.index_of(np.array([[0.0, 0], [1, 0], [0, 1]]))
    depth = [k for k in range(len(origin)) if k not in panel.axes]
    scale = np.array(panel.size) / panel.pixels.shape[:2]
    step = np.array([(e - origin)[k] for e, k in zip(ends, panel.axes, strict=True)])

    def place(points: Floats) -> Floats:
        """(P, 2) down and across of (P, N) positions; NaN away from the plane."""
        flat = (points[:, panel.axes] - origin[list(panel.axes)]) / step
        away = (np.abs(points[:, depth] - origin[depth]) > 0.5).any(axis=1)
        flat[away] = np.nan
        return np.asarray((flat + 0.5) * scale - np.array(panel.size) / 2)

    def draw(points: Floats, number: int, **style: Any) -> None:
        y, x = place(points).T
        colour = PALETTE[number % len(PALETTE)]
        (line,) = ax.plot(x, y, color=colour, scalex=False, scaley=False, **style)
        line.set_path_effects(halo(style.get("linewidth", 0) + 1.2, "#000000c0"))
        line.set_clip_path(_frame(ax, panel))

    for number, point in enumerate(() if sample.points is None else sample.points):
        draw(point[None], number, marker="o", markersize=3)
    for number, (low, high) in enumerate(() if sample.boxes is None else sample.boxes):
        corners = np.repeat(origin[None], 5, axis=0)
        for k, turn in zip(panel.axes, ((0, 0, 1, 1, 0), (0, 1, 1, 0, 0)), strict=True):
            corners[:, k] = np.where(turn, high[k], low[k])
        if ((low <= origin) & (origin <= high))[depth].all():
            draw(corners, number, linewidth=width)
    for number, ring in enumerate(sample.polygons or ()):
        draw(np.concatenate([ring, ring[:1]]), number, linewidth=width, linestyle="--")


def _frame(ax: Any, panel: Panel) -> Any:
    """Return the panel's outer edge, which may be narrower than the axes'."""
    from matplotlib.patches import Rectangle

    height, width = panel.size
    return Rectangle((-width / 2, -height / 2), width, height, transform=ax.transData)


def nice_length(length: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most ``length``."""
    power = 10.0 ** np.floor(np.log10(length))
    # A hair of tolerance: 0.05 / 0.01 is below 5 in floating point.
    return float(max(m for m in (1, 2, 5) if m * power <= length * (1 + 1e-9)) * power)


def length_text(metres: float) -> str:
    """Return such as ``"50 mm"``, ``"200 m"``, ``"2 km"``."""
    for factor, unit in ((1e-3, "km"), (1.0, "m"), (1e3, "mm"), (1e6, "µm")):
        if metres * factor >= 0.9995 or unit == "µm":
            return f"{metres * factor:.4g} {unit}"
    raise AssertionError(metres)


def draw_marks(ax: Any, marks: Sequence[str], points: float = 7) -> None:
    """Write the orientation at the four edges of the panel."""
    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"),
              (0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))  # fmt: skip
    for mark, (x, y, across, up) in zip(marks, places, strict=True):
        ax.text(
            x, y, mark, transform=ax.transAxes, ha=across, va=up, fontsize=points,
            color="white", fontweight="bold", path_effects=halo(1.8),
        )  # fmt: skip


def draw_scale_bar(ax: Any, length: float, text: str, pixels_a_unit: float) -> None:
    """Draw a bar of ``length`` (the axes' unit) in the lower left corner, its length above it."""
    box = ax.get_window_extent()
    x0, y = 9 / box.width, 8 / box.height
    x1 = x0 + length * pixels_a_unit / box.width
    ax.plot(
        [x0, x1], [y, y], transform=ax.transAxes, color="white", linewidth=1.6,
        solid_capstyle="butt", path_effects=halo(3.2), scalex=False, scaley=False,
    )  # fmt: skip
    ax.text(
        x0, y + 4 / box.height, text, transform=ax.transAxes, ha="left", va="bottom",
        fontsize=6, color="white", path_effects=halo(1.8),
    )  # fmt: skip


def draw_north(ax: Any) -> None:
    """Draw a north arrow in the upper right corner."""
    box = ax.get_window_extent()
    x = 1 - 12 / box.width
    ax.annotate(
        "", (x, 1 - 5 / box.height), (x, 1 - 25 / box.height), xycoords="axes fraction",
        arrowprops={"arrowstyle": "-|>,head_width=0.22,head_length=0.42", "color": "white",
                    "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "path_effects": halo(2.6)},
    )  # fmt: skip
    ax.text(
        x, 1 - 27 / box.height, "N", transform=ax.transAxes, ha="center", va="top", fontsize=6.5,
        color="white", fontweight="bold", path_effects=halo(1.8),
    )  # fmt: skip
