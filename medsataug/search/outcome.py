"""What came out of a search: the best recipe, a table of the trials, and a picture of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsataug import recipes
from medsataug.search.space import COUNT, Params
from medsataug.search.study import Study, Trial
from medsataug.train.config import Settings
from medsataug.validate.plots import STYLE
from medsataug.validate.sheets import plain, write_csv
from medsataug.whole import write_whole

#: Trials that the table has.
SHOWN = 5


@dataclass(frozen=True)
class Outcome:
    """All trials of a search.

    Attributes
    ----------
    folder : Path
    study : Study
    aside : tuple of str
        Ids of the cases that no trial saw.
    """

    folder: Path
    study: Study
    aside: tuple[str, ...]

    @property
    def best(self) -> Trial:
        """The trial of the highest score."""
        return self.study.best

    def table(self) -> str:
        """Return the best trials and the first two, for the terminal."""
        whole = [t for t in self.study.trials if not t.pruned]
        ranked = sorted(whole, key=lambda t: (-t.score, t.number))
        shown = [t for t in ranked if t in ranked[:SHOWN] or t.number < 2]
        rows = [
            [
                str(t.number),
                f"{t.score:.3f}",
                f"{self.study.gain(t):+.3f}" if t.number else "",
                " ".join(f"{d:.3f}" for d in t.dice),
                self.study.space.told(t.params) + (" (defaults)" if t.number == 1 else ""),
            ]
            for t in shown
        ]
        return plain((["trial", "mean Dice", "against none", "folds", "policy"], rows))

    def write_trials(self) -> None:
        """Write ``trials.csv``: every trial with its numbers, scores and time.

        One that was stopped has no score: another fold may be easier than its own.
        """
        space, splits = self.study.space, self.study.splits
        head = ["trial", *space.names, "score", *(f"fold {k + 1}" for k in range(splits)),
                "against none", "stopped early", "seconds"]  # fmt: skip
        rows = [
            [
                t.number, *(t.params[name] for name in space.names),
                None if t.pruned else t.score, *t.dice, *[None] * (splits - len(t.dice)),
                self.study.gain(t), "yes" if t.pruned else "no", t.seconds,
            ]
            for t in self.study.trials
        ]  # fmt: skip
        write_csv(self.folder / "trials.csv", head, rows)

    def write(self, settings: Settings) -> None:
        """Write ``best.yaml``, ``trials.csv`` and ``search.png``."""
        self.write_trials()
        best, space = self.best, self.study.space
        told = (
            f"policy {space.domain}, {space.told(best.params)}: best of {len(self.study.trials)} "
            f"trials, mean Dice {best.score:.3f} (optimistic); none: "
            f"{self.study.trials[0].score:.3f}"
        )
        made = space.recipe(best.params, settings.patch or (), settings.foreground)
        text = recipes.text(made.changed(description=told))
        write_whole(text.encode(), self.folder / "best.yaml", alone=True)
        write_whole(_png(self), self.folder / "search.png", alone=True)


def _png(outcome: Outcome) -> bytes:
    """Gain on the same folds against magnitude, coloured by n; of several magnitudes their mean."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault) | STYLE):
        figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(outcome, figure.subplots())
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw(outcome: Outcome, ax: Any) -> None:
    import matplotlib

    study = outcome.study
    shades = matplotlib.colormaps["viridis"](np.linspace(0.9, 0.1, COUNT))
    none, *others = study.trials

    def m(params: Params) -> float:
        return float(np.mean([params[name] for name in study.space.magnitudes]))

    for trial in others:
        shade = shades[int(trial.params["n"]) - 1]
        face = "none" if trial.pruned else shade
        at = m(trial.params), study.gain(trial)
        ax.scatter(*at, s=34, edgecolor=shade, facecolor=face, zorder=3)
    ax.axhline(
        0, color="#666666", linewidth=1, linestyle="--", zorder=1, label=f"none: {none.score:.3f}"
    )
    if others:
        ax.scatter(
            m(others[0].params), study.gain(others[0]), s=110, marker="s", facecolor="none",
            edgecolor="#666666", zorder=2, label="defaults",
        )  # fmt: skip
    ax.scatter(
        m(outcome.best.params), study.gain(outcome.best), s=150, facecolor="none",
        edgecolor="#d55e00", linewidth=1.6, zorder=2, label="best",
    )  # fmt: skip
    for n in range(1, COUNT + 1):
        ax.scatter([], [], s=34, color=shades[n - 1], label=f"n = {n}")
    ax.scatter([], [], s=34, edgecolor="black", facecolor="none", label="stopped early")
    ax.set_xlim(-0.4, 10.4)
    ax.set_xlabel("mean magnitude of the operations" if study.space.each else "magnitude m")
    ax.set_ylabel("mean foreground Dice, against no augmentation")
    ax.set_title(f"policy {study.space.domain}: {len(study.trials)} trials", loc="left", fontsize=9)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
