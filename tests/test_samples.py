"""The bundled samples are what their scripts draw."""

from __future__ import annotations

import filecmp
from collections import Counter
from importlib import import_module

import numpy as np
import pytest

import medsataug as msa
from medsataug.cases import find


@pytest.fixture
def scripts(samples, monkeypatch):
    """Let the scripts beside the samples be imported, and leave nothing beside them."""
    monkeypatch.syspath_prepend(samples)
    monkeypatch.setattr("sys.dont_write_bytecode", True)


@pytest.mark.filterwarnings("ignore:.*indices into a palette")
@pytest.mark.parametrize(
    ("script", "folder"),
    [("_cohort:make_cohort", "cohort"), ("_scene:make_scene", "multispectral")],
)
def test_samples_are_as_their_script_makes_them(samples, scripts, tmp_path, script, folder):
    module, name = script.split(":")
    make = getattr(import_module(module), name)
    for number in range(2):
        make(tmp_path / str(number))
    made = sorted(p for p in (tmp_path / "0").rglob("*") if p.is_file())
    assert made
    for path in made:
        part = path.relative_to(tmp_path / "0")
        assert filecmp.cmp(path, tmp_path / "1" / part, shallow=False), part  # the same bytes
        # Other processors and versions may round a few values the other way.
        one, shipped = msa.load(path), msa.load(samples / folder / part)
        np.testing.assert_allclose(
            np.asarray(one.image, float), np.asarray(shipped.image, float), atol=4
        )
        assert (np.asarray(one.image) != np.asarray(shipped.image)).mean() < 1e-3
        np.testing.assert_allclose(one.grid.affine, shipped.grid.affine)


def test_cohort(samples):
    found = find(samples / "cohort")
    assert len(found) == 20
    assert found.labels == {"background": 0, "class 1": 1, "class 2": 2}
    signs = Counter()
    for case in found:
        sample = case.load()
        assert sample.image.dtype == np.int16
        assert sample.label.dtype == np.uint8
        assert sample.grid.spacing == pytest.approx((1, 1, 1))
        assert all(abs(n - m) <= 3 for n, m in zip(sample.label.shape, (32, 40, 32), strict=True))
        means = [sample.image[0][sample.label == v].mean() for v in (0, 1)]
        signs[bool(means[1] > means[0])] += 1
        assert 0.01 < (sample.label > 0).mean() < 0.12
    assert signs == {True: 18, False: 2}
    size = sum(p.stat().st_size for p in (samples / "cohort").rglob("*.gz"))
    assert size < 900_000
