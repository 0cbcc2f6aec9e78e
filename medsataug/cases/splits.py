"""Folds without leaks: groups stay together, tiles of one scene keep their distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet
from medsataug.draws import stream_key
from medsataug.errors import ConfigError

Fold = tuple[list[int], list[int]]


def split(
    cases: Sequence[Any],
    folds: int = 5,
    seed: int = 0,
    buffer: int | None = None,
    *,
    ordered: bool = False,
) -> list[Fold]:
    """Divide cases for cross-validation; every case is tested once.

    Parameters
    ----------
    cases : sequence
        Of `Case`, or of anything with an ``id``. Cases of one ``group`` are always on the same
        side; without groups each is its own.
    folds : int
    seed : int
        Which groups share a fold. Neither the order of the cases nor their number moves a group
        within the drawn order.
    buffer : int, optional
        What training keeps away from testing: pixels between tiles of one raster (by default what
        `scene` set), or cases of an ordered series (by default none).
    ordered : bool
        The cases are a series, such as the sections of a block: each fold is a run of neighbours.

    Returns
    -------
    list of (train, test)
        Numbers of cases, rising. Training cases within the buffer are in neither list.

    Raises
    ------
    ConfigError
        For fewer groups than folds, or a fold that the buffer leaves nothing to train on.

    Examples
    --------
    >>> from pathlib import Path
    >>> cases = [Case(str(k), (Path(f"{k}.png"),)) for k in range(6)]
    >>> split(cases, folds=3, ordered=True, buffer=1)[1]
    ([0, 5], [2, 3])
    """
    members: dict[str, list[int]] = {}
    for number, case in enumerate(cases):
        own = group_of(case)
        members.setdefault(own, []).append(number)
    if not 2 <= folds <= len(members):
        raise ConfigError(
            f"folds: {folds} for {len(members)} groups of {len(cases)} cases; 2 or more, and at "
            "most as many as groups expected"
        )
    if buffer is not None and buffer < 0:
        raise ConfigError(f"buffer: {buffer}; 0 or more expected")
    tiles = any(map(is_tile, cases))
    if tiles and ordered:
        raise ConfigError("ordered: tiles of a raster are no series; leave it out")
    if tiles and buffer is None and not isinstance(cases, CaseSet):
        raise ConfigError(
            "buffer: a list of tiles does not say how far training keeps away from testing; give "
            "pixels, or the set itself (its pick() keeps it)"
        )
    if buffer and not tiles and not ordered:
        raise ConfigError(f"buffer: {buffer}, but these cases are neither tiles nor ordered")
    tested = _runs(members, folds) if ordered else _drawn(members, folds, seed)
    if buffer is None:
        buffer = 0 if ordered or not isinstance(cases, CaseSet) else cases.buffer
    near = _near_in_series if ordered else _near_in_space
    out = []
    for fold, test in enumerate(tested):
        inside = set(test)
        others = [i for i in range(len(cases)) if i not in inside]
        close = near(cases, others, test, buffer)
        train = [i for i, left in zip(others, close, strict=True) if not left]
        if not train:
            raise ConfigError(
                f"buffer: {buffer} leaves nothing to train on in fold {fold}; make it or the tiles "
                "smaller, or use more folds"
            )
        out.append((train, sorted(test)))
    return out


def _drawn(members: dict[str, list[int]], folds: int, seed: int) -> list[list[int]]:
    """Deal groups in the order of their keys, each into the fold that has the fewest cases."""
    out: list[list[int]] = [[] for _ in range(folds)]
    for name in sorted(members, key=lambda name: (stream_key(seed, "split", name), name)):
        min(out, key=len).extend(members[name])
    return out


def _runs(members: dict[str, list[int]], folds: int) -> list[list[int]]:
    """Return runs of neighbours of nearly equal numbers of cases; a group is in one run.

    Raises
    ------
    ConfigError
        Where a group's cases do not follow one another.
    """
    for name, own in members.items():
        if own != list(range(own[0], own[-1] + 1)):
            raise ConfigError(f"ordered: the cases of {name} do not follow one another; sort them")
    total = sum(map(len, members.values()))
    out: list[list[int]] = [[] for _ in range(folds)]
    fold, left = 0, len(members)
    for own in members.values():
        middle = own[0] + len(own) / 2
        full = bool(out[fold]) and middle >= total * (fold + 1) / folds
        if (full or (out[fold] and left <= folds - fold - 1)) and fold < folds - 1:
            fold += 1
        out[fold] += own
        left -= 1
    return out


def _near_in_series(
    cases: Sequence[Case], others: list[int], test: list[int], buffer: int
) -> list[bool]:
    """Whether each of ``others`` is one of ``buffer`` neighbours of a tested case."""
    tested = np.array(test)
    return [bool(np.abs(tested - i).min() <= buffer) for i in others]


def _near_in_space(
    cases: Sequence[Case], others: list[int], test: list[int], buffer: int
) -> list[bool]:
    """Whether each of ``others`` lies within ``buffer`` pixels of a tested tile of its raster."""
    boxes: dict[tuple[object, ...], list[NDArray[np.int64]]] = {}
    for i in test:
        if is_tile(cases[i]):
            boxes.setdefault(cases[i].images, []).append(_box(cases[i]))
    tested = {images: np.stack(found) for images, found in boxes.items()}
    out = []
    for i in others:
        box = tested.get(getattr(cases[i], "images", ()))
        if not is_tile(cases[i]) or box is None:
            out.append(box is not None)  # all of a raster contains the tile
            continue
        own = _box(cases[i])
        # Pixels between the two along each axis, below 0 where they overlap; the larger one is at
        # most the distance, so that none is kept that is too near.
        gap = np.maximum(box[:, :, 0] - own[:, 1], own[:, 0] - box[:, :, 1]).max(axis=1)
        out.append(bool((gap < buffer).any()))
    return out


def group_of(case: Any) -> str:
    """Name of what a case may not be parted from; alone it is its own."""
    group = getattr(case, "group", None)  # whose name may be some case's id
    return f"case {case.id}" if group is None else f"group {group}"


def is_tile(case: Any) -> bool:
    """Whether a case is a part of a larger raster."""
    return getattr(case, "window", None) is not None


def _box(case: Case) -> NDArray[np.int64]:
    assert case.window is not None
    return np.array([(s.start, s.stop) for s in case.window], dtype=np.int64)
