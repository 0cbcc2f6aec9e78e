"""A table of cases: one row each, or a row for a scene that is cut into tiles."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, refuse, with_scheme
from medsataug.cases.listing import channel_names
from medsataug.cases.scenes import scene
from medsataug.errors import ConfigError, FormatError, MedSatAugError
from medsataug.io.base import stem_of

_COLUMNS = ("image", "label", "id", "group", "tile", "blocks")
#: Blocks of a scene whose row does not say how many.
_BLOCKS = 5


class Table:
    """A CSV or TSV file with the columns image, label, id, group, tile and blocks.

    Where a row has a tile, in pixels, its raster is cut by `scene` into tiles of that size, and
    those into contiguous blocks (5 unless the row says otherwise) that a split keeps apart; a
    group keeps all of them together instead.
    """

    name = "table"
    expects = (
        "a .csv or .tsv file with the columns image (several files: a.tif;b.tif), label and, if "
        "wanted, id, group, and for scenes to cut tile (pixels) and blocks"
    )

    def matches(self, path: Path) -> bool:
        """Whether it is a file of that suffix."""
        return path.is_file() and path.suffix.lower() in (".csv", ".tsv")

    def read(self, path: Path) -> CaseSet:
        """Cases in the order of the rows; paths count from the table's folder."""
        rows: list[tuple[int, Case]] = []
        cases: list[tuple[int, Case]] = []
        wrong, buffer = [], 0
        for number, row in _rows(path):
            listed = [text.strip() for text in row["image"].split(";") if text.strip()]
            images = tuple(path.parent / text for text in listed)
            label = path.parent / row["label"] if row.get("label") else None
            name = row.get("id") or (stem_of(label or images[0]) if images else "")
            if not images:
                wrong.append(f"line {number}: names no image")
                continue
            missing = [f for f in (*images, *([label] if label else [])) if not f.exists()]
            wrong += [f"case {name} (line {number}): {f.name} is missing" for f in missing]
            if label is None and "label" in row:
                wrong.append(f"case {name} (line {number}): names no label")
            case = Case(name, images, label, group=row.get("group") or None)
            rows.append((number, case))
            if missing:
                continue
            try:
                tiles, apart = _tiles(case, row)
            except MedSatAugError as error:
                wrong.append(f"case {name} (line {number}): {error}")
            else:
                cases += [(number, tile) for tile in tiles]
                buffer = max(buffer, apart)
        counts = {len(case.images) for _, case in rows}
        if len(counts) > 1:
            wrong.append(f"rows name {' or '.join(map(str, sorted(counts)))} images")
        refuse(path, wrong, "correct these lines")
        if not cases:
            raise ConfigError(f"{path}: the table has no rows; one for each case expected")
        _check_named(path, cases)
        channels = channel_names(cases[0][1].images, _names([case for _, case in rows]))
        made = with_scheme([case for _, case in cases], channels)
        return CaseSet(made, name=path.stem, channels=channels, buffer=buffer)


def _tiles(case: Case, row: dict[str, str]) -> tuple[Sequence[Case], int]:
    """Return the case, or what its row cuts it into, and the pixels to keep between blocks.

    Raises
    ------
    MedSatAugError
        For columns that say no number or contradict each other, and what cannot be cut.
    """
    tile, blocks = (_whole(row, column) for column in ("tile", "blocks"))
    if tile is None:
        if blocks is not None:
            raise ConfigError(f"blocks is {blocks}, but tile is empty; give its size in pixels")
        return [case], 0
    if case.group is None:
        found = scene(case.images, case.label, tile=tile, folds=blocks or _BLOCKS, name=case.id)
        return found, found.buffer
    if blocks is not None:
        raise ConfigError("group keeps all tiles together, blocks part them; empty one of the two")
    found = scene(case.images, case.label, tile=tile, folds=1, name=case.id)
    return [replace(one, group=case.group) for one in found], found.buffer


def _whole(row: dict[str, str], column: str) -> int | None:
    text = row.get(column)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise ConfigError(f"{column} is {text!r}; a whole number, 1 or more, expected, or nothing")
    return int(text)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row.

    Raises
    ------
    FormatError, ConfigError
        For a file that cannot be read, or columns that are missing or not known.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
            columns = [(c or "").strip().lower() for c in reader.fieldnames or ()]
            if "image" not in columns or set(columns) - set(_COLUMNS):
                raise ConfigError(
                    f"{path}: its columns are {', '.join(columns) or 'none'}; image is needed, "
                    f"allowed are {', '.join(_COLUMNS)}"
                )
            reader.fieldnames = columns
            rows = []
            for row in reader:
                if None in row:
                    raise ConfigError(
                        f"{path}: line {reader.line_num} has more fields than there are columns; "
                        "several images are parted by ';'"
                    )
                rows.append((reader.line_num, {k: (v or "").strip() for k, v in row.items()}))
            return rows
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: is no table in UTF-8 ({error})") from None


def _check_named(path: Path, cases: list[tuple[int, Case]]) -> None:
    """Refuse ids that repeat."""
    seen: dict[str, int] = {}
    for number, case in cases:
        if case.id in seen:
            raise ConfigError(
                f"{path}: lines {seen[case.id]} and {number} are both called {case.id!r}; add a "
                "column id that tells the cases apart"
            )
        seen[case.id] = number


def _names(cases: list[Case]) -> list[str]:
    """Return what the files of a row are called: their own names where these never change."""
    stems = list(zip(*([stem_of(f) for f in case.images] for case in cases), strict=True))
    alike = len(cases) > 1 and all(len(set(column)) == 1 for column in stems)
    if len(stems) == 1:
        return [stems[0][0] if alike else "image"]
    return [column[0] if alike else f"image {i}" for i, column in enumerate(stems)]
