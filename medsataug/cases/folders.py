"""Data sets that only folders and names describe."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, refuse, with_scheme
from medsataug.cases.listing import by_stem, channel_names, entries
from medsataug.errors import ConfigError
from medsataug.io.base import stem_of

_IMAGES = {"image", "images", "img", "imgs"}
_LABELS = {
    "label", "labels", "mask", "masks", "seg", "segmentation", "segmentations", "annotation",
    "annotations", "gt", "ground_truth", "target", "targets", "lesion", "lesions", "landcover",
    "land_cover", "lulc",
}  # fmt: skip
#: BraTS's names since 2023: patient, then the number of the visit.
_BRATS = re.compile(r"(BraTS-.+-\d{5})-\d{3}")


class PairedFolders:
    """Images in one folder or several (bands), labels in another, under the same names."""

    name = "folders"
    expects = (
        "images/ and labels/ (or masks/, landcover/, …) with files of the same names; without "
        "images/ every other folder holds channels"
    )

    def matches(self, path: Path) -> bool:
        """Whether there is one folder of labels and at least one other with files in it."""
        return path.is_dir() and bool(_roles(path)[0])

    def read(self, path: Path) -> CaseSet:
        """Cases by the names that images and labels share."""
        folders, target = _roles(path)
        if target is None:
            raise ConfigError(
                f"{path}: no folder is called as labels are; one of {', '.join(sorted(_LABELS))} "
                "expected"
            )
        labels = by_stem(target)
        parts = [by_stem(folder) for folder in folders]
        wrong, cases = [], []
        names = list({stem: None for part in parts for stem in part})
        for name in names:
            lacks = [f.name for f, part in zip(folders, parts, strict=True) if name not in part]
            wrong += [f"case {name}: no file in {folder}/" for folder in lacks]
            if name not in labels:
                wrong.append(f"case {name}: no label in {target.name}/")
            if not lacks:
                cases.append(Case(name, tuple(part[name] for part in parts), labels.get(name)))
        wrong += [
            f"label {target.name}/{labels[name].name} has no image"
            for name in labels
            if name not in names
        ]
        refuse(path, wrong, "give image and label the same name, or remove these")
        if not cases:
            raise ConfigError(f"{path}: its folders {', '.join(f.name for f in folders)} are empty")
        single = len(folders) == 1 and folders[0].name.lower() in _IMAGES
        channels = channel_names(
            cases[0].images, ["image"] if single else [folder.name for folder in folders]
        )
        return CaseSet(with_scheme(cases, channels), name=path.resolve().name, channels=channels)


def _roles(path: Path) -> tuple[list[Path], Path | None]:
    """Folders of images, and the one of labels; none where they do not tell."""
    inside = entries(path, folders=True)
    named = [f for f in inside if f.name.lower() in _LABELS]
    images = [f for f in inside if f.name.lower() in _IMAGES]
    if len(named) != 1:
        return [], None
    others = [f for f in inside if f != named[0] and (entries(f, folders=False))]
    return images or others, named[0]


class CaseFolders:
    """One folder a case, with a file for each channel and one for the label, as in BraTS.

    File names may begin with the folder's (``BraTS-GLI-00001-000-t1n.nii.gz``). Visits of one
    patient are a group.

    Source: names of the BraTS challenges of 2018 to 2024.
    """

    name = "case-folders"
    expects = (
        "a folder a case, with files such as CASE-t1n.nii.gz, CASE_t1.nii.gz or t1.nii.gz and a "
        "label called seg, label, mask or lesion"
    )

    def matches(self, path: Path) -> bool:
        """Whether some folder in it holds a label and something else."""
        return path.is_dir() and any(
            len(parts := _parts(folder)) > 1 and _label_of(parts)
            for folder in entries(path, folders=True)
        )

    def read(self, path: Path) -> CaseSet:
        """Return a case for each folder; all must hold the same channels."""
        found = {folder.name: _parts(folder) for folder in entries(path, folders=True)}
        found = {name: parts for name, parts in found.items() if parts}
        wanted = sorted({p for parts in found.values() for p in parts if p not in _LABELS})
        wrong, cases = [], []
        for name, parts in found.items():
            own = _label_of(parts)
            lacks = [p for p in wanted if p not in parts]
            wrong += [f"case {name}: no file for the channel {p}" for p in lacks]
            if len(own) != 1:
                wrong.append(f"case {name}: {'no' if not own else 'more than one'} label")
            if not lacks and own:
                group = got[1] if (got := _BRATS.fullmatch(name)) else None
                images = tuple(parts[p] for p in wanted)
                cases.append(Case(name, images, parts[own[0]], group=group))
        refuse(path, wrong, "complete or remove these folders")
        channels = channel_names(cases[0].images, wanted)
        return CaseSet(with_scheme(cases, channels), name=path.resolve().name, channels=channels)


def _parts(folder: Path) -> dict[str, Path]:
    """Images of a case by what their names have beyond the case's own."""
    files = {stem_of(f): f for f in entries(folder, folders=False)}
    start = folder.name
    if not all(stem.startswith(start) for stem in files):
        letters = zip(*files, strict=False) if len(files) > 1 else ()
        shared = "".join(c[0] for c in takewhile(lambda c: len(set(c)) == 1, letters))
        start = shared[: max(shared.rfind(c) for c in "-_. ") + 1]
    return {stem[len(start) :].lstrip("-_. ") or stem: f for stem, f in files.items()}


def _label_of(parts: dict[str, Path]) -> list[str]:
    return [part for part in parts if part.lower() in _LABELS]
