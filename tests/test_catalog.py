"""What `medsataug transforms` says of a transform is complete, and its example works."""

from __future__ import annotations

import re

import pytest
import yaml

from medsataug import Pipeline, catalog, tables, transforms
from medsataug.errors import ConfigError
from medsataug.transforms.base import Transform, ValueTransform

NAMES = transforms.builtin_names()


@pytest.mark.parametrize("name", NAMES)
def test_example_is_that_transform(name: str) -> None:
    given = yaml.safe_load(catalog.entry(name).example)
    (made,) = Pipeline(given).transforms
    assert type(made) is transforms.find(name)
    assert made.p == 0.5
    required = {n for n, f in type(made).model_fields.items() if f.is_required()}
    assert required <= set(given[0][name])


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_explained(name: str) -> None:
    entry = catalog.entry(name)
    assert {f.name for f in entry.fields} == set(transforms.find(name).model_fields)
    for field in entry.fields:
        assert field.allowed, f"{field.name}: what may be given is not said"
        assert field.text.endswith((".", ")")), f"{field.name}: {field.text!r}"
        assert field.default, field.name
        # Types as Python writes them mean nothing to a recipe's author.
        assert not re.search(r"\b(float|bool|str|int|optional)\b", field.allowed), field.allowed
        assert "``" not in field.text


@pytest.mark.parametrize("name", NAMES)
def test_summary_is_one_sentence(name: str) -> None:
    entry = catalog.entry(name)
    assert re.match(r"[A-Z].*[.]$", entry.summary)
    assert "\n" not in entry.summary + entry.text.replace("\n\n", "")
    assert "Source:" not in entry.text


#: They choose, cut or keep, and compute nothing that another has written down.
WITHOUT_SOURCE = {"barrier", "crop", "one_of", "pad", "resample", "resize", "schedule", "some_of"}


@pytest.mark.parametrize("name", NAMES)
def test_source_is_named(name: str) -> None:
    assert catalog.entry(name).source or name in WITHOUT_SOURCE


def test_common_fields_come_last() -> None:
    entry = catalog.entry("gamma")
    assert [f.common for f in entry.fields] == sorted(f.common for f in entry.fields)
    own = set(ValueTransform.model_fields) | set(Transform.model_fields)
    assert {f.name for f in entry.fields if f.common} == own


def test_words_of_a_field() -> None:
    fields = {f.name: f for f in catalog.entry("rotate").fields}
    assert fields["degrees"].allowed == "range of degrees; also {x: …, y: …, z: …}"
    assert fields["degrees"].default == "[-15, 15]"
    assert fields["frame"].allowed == "physical, index"
    assert fields["p"].allowed == "number, 0 to 1"
    assert {f.name: f.default for f in catalog.entry("patch").fields}["size"] == "required"


def test_either_name_is_understood() -> None:
    assert catalog.entry("GaussianNoise") == catalog.entry("gaussian_noise")
    with pytest.raises(ConfigError, match="did you mean gaussian_noise"):
        catalog.entry("gausian_noise")


def test_tables_take_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = tables.facts("[red]a[/red].tif", {"names": ["[b]x[/b]", "y"], "none": None, "n": 0})
    assert said == "[red]a[/red].tif\n  names  [b]x[/b], y\n  n      0"
    series = {"format": "dicom", "series": [{"number": 1, "turned": False}, {"number": 2}]}
    assert tables.facts("d", series).splitlines()[1:] == [
        "  format  dicom",
        "  series 1 of 2",
        "    number  1",
        "    turned  no",
        "  series 2 of 2",
        "    number  2",
    ]
    pairs = tables.facts("a", {"affine": [[1.0, 2.5], [0.1, 3.0]]})
    assert pairs == "a\n  affine  (1, 2.5), (0.1, 3)"


def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    said = tables.transforms([catalog.entry(n) for n in NAMES])
    assert max(map(len, said.splitlines())) <= 70


def test_a_transform_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "_registered", {})

    class Negative(ValueTransform):
        """Turn dark to bright.

        Parameters
        ----------
        about : float
            What stays.
        """

        about: float = 0.0

    with pytest.raises(ConfigError, match=r"transforms\[0\] no transform 'negative'.*register"):
        Pipeline([{"negative": {}}])
    transforms.register(Negative)
    assert "negative" in transforms.names()
    entry = catalog.entry("negative")
    assert (entry.summary, entry.fields[0].text) == ("Turn dark to bright.", "What stays.")
    assert type(Pipeline([{"negative": {"about": 2}}]).transforms[0]) is Negative
    with pytest.raises(ConfigError, match="'gamma' is a transform of medsataug"):
        transforms.register(type("Gamma", (ValueTransform,), {}))
