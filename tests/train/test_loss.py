"""The loss against formulas written out voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from medsataug.train.loss import IGNORED, SMOOTH, at_all_depths, depth_weights, dice_ce  # noqa: E402

RNG = np.random.default_rng(5)


def naive(p: np.ndarray, truth: np.ndarray, known: np.ndarray, first: int) -> float:
    """1 − mean Dice of (B, K, n) probabilities and truth, of classes from ``first`` on."""
    found = []
    for b in range(len(p)):
        for k in range(first, p.shape[1]):
            both = each = 0.0
            for i in range(p.shape[2]):
                if known[b, i]:
                    both += p[b, k, i] * truth[b, k, i]
                    each += p[b, k, i] + truth[b, k, i]
            found.append((2 * both + SMOOTH) / (each + SMOOTH))
    return 1 - float(np.mean(found))


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_classes(background: bool, kind: str) -> None:
    scores, label = RNG.normal(size=(2, 3, 4, 5)), RNG.integers(IGNORED, 3, (2, 4, 5))
    p, known = softmax(scores).reshape(2, 3, -1), label.reshape(2, -1) != IGNORED
    if kind == "soft":
        soft = softmax(RNG.normal(size=scores.shape))
        truth, given = soft.reshape(2, 3, -1), torch.tensor(soft)
    else:
        truth = np.stack([(label == k).reshape(2, -1) for k in range(3)], axis=1) * 1.0
        given = None
    entropy = -(truth * np.log(p)).sum(axis=1)[known].mean()
    found = dice_ce(torch.tensor(scores), torch.tensor(label), given, background=background)
    expected = naive(p, truth, known, int(background)), entropy
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("ignore", [True, False])
def test_regions(ignore: bool) -> None:
    scores = RNG.normal(size=(2, 3, 4, 5))
    layers = RNG.integers(0, 2, (2, 4 if ignore else 3, 4, 5))
    p = (1 / (1 + np.exp(-scores))).reshape(2, 3, -1)
    truth = layers[:, :3].reshape(2, 3, -1)
    known = (layers[:, 3] == 0).reshape(2, -1) if ignore else np.ones((2, 20), bool)
    each = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(axis=1)
    found = dice_ce(torch.tensor(scores), torch.tensor(layers), regions=True)
    expected = naive(p, truth, known, 0), each[known].mean()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much() -> None:
    label = torch.tensor(RNG.integers(0, 3, (1, 8, 8)))
    hot = torch.nn.functional.one_hot(label, 3).movedim(-1, 1) * 40.0
    np.testing.assert_allclose(dice_ce(hot, label).numpy(), 0, atol=1e-5)
    assert float(dice_ce(hot.roll(1, dims=1), label).min()) > 0.9


def test_what_is_ignored_pulls_at_nothing() -> None:
    scores = torch.randn(1, 2, 4, 4, requires_grad=True)
    label = torch.ones(1, 4, 4, dtype=torch.int64)
    label[0, 0] = IGNORED
    dice_ce(scores, label).sum().backward()
    assert not scores.grad[0, :, 0].any()
    assert scores.grad[0, :, 1:].all()
    nothing = torch.full((1, 4, 4), IGNORED)
    assert torch.isfinite(dice_ce(scores, nothing)).all()


def test_weights_of_resolutions() -> None:
    assert depth_weights(1) == [1.0]
    np.testing.assert_allclose(depth_weights(4), np.array([4, 2, 1, 0]) / 7)
    scores = [torch.randn(1, 2, n, n) for n in (8, 4, 2)]
    labels = [torch.randint(0, 2, (1, n, n)) for n in (8, 4, 2)]
    whole = at_all_depths(scores, labels, [None] * 3)
    parts = [dice_ce(s, t) for s, t in zip(scores, labels, strict=True)]
    torch.testing.assert_close(whole, parts[0] * 2 / 3 + parts[1] / 3)
