"""nnU-Net's raw data sets, version 2: one file a channel, described by ``dataset.json``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet, Values, refuse, with_scheme
from medsataug.cases.listing import natural, read_json
from medsataug.errors import ConfigError

#: Formats of pictures, of which one file may hold all channels (red, green, blue).
_PICTURES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


class NnUNet:
    """``imagesTr/NAME_0000.ext``, one file a channel, and ``labelsTr/NAME.ext``.

    Source: dataset format of nnU-Net version 2 (Isensee et al.), documentation/dataset_format.md.
    """

    name = "nnunet"
    expects = (
        "dataset.json with channel_names, labels and file_ending; imagesTr/NAME_0000.ext, "
        "labelsTr/NAME.ext"
    )

    def matches(self, path: Path) -> bool:
        """Whether its ``dataset.json`` has the keys of version 2."""
        file = path / "dataset.json"
        return file.is_file() and "channel_names" in read_json(file)

    def read(self, path: Path) -> CaseSet:
        """Cases of ``imagesTr``, or those that ``dataset`` in the description lists."""
        file = path / "dataset.json"
        given = read_json(file)
        channels = numbered(given["channel_names"], file, "channel_names")
        labels, ignore = _labels(given.get("labels"), file)
        ending = given.get("file_ending")
        if isinstance(given.get("dataset"), dict):
            cases, wrong = _listed(path, given["dataset"], len(channels))
        elif isinstance(ending, str) and ending.startswith("."):
            cases, wrong = _found(path, ending, len(channels))
        else:
            raise ConfigError(
                f"{file}: file_ending: {ending!r}; a suffix such as '.nii.gz' expected"
            )
        refuse(path, wrong, "complete or remove these cases")
        stated = given.get("numTraining")
        if isinstance(stated, int) and stated != len(cases):
            raise ConfigError(
                f"{file}: numTraining is {stated}, but there are {len(cases)} cases in imagesTr; "
                "copy what is missing, or correct the number"
            )
        if not cases:
            raise ConfigError(f"{path}: no case in imagesTr; NAME_0000{ending} files expected")
        regions, order = _regions(labels, ignore, given.get("regions_class_order"), file)
        values = {v for vs in labels.values() for v in (vs if isinstance(vs, tuple) else (vs,))}
        return CaseSet(
            with_scheme(cases, channels, {0, *values}),
            name=path.resolve().name,
            channels=channels,
            labels=labels,
            regions=regions,
            region_order=order,
            ignore=ignore,
        )


def numbered(given: Any, file: Path, key: str) -> tuple[str, ...]:
    """Names that a JSON object lists under "0", "1", ….

    Raises
    ------
    ConfigError
        Where numbers are missing.
    """
    if isinstance(given, dict) and given and sorted(given) == sorted(map(str, range(len(given)))):
        return tuple(str(given[str(i)]) for i in range(len(given)))
    raise ConfigError(f'{file}: {key}: {given!r}; names under "0", "1", … without gaps expected')


def _labels(given: Any, file: Path) -> tuple[dict[str, Values], int | None]:
    """Names with values or regions' values, and the ignored value."""
    labels: dict[str, Values] = {}
    for name, value in (given or {}).items() if isinstance(given, dict) else ():
        if isinstance(value, list) and value and all(type(v) is int for v in value):
            labels[str(name)] = tuple(value)
        elif type(value) is int:
            labels[str(name)] = value
        else:
            raise ConfigError(
                f"{file}: labels: {name!r} is {value!r}; a whole number, or a list of them for a "
                "region, expected (name first: the order of the Medical Segmentation Decathlon is "
                "the reverse)"
            )
    if not labels:
        raise ConfigError(f'{file}: labels: names and values expected, such as {{"background": 0}}')
    ignore = labels.get("ignore")
    plain = [v for v in labels.values() if isinstance(v, int)]
    highest = max(v if isinstance(v, int) else max(v) for v in labels.values())
    if isinstance(ignore, tuple) or (ignore is not None and ignore != highest):
        raise ConfigError(
            f"{file}: labels: ignore is {ignore}; one number above all others expected, as nnU-Net "
            "wants it"
        )
    if len(set(plain)) < len(plain):
        raise ConfigError(f"{file}: labels: two names have one value: {labels}")
    return labels, ignore


def _regions(
    labels: dict[str, Values], ignore: int | None, order: Any, file: Path
) -> tuple[list[Values] | None, list[int] | None]:
    """Targets of region-based training and the values they become, where there are regions."""
    if not any(isinstance(v, tuple) for v in labels.values()):
        return None, None
    regions = [
        v for name, v in labels.items() if name != "ignore" and v not in (0, (0,))
    ]  # as listed, background and ignored voxels apart
    whole = isinstance(order, list) and all(type(v) is int for v in order)
    if not whole or len(order) != len(regions):
        raise ConfigError(
            f"{file}: regions_class_order: {order}; a label value for each of the {len(regions)} "
            "regions expected, since labels lists regions"
        )
    return regions, order


def _found(path: Path, ending: str, count: int) -> tuple[list[Case], list[str]]:
    """Cases of imagesTr and labelsTr, and what is wrong with them."""
    images, labels = path / "imagesTr", path / "labelsTr"
    absent = [f.name for f in (images, labels) if not f.is_dir()]
    if absent:
        raise ConfigError(f"{path}: there is no folder {' or '.join(absent)}; copy it")
    form = re.compile(r"(.+)_(\d{4})" + re.escape(ending))
    parts: dict[str, dict[int, Path]] = {}
    wrong: list[str] = []
    for file in _files(images, ending):
        if got := form.fullmatch(file.name):
            parts.setdefault(got[1], {})[int(got[2])] = file
        else:
            wrong.append(f"imagesTr/{file.name} does not end in _0000{ending}")
    known = {f.name[: -len(ending)]: f for f in _files(labels, ending)}
    pictures = ending.lower() in _PICTURES and all(set(p) == {0} for p in parts.values())
    wanted = {0} if pictures else set(range(count))
    cases = []
    for name in sorted(parts, key=natural):
        have, label = parts[name], known.get(name)
        for number in sorted(wanted - set(have)):
            wrong.append(f"case {name}: channel {number} is missing ({name}_{number:04d}{ending})")
        for number in sorted(set(have) - wanted):
            wrong.append(
                f"case {name}: channel {number} is one too many for the {count} in channel_names"
            )
        if label is None:
            wrong.append(f"case {name}: there is no label labelsTr/{name}{ending}")
        cases.append(Case(name, tuple(have[i] for i in sorted(have)), label))
    for name in sorted(known.keys() - parts.keys(), key=natural):
        wrong.append(f"label labelsTr/{name}{ending} has no image")
    return cases, wrong


def _files(folder: Path, ending: str) -> list[Path]:
    """Files of a suffix; a system's hidden ones (``._name``) apart."""
    found = (f for f in folder.iterdir() if f.name.endswith(ending) and f.name[0] != ".")
    return sorted(found, key=lambda f: natural(f.name))


def _listed(path: Path, given: dict[str, Any], count: int) -> tuple[list[Case], list[str]]:
    """Cases that dataset.json lists itself: ``{"name": {"images": […], "label": …}}``."""
    cases, wrong = [], []
    for name, files in given.items():
        parts = files.get("images") if isinstance(files, dict) else None
        label = files.get("label") if isinstance(files, dict) else None
        if not isinstance(parts, list) or not isinstance(label, str) or not parts:
            wrong.append(f'case {name}: {{"images": [files], "label": file}} expected in dataset')
            continue
        images = tuple(path / str(part) for part in parts)
        if len(images) not in (count, 1):
            wrong.append(f"case {name}: {len(images)} images for {count} channels")
        missing = [f for f in (*images, path / label) if not f.exists()]
        wrong += [f"case {name}: {f.name} is missing" for f in missing]
        cases.append(Case(str(name), images, path / label))
    return cases, wrong
