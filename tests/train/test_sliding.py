"""Windows cover an image, and their weighted mean says what the network says."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.inference import predict

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from medsataug.train.sliding import SlidingWindow, gaussian, window_starts  # noqa: E402


class Pointwise(torch.nn.Module):
    """Scores of each voxel by itself, so that windows cannot matter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1] * 2 - 1, x[:, 1:2].square()], dim=1)


def test_windows_lie_evenly_and_reach_the_end() -> None:
    # Rows of nnU-Net's own function for step 0.5.
    assert window_starts(30, 30, 0.5) == [0]
    assert window_starts(123, 64, 0.5) == [0, 30, 59]
    assert window_starts(128, 64, 0.5) == [0, 32, 64]
    for size in range(16, 90):
        starts = window_starts(size, 16, 0.5)
        assert (starts[0], starts[-1]) == (0, size - 16)
        assert max(np.diff(starts), default=0) <= 8


def test_weights_are_symmetric_and_positive() -> None:
    w = gaussian((16, 9))
    np.testing.assert_array_equal(w, w[::-1, ::-1])
    assert w.min() > 0
    np.testing.assert_allclose(w[8, 4] / w[8, 4 - 1], np.exp(0.5 * (8 / 9) ** 2), rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 33), (10, 50), (7, 9), (20, 17, 11)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_pointwise_network(shape: tuple[int, ...], batch: int) -> None:
    image = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    module = Pointwise()
    found = SlidingWindow(module, (16, 12, 8)[: len(shape)], batch=batch)(image)
    np.testing.assert_allclose(found, module(torch.tensor(image)[None])[0], atol=2e-6)


def test_it_predicts_by_views_and_leaves_the_module_training() -> None:
    module = Pointwise().train()
    sample = msa.Sample(
        np.random.default_rng(2).normal(size=(2, 20, 24)).astype(np.float32), grid=None, axes="CYX"
    )
    network = SlidingWindow(module, (16, 16))
    once = predict(network, sample, msa.Pipeline(), views="none").soft
    np.testing.assert_allclose(
        predict(network, sample, msa.Pipeline(), views="d4").soft, once, atol=1e-6
    )
    assert module.training


def test_bad_windows_are_refused() -> None:
    with pytest.raises(msa.ConfigError, match=r"overlap: 1; 0 or more, and less than 1"):
        SlidingWindow(Pointwise(), (8, 8), overlap=1)
    with pytest.raises(msa.ConfigError, match="they differ in their axes"):
        SlidingWindow(Pointwise(), (8, 8))(np.zeros((1, 4, 4, 4), np.float32))
