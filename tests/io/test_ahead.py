"""Cases read ahead: in order, the same as by `load`, with their errors in their turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medsataug import set_threads, threads
from medsataug.errors import FormatError
from medsataug.io import ahead, load, load_many
from tests.commands import write_nifti


@pytest.fixture(params=[1, 2])
def _number_of_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", {})
    set_threads(request.param)


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[Path, Path]]:
    made = []
    for k in range(4):
        image = np.arange(60, dtype=np.int16).reshape(3, 4, 5) + k
        label = (image % 3).astype(np.uint8)
        made.append(
            (
                write_nifti(tmp_path / f"i{k}.nii.gz", image),
                write_nifti(tmp_path / f"l{k}.nii.gz", label),
            )
        )
    return made


@pytest.mark.usefixtures("_number_of_threads")
def test_in_order_and_as_load_gives_them(cases: list[tuple[Path, Path]]) -> None:
    given = [*cases, cases[0][0], ([cases[1][0], cases[2][0]], None)]
    found = list(load_many(given))
    assert len(found) == 6
    for (image, label), sample in zip(cases, found, strict=False):
        assert sample.digest == load(image, label).digest
    assert found[4].label is None
    assert found[5].image.shape == (2, 5, 4, 3)
    assert list(load_many([])) == []


@pytest.mark.usefixtures("_number_of_threads")
def test_an_error_comes_in_its_turn(cases: list[tuple[Path, Path]], tmp_path: Path) -> None:
    samples = load_many([cases[0], tmp_path / "gone.nii.gz", cases[1]])
    assert next(samples).label is not None
    with pytest.raises(FormatError, match=r"gone\.nii\.gz: there is no such file"):
        next(samples)


def test_the_next_is_read_meanwhile_and_no_more(
    cases: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_chosen", {})
    set_threads(2)
    begun = []

    def noted(image: Path, label: Path, **options: object) -> object:
        begun.append(image)
        return load(image, label, **options)

    monkeypatch.setattr(ahead, "load", noted)
    samples = load_many(cases)
    for number in range(4):
        next(samples)
        # Its thread has been told of one more by now, and of no other.
        assert len(begun) <= min(number + 2, 4)
    samples.close()
    assert begun == [image for image, _ in cases]
