"""The report: one HTML file that needs nothing else, for a reader who was not there."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Iterable
from datetime import date
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medsataug import __version__
from medsataug.validate import plots, sheets
from medsataug.validate.examples import examples
from medsataug.validate.metrics import BINS, NEAR
from medsataug.validate.results import Comparison, Results
from medsataug.validate.statistics import MARGIN
from medsataug.whole import write_whole

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1e24; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.lead { font-size: 1.05rem; } .faint { color: #59606b; font-size: .88rem; }
.wide { overflow-x: auto; } svg, img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #dfe2e7;
         white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
figure { margin: 1rem 0; } figcaption { color: #59606b; font-size: .88rem; }
@media print { th, td { white-space: normal; font-size: .7rem; padding-right: .4rem; } }
code, pre { font-size: .85rem; } pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; }
"""


#: What a verdict means, of a recipe and of one without a transform.
_AFTER = {
    "not learnt": "Neither network learnt anything to speak of: train longer.",
    "better": "It is better than chance explains.",
    "worse": "It is worse than chance explains.",
    "no worse": f"No difference is shown; it is no worse (the whole interval lies above {MARGIN}).",
    "not tested": "Nothing is tested here; see each split below.",
    "not shown": "Neither a difference is shown, nor that it is no worse.",
}
_WITHOUT = _AFTER | {
    "better": "The recipe is better without this transform than chance explains.",
    "worse": "The recipe is worse without this transform: it earns its place.",
    "no worse": f"The recipe is no worse without this transform (interval above {MARGIN}).",
}


def write_report(results: Results, path: Path) -> None:
    """Write the report of an experiment.

    Raises
    ------
    FormatError
        Where the file cannot be written.
    """
    parts = [*_head(results), *_figures(results), *_examples(results), *_method(results)]
    title = escape(f"{_title(results)}: which augmentation helps")
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    write_whole(page.encode(), path, alone=True)


def sentence(one: Comparison) -> str:
    """Say what a comparison found, so that it can be copied into a paper."""
    mine, theirs = one.means
    text = (
        f"{one.recipe}: mean foreground Dice {mine:.3f}, against {theirs:.3f} with {one.reference}"
    )
    text += f" (difference {one.mean:+.3f}"
    if math.isfinite(one.low):
        text += f", 95 % interval {one.low:+.3f} to {one.high:+.3f}"
    if one.adjusted is not None:
        text += f", p = {sheets.probability(one.adjusted)}".replace("= <", "<") + " after Holm"
    test = one.test
    left_out = one.recipe.startswith(f"{one.reference} without ")
    after = (_WITHOUT if left_out else _AFTER)[one.verdict]
    if one.verdict in ("no worse", "not shown") and test is not None:
        after += (
            f" An experiment of this size finds differences of {test.detectable:.3f} and more in "
            "4 of 5 repetitions."
        )
    return f"{text}). {after}"


def _head(results: Results) -> list[str]:
    plan = results.experiment
    size = plan.design.sizes[-1]
    lead = [f"<li>{escape(sentence(c))}</li>" for c in results.comparisons if c.size == size]
    return [
        f"<h1>{escape(_title(results))}: which augmentation helps</h1>",
        f'<p class="faint">{date.today():%d %B %Y} · {escape(plan.design.sentence)}</p>',
        f'<ul class="lead">{"".join(lead)}</ul>',
        f"<p><strong>{escape(results.warning)}</strong></p>" if results.warning else "",
        "<h2>In short</h2>",
        _table(sheets.summary(results)),
        _note(
            "Dice: mean and standard deviation over splits. Primary endpoint is the mean "
            "foreground Dice: of each test case the mean over its classes, then the mean over "
            "cases. Augmentation: CPU seconds of a step spent on making its batch, of all that "
            "a step took."
        ),
    ]


def _figures(results: Results) -> list[str]:
    size = results.experiment.design.sizes[-1]
    several = len(results.experiment.design.sizes) > 1
    named = f", {sheets.trained(results, size)} training cases" if several else ""
    return [
        "<h2>Every split</h2>",
        _figure(plots.splits(results), "Each recipe began from the same weights in each split."),
        *(
            _table(sheets.per_split(results, s))
            for s in results.experiment.design.sizes
            if len(results.splits(s)) <= 12 or results.experiment.design.kind == "blocks"
        ),
        *_if(plots.few_cases(results), "Few and many cases",
             "Mean and standard deviation over splits."),
        f"<h2>Every class{named}</h2>",
        _table(sheets.classes(results, size)),
        _note(
            "Means over the tested cases whose truth has the class. Missed: cases with no voxel of "
            "it predicted, whose HD95 is the image's diagonal and may rule the mean. False alarms: "
            "cases without it, where it was predicted."
        ),
        _figure(plots.cases(results), ""),
        f"<h2>Learning curves{named}</h2>",
        _figure(plots.learning(results), "Augmented patches are harder, so that a higher loss "
                "while training is no fault. Where Dice still rises at the end, longer training "
                "may change the order of the recipes."),
        *_if(plots.reliability(results), f"How sure the networks were{named}",
             f"Expected calibration error (ECE) over {BINS} bins, of the voxels within {NEAR} of "
             "what is foreground in truth or prediction; where no class is background, of all."),
    ]  # fmt: skip


def _examples(results: Results) -> list[str]:
    size = results.experiment.design.sizes[-1]
    made = [c for c in results.comparisons if c.size == size]
    best = max(made, key=lambda c: c.mean)  # few will read of the others
    out = [f"<h2>Examples: {escape(best.reference)} and {escape(best.recipe)}</h2>"]
    for one in examples(results, best.recipe):
        data = base64.b64encode(one.png).decode()
        out.append(
            f'<figure><img alt="{escape(one.what)}" src="data:image/png;base64,{data}"></figure>'
        )
    return out


def _method(results: Results) -> list[str]:
    plan = results.experiment
    settings = plan.task.settings
    kind = plan.design.kind
    tested = {
        "folds": "Differences are those of each fold. Folds share training cases, so that a plain "
        "t-test finds too much; the corrected resampled t-test widens the variance to "
        "(1/J + n_test/n_train)·s², with J − 1 degrees of freedom (Nadeau and Bengio 2003); "
        "n_train are all cases that a fold leaves. The uncorrected test stands beside it.",
        "sets": "Training sets are disjoint: a plain t-test over their means, which holds for "
        "these test cases. The interval is for other cases such as these as well: a crossed "
        "bootstrap of sets and cases (Owen 2007), widened for few sets by Student's t. "
        "Where both disagree, neither better nor worse is said.",
        "blocks": "The cases are neighbours in a series, so that blocks are not independent, and "
        "nothing is tested.",
    }[kind]
    told = [
        f"“No worse”: the whole 95 % interval, of each recipe by itself, lies above {MARGIN}. "
        "Holm's adjustment of p is over the recipes. Smallest detectable: the mean difference that "
        "the test finds in 4 of 5 such experiments, among so many recipes. Effect d: mean "
        "difference ÷ standard deviation of the differences.",
        "Wilcoxon's test over cases only describes: cases of a fold share a network.",
    ]
    rules = [
        tested,
        *([] if kind == "blocks" else told),
        "Empty masks: a class that is neither in truth nor in prediction has Dice and surface "
        "distance 1 and HD95 0; in one of both only, Dice and surface distance are 0 and HD95 is "
        "the image's diagonal. Precision without a prediction, and recall without a truth, do not "
        "count.",
        f"Surfaces agree within {plan.task.tolerance:g} {plan.unit} (normalised surface distance, "
        "NSD; HD95 by MONAI).",
        *plan.notes,
    ]
    fields = settings.model_dump(mode="json", exclude={"recipe", "seed", "workers"})
    chosen = "\n".join(f"{k}: {v}" for k, v in fields.items() if v is not None)
    used = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "numpy"))
    files = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        for name, text in plan.recipes.items()
    )
    return [
        *([] if kind == "blocks" else ["<h2>Statistics</h2>", _table(sheets.tests(results))]),
        "<h2>How it was done</h2>",
        f"<ul>{''.join(f'<li>{escape(rule)}</li>' for rule in rules)}</ul>",
        f"<details><summary>Settings of every training</summary><pre>{escape(chosen)}</pre>"
        "</details>",
        files,
        _note(
            f"medsataug {__version__}, {used}; Python {platform.python_version()}. Every score is "
            "in cases.csv."
        ),
    ]


def _if(svg: str, head: str, text: str) -> Iterable[str]:
    return [f"<h2>{head}</h2>", _figure(svg, text)] if svg else []


def _figure(svg: str, text: str) -> str:
    return f'<figure class="wide">{svg}<figcaption>{escape(text)}</figcaption></figure>'


def _note(text: str) -> str:
    return f'<p class="faint">{escape(text)}</p>'


def _table(sheet: sheets.Sheet) -> str:
    head, rows = sheet
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def _title(results: Results) -> Any:
    return results.experiment.name or results.experiment.folder.name
