"""Scores of a network's predictions: what is known, what counts, and what it is called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import medsataug as msa

pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
pytest.importorskip("monai", reason="MONAI is not installed (medsataug[validate])")
from medsataug.errors import FormatError
from medsataug.train import Settings
from medsataug.validate.scoring import class_names, score_case

LABEL = np.zeros((8, 10), np.uint8)
LABEL[2:6, 2:6] = 1
LABEL[2:6, 6:8] = 3


def sample(**changes: Any) -> msa.Sample:
    image = np.ones((8, 10), np.float32)
    return msa.Sample(image, LABEL, axes="YX", spacing=(2, 2), id="a").replace(**changes)


class Seer:
    """Predicts what it is told."""

    def __init__(self, settings: Settings, label: Any, soft: Any) -> None:
        self.settings, self._made = settings, SimpleNamespace(label=label, soft=soft)

    def predict(self, case: msa.Sample) -> Any:
        return self._made


def sure(label: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return np.stack([(label == v) * 0.8 + 0.1 * (label != v) for v in values]).astype(np.float32)


def test_classes_are_called_as_the_data_set_does() -> None:
    settings = Settings(labels=(0, 1, 3))
    assert class_names(settings, {"background": 0, "liver": 1}) == {"liver": 1, "class 3": 3}
    regions = Settings(regions=((1, 3), 3))
    assert class_names(regions, {"whole": (1, 3)}) == {"whole": (1, 3), "class 3": 3}


def test_a_perfect_prediction_scores_one_and_is_calibrated_by_its_confidence() -> None:
    settings = Settings(labels=(0, 1, 3))
    seer: Any = Seer(settings, LABEL, sure(LABEL, (0, 1, 3)))
    scores, bins = score_case(seer, sample(), class_names(settings), 2.0)
    for own in scores.values():
        assert own == {"dice": 1, "nsd": 1, "hd95": 0, "precision": 1, "recall": 1}
    assert bins is not None
    assert bins.error == pytest.approx(0.2, abs=1e-6)  # .8 sure, and always right


def test_ignored_and_unknown_voxels_count_nowhere() -> None:
    settings = Settings(labels=(0, 1), ignore=3)
    found = np.where(LABEL == 3, 1, LABEL)  # wrong where it is ignored
    found[0, :] = 1  # and where there is no data
    valid = np.ones((1, 8, 10), bool)
    valid[0, 0] = False
    seer: Any = Seer(settings, found, sure(found, (0, 1)))
    scores, bins = score_case(seer, sample(valid=valid), class_names(settings), 2.0)
    assert scores["class 1"]["dice"] == 1
    assert bins is not None
    assert bins.hits.sum() == bins.count.sum() <= 8 * 10 - 8 - 10


def test_regions_are_scored_layer_by_layer() -> None:
    settings = Settings(regions=((1, 3), 3))
    layers = np.stack([LABEL > 0, LABEL == 1]).astype(np.uint8)  # the second is wrong
    seer: Any = Seer(settings, layers, layers.astype(np.float32))
    scores, bins = score_case(seer, sample(), class_names(settings), 2.0)
    assert scores["class 1+3"]["dice"] == 1
    assert scores["class 3"]["dice"] == 0
    assert bins is None


def test_a_full_disk_is_the_machines_fault_in_another_process_too(tmp_path: Path) -> None:
    import pickle

    error = FormatError.of("no room", OSError(28, "No space left on device"))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.errno) == (FormatError, "no room", 28)
