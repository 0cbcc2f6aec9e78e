"""Figures of the report, each as SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from medsataug.validate import statistics
from medsataug.validate.experiment import mean_dice
from medsataug.validate.results import Results
from medsataug.validate.sheets import trained

#: The reference is grey; then colours that stay apart for colour-blind readers.
#: Source: Okabe and Ito, "Color universal design" (2008).
COLOURS = ("#666666", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.8, "svg.fonttype": "none",
    "svg.hashsalt": "medsataug", "legend.frameon": False, "axes.axisbelow": True,
    "text.parse_math": False,
}  # fmt: skip


def colour(results: Results, recipe: str) -> str:
    """Colour of a recipe, the same in every figure."""
    return COLOURS[list(results.experiment.recipes).index(recipe) % len(COLOURS)]


def splits(results: Results) -> str:
    """Mean Dice of every split, those of one split joined, beside the mean differences."""
    sizes, names = results.experiment.design.sizes, list(results.experiment.recipes)
    made = results.comparisons

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.1, 1]})
        wide = len(names) + 0.8
        for block, size in enumerate(sizes):
            each = np.stack([results.each(n, size, mean_dice) for n in names])
            at = block * wide + np.arange(len(names))
            left.plot(at, each, color="#bbbbbb", linewidth=0.8, zorder=1)
            for k, name in enumerate(names):
                left.scatter(
                    np.full(each.shape[1], at[k]), each[k], s=16, color=colour(results, name),
                    zorder=2,
                )  # fmt: skip
                mean = np.nanmean(each[k])
                left.hlines(
                    mean, at[k] - 0.28, at[k] + 0.28, color="black", linewidth=1.6, zorder=3
                )
        centres = [b * wide + (len(names) - 1) / 2 for b in range(len(sizes))]
        if len(sizes) > 1:
            left.set_xticks(centres, [f"{trained(results, s)} cases" for s in sizes])
        else:
            left.set_xticks(range(len(names)), names)
            if len(" ".join(names)) > 40:
                left.tick_params("x", labelrotation=30)
                for text in left.get_xticklabels():
                    text.set(ha="right", rotation_mode="anchor")
        left.set_ylabel("mean foreground Dice")
        left.set_title("each split (bar: mean)", loc="left", fontsize=9)
        left.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        rows = list(range(len(made)))[::-1]
        for row, one in zip(rows, made, strict=True):
            values = list(one.differences.values())
            shade = colour(results, one.recipe)
            right.scatter(values, np.full(len(values), row), s=9, color=shade, alpha=0.35)
            if np.isfinite(one.low):
                right.hlines(row, one.low, one.high, color=shade, linewidth=2)
            right.scatter([one.mean], [row], s=34, color=shade, marker="D", zorder=3)
        right.axvline(0, color="black", linewidth=0.8)
        right.axvline(statistics.MARGIN, color="black", linewidth=0.8, linestyle=":")
        several = len(sizes) > 1
        right.set_yticks(
            rows,
            [f"{c.recipe}, {trained(results, c.size)}" if several else c.recipe for c in made],
        )
        right.set_ylim(-0.6, len(made) - 0.4)
        right.set_xlabel(f"difference from {results.reference} (dotted: −.01)")
        right.set_title("mean, 95 % interval, splits", loc="left", fontsize=9)

    return _svg(draw, 9.2, max(2.8, 0.9 + 0.32 * max(len(made), 5)))


def learning(results: Results) -> str:
    """Loss and followed Dice over the training, means over splits of the most cases."""
    size = results.experiment.design.sizes[-1]
    steps = results.experiment.task.settings.steps

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for name in results.experiment.recipes:
            logs = [results.log(name, split) for split in results.splits(size)]
            shade = colour(results, name)
            at = logs[0]["epoch"] * steps
            loss = np.stack([log["loss"] for log in logs])
            left.plot(at, loss.mean(axis=0), color=shade, label=name)
            left.fill_between(at, loss.min(axis=0), loss.max(axis=0), color=shade, alpha=0.12)
            columns = [k for k in logs[0] if k.startswith("dice ") and k != "dice loss"]
            dice = np.stack([np.stack([log[c] for c in columns]) for log in logs])
            known = np.isfinite(dice).any(axis=(0, 1))
            means = np.nanmean(dice[:, :, known], axis=(0, 1))
            right.plot(at[known], means, color=shade, marker="o", markersize=3, label=name)
        left.set(xlabel="steps", ylabel="training loss")
        left.set_title("loss (band: all splits)", loc="left", fontsize=9)
        right.set(xlabel="steps", ylabel="mean Dice")
        right.set_title("a few test cases, as training goes", loc="left", fontsize=9)
        left.legend()

    return _svg(draw, 9.2, 3)


def few_cases(results: Results) -> str:
    """Mean Dice against the number of training cases; nothing where there is one number only."""
    sizes = results.experiment.design.sizes
    if len(sizes) < 2:
        return ""

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        for name in results.experiment.recipes:
            each = [results.each(name, size, mean_dice) for size in sizes]
            means = np.array([np.nanmean(e) for e in each])
            spread = np.array([np.nanstd(e, ddof=1) for e in each])
            ax.errorbar(
                sizes, means, spread, color=colour(results, name), marker="o", capsize=3, label=name
            )
        ax.set_xscale("log")
        ax.set_xticks(sizes, [str(s) for s in sizes])
        ax.minorticks_off()
        ax.set(xlabel="training cases", ylabel="mean foreground Dice")
        ax.legend()

    return _svg(draw, 5, 3)


def cases(results: Results) -> str:
    """Dice of every test case, class by class."""
    size = results.experiment.design.sizes[-1]
    names, classes = list(results.experiment.recipes), list(results.experiment.task.classes)

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        wide = len(names) + 1
        for block, kind in enumerate(classes):
            for k, name in enumerate(names):
                values = np.array([
                    own[kind]["dice"]
                    for split in results.splits(size)
                    for own in results.held[name, split].scores.values()
                ])  # fmt: skip
                values = values[np.isfinite(values)]
                at = block * wide + k
                # Spread sideways by rank, so that equal values do not hide one another.
                aside = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.5
                ax.scatter(at + aside, values, s=5, color=colour(results, name), alpha=0.35)
                if len(values):
                    low, middle, high = np.percentile(values, [25, 50, 75])
                    ax.vlines(at, low, high, color="black", linewidth=3)
                    ax.scatter([at], [middle], color="white", edgecolor="black", s=22, zorder=3)
        ax.set_xticks([b * wide + (len(names) - 1) / 2 for b in range(len(classes))], classes)
        ax.set_ylabel("Dice of a case")
        ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        for name in names:
            ax.scatter([], [], s=14, color=colour(results, name), label=name)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        ax.set_title("every test case (bar: quartiles, ring: median)", loc="left", fontsize=9)

    return _svg(draw, 9.2, 3.2)


def reliability(results: Results) -> str:
    """How often the network was right, against how sure it was; nothing for regions."""
    size = results.experiment.design.sizes[-1]
    found = {n: results.calibration(n, size) for n in results.experiment.recipes}
    if any(c is None for c in found.values()):
        return ""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.2, 1]})
        left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
        for name, bins in found.items():
            assert bins is not None
            full = bins.count > 0
            sure, hit = (part[full] / bins.count[full] for part in (bins.confidence, bins.hits))
            shade = colour(results, name)
            left.plot(sure, hit, marker="o", markersize=3, color=shade,
                      label=f"{name}: ECE {bins.error:.3f}")  # fmt: skip
            edges = np.linspace(0, 1, len(bins.count) + 1)
            right.stairs(bins.count / bins.count.sum(), edges, color=shade)
        left.set(xlabel="confidence", ylabel="part that was right", xlim=(0, 1), ylim=(0, 1))
        left.set_title("below the diagonal: too sure", loc="left", fontsize=9)
        left.legend(loc="upper left")
        right.set(xlabel="confidence", ylabel="part of the voxels", xlim=(0, 1))
        right.set_title("how often it was so sure", loc="left", fontsize=9)

    return _svg(draw, 9.2, 3.4)


def _svg(draw: Callable[[Any], None], width: float, height: float) -> str:
    """SVG of a figure in inches; a user's own style changes nothing."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault) | STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
