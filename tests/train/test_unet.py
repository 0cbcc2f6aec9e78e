"""The network: what it gives, at which resolutions, and what it halves."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from medsataug.train.loss import IGNORED, at_all_depths  # noqa: E402
from medsataug.train.unet import UNet, pooling  # noqa: E402


@pytest.mark.parametrize(("ndim", "shape"), [(2, (24, 40)), (3, (8, 16, 24))])
def test_scores_have_the_images_shape(ndim: int, shape: tuple[int, ...]) -> None:
    network = UNet(ndim, 2, 3, (4, 6, 8), deep_supervision=True)
    image = torch.zeros(2, 2, *shape)
    found = network(image)
    assert [tuple(s.shape[2:]) for s in found] == [shape, tuple(n // 2 for n in shape)]
    assert network.scales == [[1.0] * ndim, [0.5] * ndim]
    assert network.eval()(image).shape == (2, 3, *shape)
    assert UNet(ndim, 2, 3, (4, 6, 8)).scales == [[1.0] * ndim]


def test_gradients_reach_every_weight_but_the_coarsest_head() -> None:
    network = UNet(2, 1, 3, (4, 6, 8, 10), deep_supervision=True)
    label = torch.randint(IGNORED, 3, (2, 32, 32))
    labels = [label[:, ::k, ::k] for k in (1, 2, 4)]
    at_all_depths(network(torch.randn(2, 1, 32, 32)), labels, [None] * 3).sum().backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # What precedes a norm may have a bias that changes nothing.
    assert {n for n in without if not n.endswith("bias")} == {"heads.0.weight"}


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(UNet(2, 1, 2, (4, 8)).state_dict())
    assert all(torch.equal(made[0][n], made[1][n]) for n in made[0])


def test_thin_axes_are_not_halved() -> None:
    strides, kernels = pooling((16, 64, 64), (4.0, 1.0, 1.0), 4)
    assert strides == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    # Neither odd sides nor those of fewer than eight voxels.
    assert pooling((7, 6, 64), (1.0, 1.0, 1.0), 3)[0] == [(1, 1, 2), (1, 1, 2)]
    # Of voxels that are too long no axis but theirs is left: then these are halved.
    assert pooling((64, 5, 5), (9.0, 1.0, 1.0), 2)[0] == [(2, 1, 1)]


def test_a_network_of_thin_patches() -> None:
    strides, kernels = pooling((5, 16, 16), (5.0, 1.0, 1.0), 3)
    network = UNet(3, 1, 2, (4, 6, 8), True, strides, kernels)
    assert [tuple(s.shape[2:]) for s in network(torch.zeros(1, 1, 5, 16, 16))] == [
        (5, 16, 16),
        (5, 8, 8),
    ]
    assert network.scales == [[1.0, 1.0, 1.0], [1.0, 0.5, 0.5]]
