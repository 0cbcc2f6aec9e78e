"""A table of cases: one row each."""

from __future__ import annotations

import csv
from pathlib import Path

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, refuse, with_scheme
from medsataug.cases.listing import channel_names
from medsataug.errors import ConfigError, FormatError
from medsataug.io.base import stem_of

_COLUMNS = ("image", "label", "id", "group")


class Table:
    """A CSV or TSV file with the columns image, label, id and group."""

    name = "table"
    expects = (
        "a .csv or .tsv file with the columns image (several files: a.tif;b.tif), label and, if "
        "wanted, id and group"
    )

    def matches(self, path: Path) -> bool:
        """Whether it is a file of that suffix."""
        return path.is_file() and path.suffix.lower() in (".csv", ".tsv")

    def read(self, path: Path) -> CaseSet:
        """Cases in the order of the rows; paths count from the table's folder."""
        rows = _rows(path)
        cases, wrong = [], []
        for number, row in rows:
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
            cases.append(Case(name, images, label, group=row.get("group") or None))
        counts = {len(case.images) for case in cases}
        if len(counts) > 1:
            wrong.append(f"rows name {' or '.join(map(str, sorted(counts)))} images")
        refuse(path, wrong, "correct these lines")
        if not cases:
            raise ConfigError(f"{path}: the table has no rows; one for each case expected")
        _check_named(path, cases, rows)
        channels = channel_names(cases[0].images, _names(cases))
        return CaseSet(with_scheme(cases, channels), name=path.stem, channels=channels)


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


def _check_named(path: Path, cases: list[Case], rows: list[tuple[int, dict[str, str]]]) -> None:
    """Refuse ids that repeat."""
    seen: dict[str, int] = {}
    for case, (number, _) in zip(cases, rows, strict=True):
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
