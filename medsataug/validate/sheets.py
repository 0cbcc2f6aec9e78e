"""Results as tables: for the terminal, for the report, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.validate.experiment import mean_dice
from medsataug.validate.metrics import NAMES
from medsataug.validate.results import Comparison, Results
from medsataug.whole import write_whole

#: A head and rows of text.
Sheet = tuple[list[str], list[list[str]]]


def summary(results: Results) -> Sheet:
    """One row for each recipe and number of training cases: the primary endpoint, and the cost."""
    made = {(c.recipe, c.size): c for c in results.comparisons}
    head = ["recipe", "training cases", "mean Dice", "difference", "95 % interval", "p (Holm)",
            "verdict", "augmentation, CPU s/step"]  # fmt: skip
    rows = []
    for size in results.experiment.design.sizes:
        for recipe in results.experiment.recipes:
            dice = results.each(recipe, size, mean_dice)
            own = made.get((recipe, size))
            cost, every = results.cost(recipe, size)
            rows.append([
                recipe,
                trained(results, size),
                f"{np.nanmean(dice):.3f} ± {np.nanstd(dice, ddof=1):.3f}",
                *(["", "", "", "reference"] if own is None else _compared(own)),
                f"{cost:.3f} of {every:.3f}",
            ])  # fmt: skip
    return _without_empty(head, rows)


def tests(results: Results) -> Sheet:
    """Every figure of the statistics."""
    head = ["recipe", "training cases", "difference", "t (df)", "p", "p (Holm)",
            "p, uncorrected t", "p, Wilcoxon over cases", "effect d",
            "smallest detectable"]  # fmt: skip
    rows = []
    for one in results.comparisons:
        test, plain = one.test, one.plain
        rows.append([
            one.recipe,
            trained(results, one.size),
            f"{one.mean:+.4f}",
            "" if test is None else f"{test.t:.2f} ({test.df})",
            "" if test is None else probability(test.p),
            "" if one.adjusted is None else probability(one.adjusted),
            "" if plain is None else probability(plain.p),
            "" if one.wilcoxon is None else probability(one.wilcoxon),
            "" if test is None else f"{test.effect:.2f}",
            "" if test is None else f"{test.detectable:.3f}",
        ])  # fmt: skip
    return _without_empty(head, rows)


def classes(results: Results, size: int | None) -> Sheet:
    """Every measure of every class: mean over splits of the means over cases that have it."""
    unit = results.experiment.unit
    head = ["class", "recipe", "Dice", f"NSD at {results.experiment.task.tolerance:g} {unit}",
            f"HD95, {unit}", "precision", "recall", "cases", "missed", "false alarms"]  # fmt: skip
    rows = []
    for name in results.experiment.task.classes:
        for recipe in results.experiment.recipes:
            found = [results.measured(recipe, size, name, m) for m in NAMES]
            means = [float(np.nanmean(v)) if np.isfinite(v).any() else math.nan for v in found]
            texts = ["–" if math.isnan(v) else f"{v:.2f}" if m == "hd95" else f"{v:.3f}"
                     for m, v in zip(NAMES, means, strict=True)]  # fmt: skip
            there, free, missed, alarms = results.counts(recipe, size, name)
            false = f"{alarms} of {free}" if free else ""
            rows.append([name, recipe, *texts, f"{there}", f"{missed}", false])
    return _without_empty(head, rows)


def per_split(results: Results, size: int | None) -> Sheet:
    """Mean foreground Dice of every split."""
    head = ["", *results.experiment.recipes]
    each = [results.each(r, size, mean_dice) for r in results.experiment.recipes]
    names = results.splits(size)
    return head, [[n, *(f"{e[k]:.3f}" for e in each)] for k, n in enumerate(names)]


def text(results: Results) -> str:
    """Tables for the terminal."""
    size = results.experiment.design.sizes[-1]
    parts = [
        f"{results.experiment.design.sentence}",
        plain(summary(results)),
        plain(classes(results, size)),
    ]
    if results.experiment.design.kind == "blocks":
        parts.insert(2, plain(per_split(results, size)))
    if results.warning:
        parts.append(results.warning)
    return "\n\n".join(parts)


def write_sheets(results: Results, folder: Path) -> None:
    """Write ``cases.csv``, ``splits.csv`` and ``comparison.csv``."""
    by_case: list[list[Any]] = []
    by_split: list[list[Any]] = []
    plan = results.experiment
    for split in plan.design.splits:
        size = len(split.training)
        for recipe in plan.recipes:
            held = results.held[recipe, split.name]
            by_split.append([recipe, split.name, size, mean_dice(held)])
            for case, own in held.scores.items():
                for name, measures in own.items():
                    values = [measures[m] for m in NAMES]
                    by_case.append([recipe, split.name, size, case, name, *values])
    start = ["recipe", "split", "training cases"]
    write_csv(folder / "cases.csv", [*start, "case", "class", *NAMES], by_case)
    write_csv(folder / "splits.csv", [*start, "mean dice"], by_split)
    head = ["recipe", "reference", "size", "mean", "reference mean", "difference", "low", "high",
            "t", "df", "p", "p holm", "p uncorrected", "p wilcoxon", "effect", "detectable",
            "verdict"]  # fmt: skip
    write_csv(folder / "comparison.csv", head, [_all(c) for c in results.comparisons])


def trained(results: Results, size: int | None) -> str:
    """Training cases of each split of a size."""
    numbers = sorted({len(s.training) for s in results.experiment.design.of(size)})
    low, high = numbers[0], numbers[-1]
    return f"{low}" if low == high else f"{low} to {high}"


def probability(p: float) -> str:
    """Return a probability as it is printed."""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 1 else "1"


def _compared(one: Comparison) -> list[str]:
    known = math.isfinite(one.low)
    return [
        f"{one.mean:+.3f}",
        f"{one.low:+.3f} to {one.high:+.3f}" if known else "",
        "" if one.adjusted is None else probability(one.adjusted),
        one.verdict,
    ]


def _all(one: Comparison) -> list[Any]:
    test: Any = one.test
    numbers = [None] * 3 if test is None else [test.t, test.df, test.p]
    ends = [None] * 2 if test is None else [test.effect, test.detectable]
    return [
        one.recipe, one.reference, one.size, *one.means, one.mean, one.low, one.high, *numbers,
        one.adjusted, None if one.plain is None else one.plain.p, one.wilcoxon, *ends, one.verdict,
    ]  # fmt: skip


def _without_empty(head: list[str], rows: list[list[str]]) -> Sheet:
    """Leave out columns that no row has anything in."""
    kept = [k for k in range(len(head)) if any(row[k] for row in rows)]
    return [head[k] for k in kept], [[row[k] for k in kept] for row in rows]


def plain(sheet: Sheet) -> str:
    """Return a sheet for the terminal."""
    head, rows = sheet
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [head, ["-" * w for w in widths], *rows]
    )


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table whole; what is not known is an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_number(v) for v in row])
    write_whole(stream.getvalue().encode(), path, alone=True)


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
