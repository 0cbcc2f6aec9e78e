"""The Medical Segmentation Decathlon's data sets, whose images hold all channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, refuse, with_scheme
from medsataug.cases.listing import natural, read_json
from medsataug.cases.nnunet import numbered
from medsataug.errors import ConfigError
from medsataug.io.base import stem_of


class Decathlon:
    """``dataset.json`` lists the cases; an image's fourth axis holds the channels.

    It differs from nnU-Net's version 2 in that cases are listed rather than found, channels are
    called ``modality`` and lie in one file, and ``labels`` names values (``{"0": "background"}``)
    rather than giving names values. nnU-Net's version 1 lists cases in the same way, but its
    images are one file a channel (``NAME_0000.nii.gz``); both are read.

    Source: Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13 (2022),
    and the ``dataset.json`` of its tasks.
    """

    name = "decathlon"
    expects = (
        "dataset.json with modality, labels and training: [{image, label}]; one (4D) image a case"
    )

    def matches(self, path: Path) -> bool:
        """Whether its ``dataset.json`` lists the training cases."""
        file = path / "dataset.json"
        if not file.is_file():
            return False
        given = read_json(file)
        return "channel_names" not in given and "training" in given

    def read(self, path: Path) -> CaseSet:
        """Cases that ``training`` lists; those of ``test`` have no label."""
        file = path / "dataset.json"
        given = read_json(file)
        channels = numbered(given.get("modality"), file, "modality")
        labels = _labels(given.get("labels"), file)
        training = given["training"]
        if not isinstance(training, list) or not training:
            raise ConfigError(f"{file}: training: a list of {{image, label}} expected")
        cases, wrong = [], []
        for number, entry in enumerate(training):
            image = entry.get("image") if isinstance(entry, dict) else None
            label = entry.get("label") if isinstance(entry, dict) else None
            if not isinstance(image, str) or not isinstance(label, str):
                wrong.append(f"training[{number}]: {entry!r} names no image and label")
                continue
            case, problems = _case(path, image, label, len(channels))
            cases.append(case)
            wrong += problems
        refuse(path, wrong, "complete or remove these cases")
        stated = given.get("numTraining")
        if isinstance(stated, int) and stated != len(cases):
            raise ConfigError(
                f"{file}: numTraining is {stated}, but training lists {len(cases)} cases; correct "
                "the one that is wrong"
            )
        cases.sort(key=lambda case: natural(case.id))
        return CaseSet(
            with_scheme(cases, channels, labels.values()),
            name=str(given.get("name") or path.resolve().name),
            channels=channels,
            labels=labels,
        )


def _case(path: Path, image: str, label: str, count: int) -> tuple[Case, list[str]]:
    """Case of one entry, and what is wrong with it."""
    file, target = path / image, path / label
    name, files = stem_of(file), [file]
    ending = file.name[len(name) :]
    parts = [file.with_name(f"{name}_{i:04d}{ending}") for i in range(count)]
    if not file.exists() and any(part.exists() for part in parts):
        files = parts  # nnU-Net's version 1
    missing = [f for f in (*files, target) if not f.exists()]
    wrong = [f"case {name}: {f.name} is missing in {f.parent.name}" for f in missing]
    return Case(name, tuple(files), target), wrong


def _labels(given: Any, file: Path) -> dict[str, int]:
    """Names of the values of ``{"0": "background", …}``."""
    try:
        named = {str(name): int(value) for value, name in given.items()}
        if len(named) == len(given) and named:
            return named
    except (AttributeError, TypeError, ValueError):
        pass
    raise ConfigError(
        f'{file}: labels: {given!r}; values and names expected, such as {{"0": "background"}}, '
        "each name once"
    )
