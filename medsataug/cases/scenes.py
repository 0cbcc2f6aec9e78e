"""One large raster as a set of tiles, in contiguous blocks that a split keeps apart."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, with_scheme
from medsataug.errors import ConfigError
from medsataug.io import load
from medsataug.io.base import stem_of

PathLike = str | os.PathLike[str]
#: Rows and columns of tiles: (first, one past the last) along each axis.
Rectangle = tuple[tuple[int, int], tuple[int, int]]


def scene(
    image: PathLike | Sequence[PathLike],
    label: PathLike | None = None,
    *,
    tile: int = 256,
    folds: int = 5,
    buffer: int | None = None,
    name: str | None = None,
) -> CaseSet:
    """Cut a raster into tiles, and those into as many contiguous blocks as there are folds.

    Neighbouring pixels are alike, so tiles drawn at random test what was as good as seen. `split`
    tests on one block at a time and trains on the tiles that are ``buffer`` pixels or more away.

    Parameters
    ----------
    image : path or sequence of paths
        A raster, or band files on one grid.
    label : path, optional
    tile : int
        Pixels along a side; the last tiles overlap those before them rather than reach beyond.
    folds : int
        Blocks.
    buffer : int, optional
        Pixels between training and testing; by default a tile.
    name : str, optional
        What the tiles' ids begin with; by default the file's name.

    Returns
    -------
    CaseSet
        Tiles as cases, whose ``window`` says where they lie and whose ``group`` is their block.

    Raises
    ------
    ConfigError
        For a raster of fewer tiles than folds.

    Source: Roberts et al., "Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure", Ecography 40 (2017), on spatial blocks and buffers.
    """
    files = (image,) if isinstance(image, str | os.PathLike) else tuple(image)
    paths = tuple(Path(f) for f in files)
    sample = load(paths, label)  # rasters of any size stay on disk; that both fit is checked here
    shape = sample.grid.shape
    if tile < 1 or folds < 1 or (buffer is not None and buffer < 0):
        raise ConfigError(
            f"scene: tile={tile}, folds={folds}, buffer={buffer}; tile and folds of 1 or more, a "
            "buffer of 0 or more expected"
        )
    if len(shape) != 2:
        raise ConfigError(f"{paths[0]}: a raster (Y, X) is cut into tiles, this is {list(shape)}")
    spans = [_spans(n, tile) for n in shape]
    rows, columns = map(len, spans)
    if rows * columns < folds:
        raise ConfigError(
            f"{paths[0]}: {rows} x {columns} tiles of {tile} pixels for {folds} folds; use smaller "
            "tiles or fewer folds (blocks of a table)"
        )
    name, cases = name or stem_of(paths[0]), []
    target = None if label is None else Path(label)
    for block, rectangle in enumerate(_blocks(((0, rows), (0, columns)), folds)):
        for i, j in itertools.product(*(range(*ends) for ends in rectangle)):
            window = (spans[0][i], spans[1][j])
            cases.append(Case(f"{name} {i}-{j}", paths, target, window, f"{name} block {block}"))
    cases.sort(key=lambda case: [s.start for s in case.window or ()])
    channels = [c.name for c in sample.channels]  # type: ignore[union-attr]
    return CaseSet(
        with_scheme(cases, channels),
        name=name,
        channels=channels,
        buffer=tile if buffer is None else buffer,
    )


def _spans(size: int, tile: int) -> list[slice]:
    """Tiles along an axis, all of one size where the axis is that long."""
    count = max(1, -(-size // tile))
    starts = [min(k * tile, max(size - tile, 0)) for k in range(count)]
    return [slice(start, min(start + tile, size)) for start in starts]


def _blocks(rectangle: Rectangle, count: int) -> list[Rectangle]:
    """Cut a rectangle of tiles into ``count`` rectangles of nearly equal size.

    Each cut parts the blocks as evenly as whole rows or columns of tiles allow, if possible
    across the longer side.
    """
    if count == 1:
        return [rectangle]
    lengths = [b - a for a, b in rectangle]
    longer = int(lengths[1] > lengths[0])
    halves = sorted(range(1, count), key=lambda n: abs(2 * n - count))
    for first, axis in itertools.product(halves, (longer, 1 - longer)):
        (start, _), other = rectangle[axis], lengths[1 - axis]
        least, most = -(-first // other), lengths[axis] - -(-(count - first) // other)
        if least <= most:
            cut = start + min(max(round(lengths[axis] * first / count), least), most)
            low, high = (_part(rectangle, axis, cut, side) for side in (0, 1))
            return _blocks(low, first) + _blocks(high, count - first)
    raise AssertionError("as many tiles as blocks can always be cut")


def _part(rectangle: Rectangle, axis: int, cut: int, side: int) -> Rectangle:
    """Return what lies before (0) or after (1) a cut."""
    start, stop = rectangle[axis]
    kept = (start, cut) if side == 0 else (cut, stop)
    return (kept, rectangle[1]) if axis == 0 else (rectangle[0], kept)
