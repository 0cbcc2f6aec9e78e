"""Pictures of what an augmentation did: the original and its copies, side by side.

Masks are outlined on true aspect, the draws are written underneath, and one panel carries the
deformed grid. matplotlib is imported only while a picture is being drawn, and without pyplot.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.preview.panels import (
    Column,
    Floats,
    Key,
    at_hand,
    channel_number,
    drawn_texts,
    page_spacing,
)
from medsataug.types import Sample
from medsataug.whole import write_whole

if TYPE_CHECKING:
    from medsataug.preview.page import GridOverlay

__all__ = ["draw", "side_by_side"]

Position = Callable[[NDArray[np.float64]], NDArray[np.float64]]
MOST_COPIES = 8


def draw(
    original: Sample,
    copies: Sequence[Sample],
    path: Path | str,
    *,
    positions: Sequence[Position | None] = (),
    bands: Sequence[str] | None = None,
    channel: str | int | None = None,
    title: str = "",
) -> Path:
    """Write one PNG that shows ``original`` and ``copies`` side by side.

    A volume is shown in three planes through its largest labelled object, in the radiological
    convention; a raster as a colour composite. The same inputs give the same bytes.

    Parameters
    ----------
    original : Sample
    copies : sequence of Sample
        The first eight are drawn. ``record["seed"]``, ``record["index"]`` and
        ``record["drawn"]`` (a list of ``[transform, {parameter: text}]``) become the caption.
    path : path of a ``.png`` file
    positions : sequence of callable or None
        ``positions[i]`` takes (P, N) output index coordinates of copy i, array order, to input
        index coordinates; the first that is given is drawn as a deformed grid.
    bands : sequence of str, optional
        One or three channels of a raster; otherwise found by wavelength or name.
    channel : str or int, optional
        The channel of a volume (default: the first), or the one band of a raster to show.
    title : str

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ConfigError
        For a path that is no PNG, unknown bands, or copies of other dimensions.
    FormatError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"path: a preview is a PNG, got {path.name!r}; end it in .png")
    if any(c.ndim != original.ndim for c in copies):
        raise ConfigError(
            f"copies: all must have the original's {original.ndim} dimensions, "
            f"got {sorted({c.ndim for c in copies})}"
        )
    if original.ndim == 3 and bands is not None:
        raise ConfigError("bands: a volume shows one channel; give channel= instead")
    left_out = len(copies) - MOST_COPIES
    if left_out > 0:
        title = f"{title}  (first {MOST_COPIES} of {len(copies)} copies)".strip()
        copies = copies[:MOST_COPIES]

    png = _drawn(lambda: _figure(original, copies, positions, bands, channel, title))
    write_whole(png, path)
    return path


def side_by_side(
    samples: Sequence[Sample],
    heads: Sequence[str],
    notes: Sequence[Sequence[str]],
    title: str = "",
) -> bytes:
    """Return a PNG of samples on one grid, such as an image with its truth and predictions.

    Parameters
    ----------
    samples : sequence of Sample
        Volumes are shown in planes through the first one's largest labelled object.
    heads : sequence of str
        What each is called.
    notes : sequence of sequences of str
        Lines under each.
    title : str
    """

    def figure() -> Any:
        from medsataug.preview.page import Page, draw_page

        shown = [at_hand(s)[0] for s in samples]
        columns, names = _columns(shown, None, None, one_place=True)
        return draw_page(
            Page(
                title=title,
                heads=tuple(heads),
                columns=tuple(columns),
                origins=((),) * len(shown),
                drawn=tuple(tuple(lines) for lines in notes),
                row_names=names,
                sizes_known=all(s.grid.metres is not None for s in shown),
                grid=None,
                same_scale=True,
                file_colours=_file_colours(shown[0]),
            )
        )

    return _drawn(figure)


def _drawn(figure: Callable[[], Any]) -> bytes:
    """PNG of a figure; a user's own style must not change the bytes."""
    import matplotlib

    with matplotlib.rc_context({k: matplotlib.rcParamsDefault[k] for k in _style_keys()}):
        buffer = io.BytesIO()
        figure().savefig(buffer, format="png", facecolor="auto", metadata={"Software": None})
    return buffer.getvalue()


def _style_keys() -> list[str]:
    import matplotlib

    groups = ("font.", "text.", "lines.", "axes.", "image.", "contour.", "path.", "patch.",
              "savefig.", "figure.", "mathtext.", "agg.")  # fmt: skip
    return [k for k in matplotlib.rcParamsDefault if k.startswith(groups)]


def _figure(
    original: Sample,
    copies: Sequence[Sample],
    positions: Sequence[Position | None],
    bands: Sequence[str] | None,
    channel: str | int | None,
    title: str,
) -> Any:
    from medsataug.preview.page import Page, draw_page

    pairs = [at_hand(s) for s in (original, *copies)]
    samples = [s for s, _ in pairs]
    known = all(s.grid.metres is not None for s in samples)
    columns, names = _columns(samples, bands, channel)
    texts = [drawn_texts(s.record) for s in samples]
    heads = ["original"]
    heads += [f"copy {c.record.get('index', i)}" for i, c in enumerate(copies)]
    widths = [c.panels[0].size[1] for c in columns]
    page = Page(
        title=title,
        heads=tuple(heads),
        columns=tuple(replace(c, sample=s) for c, s in zip(columns, samples, strict=True)),
        origins=tuple(tuple(head) for head, _ in texts),
        drawn=tuple(tuple(steps) for _, steps in texts),
        row_names=names,
        sizes_known=known,
        grid=_grid(pairs, columns, positions, known),
        # A small patch of a large scene would be a dot at the scene's scale.
        same_scale=original.ndim == 3 or 3 * min(widths) >= max(widths),
        file_colours=_file_colours(samples[0]),
    )
    return draw_page(page)


def _file_colours(sample: Sample) -> dict[Key, str]:
    """Colours that came with the label; a class in black, or none, is left out."""
    table = (sample.meta.get("label_meta") or {}).get("colormap") or {}
    return {
        (0, int(value)): "#{:02x}{:02x}{:02x}".format(*rgba[:3])
        for value, rgba in table.items()
        if any(rgba[:3])
    }


def _columns(
    samples: Sequence[Sample],
    bands: Sequence[str] | None,
    channel: str | int | None,
    one_place: bool = False,
) -> tuple[list[Column], tuple[str, ...]]:
    if samples[0].ndim == 3:
        from medsataug.preview.volume import Reading, volume_columns

        numbers = [0 if channel is None else channel_number(s, channel) for s in samples]
        return volume_columns(samples, numbers, one_place), Reading.of(samples[0].grid).names
    from medsataug.preview.raster import composite_bands, raster_columns

    chosen = [composite_bands(s, bands, channel) for s in samples]
    if len({len(c) for c in chosen}) > 1:  # some copies lost bands: one band of each, in grey
        chosen = [c[:1] for c in chosen]
    return raster_columns(samples, chosen), ("",)


def _grid(
    pairs: Sequence[tuple[Sample, Floats]],
    columns: Sequence[Column],
    positions: Sequence[Position | None],
    known: bool,
) -> GridOverlay | None:
    """Overlay for the first copy whose ``positions`` are given, or None."""
    from medsataug.preview.overlays import nice_length
    from medsataug.preview.page import GridOverlay

    original, first = pairs[0]
    given = [(i, p) for i, p in enumerate(positions, start=1) if p is not None and i < len(pairs)]
    if not given:
        return None
    number, position = given[0]
    shift = pairs[number][1]

    def moved(points: Floats) -> Floats:
        return np.asarray(position(points + shift)) - first

    step = nice_length(max(columns[0].panels[0].size) / 8)
    return GridOverlay(number, moved, original.grid.shape, page_spacing(original, known), step)
