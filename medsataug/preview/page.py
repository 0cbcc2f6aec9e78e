"""Where everything goes on the page: lengths in pixels, measured before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medsataug.preview import overlays
from medsataug.preview.panels import Column, Count, Floats, Key, Panel

DPI = 150
GAP = 12
EDGE = 14
ROW_NAME = 20
HEADER = 26
LINE = 15
BACKGROUND = "#15171c"
INK, FAINT = "#eceef2", "#a9afba"
FRAME = "#1f2229"  # around a panel that is smaller than its frame
OUTLINE = 0.9
MOST_COVER = 0.4
MOST_CLASSES = 8
MOST_LINES = 10
WIDTH_TOTAL, WIDTH_LEAST, WIDTH_MOST = 1500, 260, 430


@dataclass(frozen=True)
class GridOverlay:
    """The deformed grid, drawn over the first panel of one column."""

    column: int
    position: Callable[[Floats], Floats]
    shape: tuple[int, ...]
    spacing: Floats
    step: float


@dataclass(frozen=True)
class Page:
    """What the page shows; ``sizes_known`` says whether panel sizes are metres.

    ``file_colours`` are those that came with the label; they are used for filled label maps
    only, where they need not stand out from the image.
    """

    title: str
    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    origins: tuple[tuple[str, ...], ...]
    drawn: tuple[tuple[str, ...], ...]
    row_names: tuple[str, ...]
    sizes_known: bool
    grid: GridOverlay | None
    same_scale: bool
    file_colours: dict[Key, str]


class Writer:
    """Measures text before it is placed, so that it wraps to a column and is never clipped."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import FontProperties

        self._renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
        self._font = FontProperties

    def width(self, text: str, points: float, weight: str = "normal") -> float:
        """Width of one line in pixels."""
        font = self._font(family="DejaVu Sans", size=points, weight=weight)
        return float(self._renderer.get_text_width_height_descent(text, font, False)[0])

    def wrap(
        self, text: str, points: float, width: float, weight: str = "normal", indent: str = "  "
    ) -> list[str]:
        """Lines no wider than ``width``; words longer than a line are cut."""
        lines, line = [], ""
        words = text.split(" ")

        def fits(trial: str) -> bool:
            return self.width(trial, points, weight) <= width

        while words:
            word = words.pop(0)
            trial = f"{line} {word}" if line.strip() else line + word
            if fits(trial):
                line = trial
            elif line.strip():
                lines.append(line)
                line, words = indent, [word, *words]
            else:
                cut = len(word) - 1
                while cut > 1 and not fits(line + word[:cut]):
                    cut = cut * 9 // 10
                lines.append(line + word[:cut])
                line, words = indent, [word[cut:], *words]
        return [*lines, line] if line.strip() or not lines else lines

    def entries(self, texts: Sequence[str], points: float, width: float, most: int) -> list[str]:
        """Wrap each text; at most ``most`` lines, the last then saying how many are left out."""
        lines: list[str] = []
        for done, text in enumerate(texts):
            more = self.wrap(text, points, width)
            last = done == len(texts) - 1
            if len(lines) + len(more) > most - (0 if last else 1):
                return [*lines, f"+{len(texts) - done} more"]
            lines += more
        return lines


def draw_page(page: Page) -> Any:
    """Return the drawn figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    writer = Writer()
    count = len(page.columns)
    width = min(max(WIDTH_TOTAL // count, WIDTH_LEAST), WIDTH_MOST)
    scales = _scales(page, width)
    rows = range(len(page.columns[0].panels))
    scaled = list(zip(page.columns, scales, strict=True))
    # Marks and the scale bar need room however flat the volume is.
    heights = [max(70, round(max(c.panels[r].size[0] * s for c, s in scaled))) for r in rows]
    fills = len(heights) == 1 and _is_dense(page, scales)
    if fills:
        heights.append(heights[0])
    keys = sorted({n.key for c in page.columns for n in c.counts})
    colours = overlays.class_colours(keys)
    if fills and all(key in page.file_colours for key in keys):
        colours = {key: page.file_colours[key] for key in keys}
    legend = max(min(len(c.counts), MOST_CLASSES + 1) for c in page.columns)
    stops = _legend_stops(writer, page)
    blocks = [_caption(writer, page, i, width) for i in range(count)]
    captions = max(len(notes) + len(drawn) for notes, drawn in blocks)

    left = EDGE + (ROW_NAME if any(page.row_names) else 0)
    total_w = left + count * width + (count - 1) * GAP + EDGE
    title = writer.wrap(page.title, 10, total_w - 2 * EDGE, "bold", "")[:3] if page.title else []
    top = EDGE + 24 * len(title) + (6 if title else 0)
    panels_h = sum(heights) + GAP * (len(heights) - 1)
    under = top + HEADER + panels_h + 10
    total_h = under + LINE * (legend + captions) + (6 if legend else 0) + EDGE
    figure = Figure(figsize=(total_w / DPI, total_h / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        plain: dict[str, Any] = {"fontsize": 6.5, "color": INK, "ha": "left", "va": "center"}
        figure.text(x / total_w, 1 - y / total_h, text, parse_math=False, **(plain | style))

    for i, line in enumerate(title):
        write(EDGE, EDGE + 10 + 24 * i, line, fontsize=10, fontweight="bold")
    y = float(top + HEADER)
    for name, height in zip([*page.row_names, ""], heights, strict=False):
        write(EDGE + 6, y + height / 2, name, rotation=90, ha="center", color=FAINT, fontsize=7)
        y += height + GAP
    for i, column in enumerate(page.columns):
        x = left + i * (width + GAP)
        write(x, top + HEADER / 2 - 1, page.heads[i], fontsize=8.5, fontweight="bold")
        y = float(top + HEADER)
        for r, height in enumerate(heights):
            panel = column.panels[min(r, len(column.panels) - 1)]
            frame = (x / total_w, 1 - (y + height) / total_h, width / total_w, height / total_h)
            ax = figure.add_axes(frame)
            _draw_panel(ax, page, i, r, panel, colours, scales[i], (width, height), fills)
            y += height + GAP
        notes, drawn = blocks[i]
        y = under + LINE / 2
        for count_ in _shown(column):
            _swatch(figure, x, y, colours[count_.key], total_w, total_h)
            for stop, text in zip(stops, (count_.name, count_.measure, count_.voxels), strict=True):
                write(x + stop, y, text)
            y += LINE
        if len(column.counts) > len(_shown(column)):
            write(x, y, f"+{len(column.counts) - len(_shown(column))} more classes")
        y = under + LINE / 2 + LINE * legend + (6 if legend else 0)
        for text, colour in [*((t, FAINT) for t in notes), *((t, INK) for t in drawn)]:
            write(x, y, text, color=colour)
            y += LINE
    return figure


def _scales(page: Page, width: int) -> list[float]:
    """Pixels in one unit of panel size, for each column."""

    def fit(panels: Sequence[Panel]) -> float:
        return min(min(width / p.size[1], 1.5 * width / p.size[0]) for p in panels)

    if page.same_scale:
        return [fit([p for c in page.columns for p in c.panels])] * len(page.columns)
    return [fit(c.panels) for c in page.columns]


def _is_dense(page: Page, scales: Sequence[float]) -> bool:
    """Whether outlines would hide the image, so that labels get a row of their own."""
    wide = DPI / 72 * (OUTLINE + 1.2)
    return any(
        overlays.outline_cover(column.panels[0], scale, wide) > MOST_COVER
        for column, scale in zip(page.columns, scales, strict=True)
    )


def _shown(column: Column) -> tuple[Count, ...]:
    return column.counts[:MOST_CLASSES]


def _legend_stops(writer: Writer, page: Page) -> tuple[float, float, float]:
    """Where class, size and voxels start, so that they line up in all columns."""
    counts = [n for c in page.columns for n in _shown(c)]
    name = max((writer.width(n.name, 6.5) for n in counts), default=0)
    measure = max((writer.width(n.measure, 6.5) for n in counts), default=0)
    first = 16 + name + 12
    return 16, first, first + (measure + 12 if measure else 0)


def _caption(writer: Writer, page: Page, i: int, width: int) -> tuple[list[str], list[str]]:
    """Return (notes, drawn) under column ``i``, wrapped to its width."""
    column = page.columns[i]
    notes = [t for n in (*page.origins[i], *column.notes) for t in writer.wrap(n, 6.5, width)]
    if page.grid is not None and page.grid.column == i:
        step = page.grid.step
        noun = "voxels" if len(page.grid.shape) == 3 else "pixels"
        text = overlays.length_text(step) if page.sizes_known else f"{step:g} {noun}"
        notes += writer.wrap(f"grid: squares of {text} in the original", 6.5, width)
    return notes, writer.entries(page.drawn[i], 6.5, width, MOST_LINES)


def _draw_panel(
    ax: Any,
    page: Page,
    i: int,
    row: int,
    panel: Panel,
    colours: dict[Key, str],
    scale: float,
    box: tuple[float, float],
    fills: bool,
) -> None:
    """Draw one panel, centred in a frame of ``box`` = (width, height) pixels."""
    width, height = (n / scale for n in box)
    ax.set_facecolor(FRAME)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if panel.pixels.shape[-1] == 4:
        overlays.show_checker(ax, panel.size, 8 / scale)
    if fills and row == 1:
        if panel.label is not None:
            overlays.show_pixels(ax, overlays.filled(panel, colours), panel.size, smooth=False)
    else:
        rows, columns = panel.pixels.shape[:2]
        enlarged = panel.size[0] * scale >= rows and panel.size[1] * scale >= columns
        overlays.show_pixels(ax, panel.pixels, panel.size, smooth=enlarged)
    grid = page.grid
    if grid is not None and grid.column == i and row == 0:
        origin = page.columns[0].panels[0]
        overlays.draw_grid(ax, panel, grid.position, origin, grid.shape, grid.spacing, grid.step)
    if not fills:
        overlays.draw_outlines(ax, panel, colours, OUTLINE)
    sample = page.columns[i].sample
    if sample is not None and not (fills and row == 1):
        overlays.draw_shapes(ax, panel, sample, OUTLINE)
    ax.set_xlim(-width / 2, width / 2)
    ax.set_ylim(height / 2, -height / 2)
    overlays.draw_marks(ax, panel.marks)
    if row == 0 and page.sizes_known and (i == 0 or not page.same_scale):
        length = overlays.nice_length(panel.size[1] / 3)
        overlays.draw_scale_bar(ax, length, overlays.length_text(length), scale)
    if row == 0 and panel.north_up:
        overlays.draw_north(ax)


def _swatch(figure: Any, x: float, y: float, colour: str, total_w: int, total_h: int) -> None:
    from matplotlib.patches import Rectangle

    figure.add_artist(
        Rectangle((x / total_w, 1 - (y + 4) / total_h), 10 / total_w, 9 / total_h, color=colour)
    )
