"""Prediction: what is given wrongly is named before it is used, and no network sees nodata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug.errors import ConfigError
from medsataug.inference import back, predict, torch_network
from medsataug.types import Sample

SHAPE = (20, 24)
NOTHING = msa.Pipeline([], name="nothing")
FLIP = {"views": "flips", "swap": {1: 2}}


def case(**more: Any) -> Sample:
    rng = np.random.default_rng(0)
    return msa.Sample(rng.random((1, *SHAPE)).astype(np.float32), axes="CYX").replace(**more)


def net(count: int, value: float = 0.0) -> Any:
    return lambda x: np.full((count, *SHAPE), value, np.float32)


@pytest.mark.parametrize(
    ("count", "classes", "message"),
    [
        (2, [0, 1, 2], r"classes: \[0, 1, 2\]; 2 label values"),
        (4, [0, 1, 2], r"classes: \[0, 1, 2\]; 4 label values"),
        (4, 3, "classes: 3; 4 label values"),
        (3, [0, 1, 1], "3 label values"),
        (3, "abc", "classes: 'abc'"),
        (3, 2.5, r"classes: 2\.5"),
        (3, [2, 1, 0], "3 rising numbers"),
        (3, [0, 1, 70000], "3 rising numbers"),
    ],
)
@pytest.mark.parametrize("views", [{}, FLIP])
def test_classes_are_as_many_as_probabilities(
    count: int, classes: Any, message: str, views: Any
) -> None:
    with pytest.raises(ConfigError, match=message):
        predict(net(count), case(), NOTHING, classes=classes, **views)


def test_a_number_of_classes_stands_for_their_values() -> None:
    def network(x: Any) -> Any:
        return np.concatenate([x, 1 - x, x * 2])

    listed = predict(network, case(), NOTHING, classes=[0, 1, 2], **FLIP)
    counted = predict(network, case(), NOTHING, classes=3, **FLIP)
    np.testing.assert_array_equal(listed.soft, counted.soft)


def test_back_takes_no_other_number_of_classes() -> None:
    given = case(label=np.ones(SHAPE, np.uint8))
    plan = msa.Pipeline([msa.Flip(p=1, axes="x", swap={1: 2})]).plan(given, seed=1)
    probabilities = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    for wrong in ([1, 2], [0, 1, 2, 2], 3):
        with pytest.raises(ConfigError, match="4 label values expected"):
            back(plan, probabilities, classes=wrong)
    np.testing.assert_array_equal(back(plan, probabilities, classes=4), back(plan, probabilities))
    for fill in (-1, 300):
        with pytest.raises(ConfigError, match=f"the label {fill} does not fit uint8.* 0 … 255"):
            back(plan, np.ones(SHAPE, np.uint8), fill=fill)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("recipe", [[], [msa.Flip(p=1, axes="x")], [msa.Rotate(degrees=20)]])
def test_networks_see_0_where_there_is_no_data(kind: Any, recipe: Any) -> None:
    image, valid = np.ones((1, *SHAPE), kind), np.ones((1, *SHAPE), bool)
    valid[:, 4:9, 5:9] = False
    image[~valid] = -9999
    given = case(image=image, valid=valid, meta={"nodata": -9999})
    seen = []

    def network(x: Any) -> Any:
        seen.append(x)
        return np.concatenate([x, 1 - x])

    predict(network, given, msa.Pipeline(recipe), views="flips")
    assert {float(x.min()) for x in seen} == {0}
    assert all((x == 0).sum() >= 15 for x in seen)


def test_infinite_scores() -> None:
    ruled_out = np.zeros((3, *SHAPE), np.float32)
    ruled_out[1] = -np.inf
    soft = predict(lambda x: ruled_out, case(), NOTHING).soft
    np.testing.assert_array_equal(soft[:, 0, 0], [0.5, 0, 0.5])
    for value in (-np.inf, np.inf):
        with pytest.raises(ConfigError, match="infinite score"):
            predict(net(3, value), case(), NOTHING)
    one = np.zeros((3, *SHAPE), np.float32)
    one[1, 3, 3] = np.inf
    with pytest.raises(ConfigError, match="infinite score"):
        predict(lambda x: one, case(), NOTHING)
    certain = predict(net(1, np.inf), case(), NOTHING, activation="sigmoid")
    assert certain.label.all()


@pytest.mark.parametrize(
    "views",
    [msa.Flip(p=1, axes="x"), NOTHING, [{"flip": {"axes": "x"}}], [[msa.Flip()]], None, 5, [None]],
)
def test_views_are_a_name_or_a_list(views: Any) -> None:
    with pytest.raises(ConfigError, match=r"^views"):
        predict(net(2), case(), NOTHING, views=views)


@pytest.mark.parametrize("recipe", [[msa.Flip(p=1)], msa.Flip(p=1), None, 5])
def test_recipes_are_pipelines_or_names(recipe: Any) -> None:
    with pytest.raises(ConfigError, match="recipe: a Pipeline"):
        predict(net(2), case(), recipe)


def test_cases_are_samples() -> None:
    with pytest.raises(ConfigError, match="a Sample expected, got ndarray"):
        predict(net(2), np.zeros((1, *SHAPE)), NOTHING)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scores",
    [[np.zeros((2, *SHAPE)), np.zeros((2, 10, 12))], {"out": np.zeros((2, *SHAPE))}, object()],
)
def test_networks_give_one_array(scores: Any) -> None:
    with pytest.raises(ConfigError, match="network: one array of scores"):
        predict(lambda x: scores, case(), NOTHING)


def test_modules_give_tensors() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    scores = torch.zeros((2, *SHAPE), requires_grad=True)
    with pytest.raises(ConfigError, match=r"got Tensor.*torch_network"):
        predict(lambda x: scores, case(), NOTHING)

    class Net(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return {"out": x}

    with pytest.raises(ConfigError, match="gives dict, not a tensor"):
        predict(torch_network(Net()), case(), NOTHING)
