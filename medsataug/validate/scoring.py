"""A trained network on the cases it is tested with: scores of each class, and its confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medsataug.train.model import Model, truth_of
from medsataug.types import Sample
from medsataug.validate import metrics
from medsataug.validate.metrics import Calibration

#: Scores of one case: {class: {measure: value}}.
Scores = dict[str, dict[str, float]]
#: Truth where nothing is known; no label value.
_UNKNOWN = np.iinfo(np.int64).min


def class_names(settings: Any, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Names of what is scored, and the label values of each.

    Parameters
    ----------
    settings : Settings
        Completed.
    known : {name: label value or values}, optional
        Names that the data set gives.
    """

    def key(target: Any) -> tuple[int, ...]:
        return tuple(target) if isinstance(target, (tuple, list)) else (target,)

    named = {key(values): name for name, values in (known or {}).items()}
    named.setdefault((0,), "background")
    return {named.get(key(t), "class " + "+".join(map(str, key(t)))): t for t in settings.scored}


def score_case(
    model: Model, sample: Sample, classes: Mapping[str, Any], tolerance: float
) -> tuple[Scores, Calibration | None]:
    """Predict a case, and compare with its label.

    Parameters
    ----------
    model : Model
    sample : Sample
        With a label.
    classes : {name: label value or values}
        As `class_names` gives them.
    tolerance : float
        Of the normalised surface distance, in the unit of the sample's grid.

    Returns
    -------
    scores : {class: {measure: value}}
    calibration : Calibration or None
        None for regions, which may overlap: no single class is the network's choice.
    """
    settings = model.settings
    predicted = model.predict(sample)
    label, known = truth_of(sample)
    truth = np.where(known, label.astype(np.int64), _UNKNOWN)
    unknown = (_UNKNOWN, *(() if settings.ignore is None else (settings.ignore,)))
    spacing = [float(s) for s in sample.grid.spacing]
    found = np.asarray(predicted.label)
    if settings.regions is None:
        scores = metrics.score(truth, found, classes, spacing, tolerance, unknown)
        probabilities: Any = predicted.soft
        values = settings.labels or ()
        return scores, metrics.calibration(
            truth, probabilities, values, unknown, settings.background
        )
    scores = {}
    for layer, (name, values) in zip(found, classes.items(), strict=True):
        region = np.where(np.isin(truth, unknown), truth, np.isin(truth, values))
        scores |= metrics.score(region, layer, {name: 1}, spacing, tolerance, unknown)
    return scores, None
