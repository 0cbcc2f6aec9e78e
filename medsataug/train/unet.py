"""The reference network: a plain U-Net for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

Sizes = tuple[int, ...]
#: Fewest voxels along an axis after halving.
SMALLEST = 4


def pooling(
    patch: Sequence[int], spacing: Sequence[float], stages: int
) -> tuple[list[Sizes], list[Sizes]]:
    """Where a U-Net halves, and how wide its kernels are, so that thin axes are left alone.

    An axis is halved while it is even, keeps `SMALLEST` voxels, and its voxels are less than twice
    as long as the shortest ones that can be halved; until voxels are about cubic, kernels have
    width 1 along the long ones.

    Parameters
    ----------
    patch : (N,) voxels along (z, y, x)
    spacing : (N,) lengths, in any unit
    stages : int

    Returns
    -------
    strides : list of (N,)
        One for each of ``stages - 1`` steps down.
    kernels : list of (N,)
        One for each stage.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 2.
    """
    sizes, steps = list(patch), [float(s) for s in spacing]
    strides, kernels = [], []
    for _ in range(stages):
        kernels.append(tuple(3 if s < 2 * min(steps) else 1 for s in steps))
        can = [n % 2 == 0 and n >= 2 * SMALLEST for n in sizes]
        least = min((s for s, c in zip(steps, can, strict=True) if c), default=0.0)
        halve = [c and s < 2 * least for c, s in zip(can, steps, strict=True)]
        stride = tuple(2 if h else 1 for h in halve)
        strides.append(stride)
        sizes = [n // k for n, k in zip(sizes, stride, strict=True)]
        steps = [s * k for s, k in zip(steps, stride, strict=True)]
    return strides[:-1], kernels


class UNet(nn.Module):
    """Stages of two convolutions, each with instance norm and leaky ReLU; halved in between.

    Parameters
    ----------
    ndim : {2, 3}
    channels, classes : int
        Of the image, and of the scores.
    features : sequence of int
        Channels of each stage, the finest first; two or more.
    deep_supervision : bool
        Whether, in training, the coarser stages give scores as well.
    strides, kernels : lists of (N,), optional
        As `pooling` gives them; by default every axis is halved, and every kernel has width 3.

    Notes
    -----
    ``forward`` takes (B, C, [Z,] Y, X) and returns (B, K, [Z,] Y, X) scores; with deep supervision,
    in training, a list of them, the finest first, at the resolutions `scales`.

    Source: Ronneberger et al., "U-Net", MICCAI 2015; norm, activation, strides in place of pooling
    and initial weights as in Isensee et al., "nnU-Net", Nature Methods 18 (2021).
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        classes: int,
        features: Sequence[int] = (16, 32, 64, 128),
        deep_supervision: bool = False,
        strides: Sequence[Sizes] | None = None,
        kernels: Sequence[Sizes] | None = None,
    ) -> None:
        super().__init__()
        self.ndim, self.deep_supervision = ndim, deep_supervision
        self.strides = list(strides or [(2,) * ndim] * (len(features) - 1))
        kernels = kernels or [(3,) * ndim] * len(features)
        conv = (nn.Conv2d, nn.Conv3d)[ndim - 2]
        up = (nn.ConvTranspose2d, nn.ConvTranspose3d)[ndim - 2]
        norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[ndim - 2]

        def block(before: int, after: int, kernel: Sizes, stride: Sizes) -> nn.Sequential:
            layers: list[nn.Module] = []
            for c, s in ((before, stride), (after, (1,) * ndim)):
                layers += [
                    conv(c, after, kernel, s, padding=tuple(k // 2 for k in kernel)),
                    norm(after, affine=True),
                    nn.LeakyReLU(0.01, inplace=True),
                ]
            return nn.Sequential(*layers)

        befores = [channels, *features[:-1]]
        entries = [(1,) * ndim, *self.strides]
        self.down = nn.ModuleList(
            block(*four) for four in zip(befores, features, kernels, entries, strict=True)
        )
        # From the coarsest step up to the finest.
        self.up, self.merge, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for k in reversed(range(len(features) - 1)):
            self.up.append(up(features[k + 1], features[k], self.strides[k], self.strides[k]))
            self.merge.append(block(2 * features[k], features[k], kernels[k], (1,) * ndim))
            if deep_supervision or k == 0:
                self.heads.append(conv(features[k], classes, 1))
        self.apply(_initial)

    @property
    def scales(self) -> list[list[float]]:
        """Resolution of each output, the finest first: for ``Dataset(deep_supervision=…)``."""
        count = len(self.strides) if self.deep_supervision else 1
        made = [[1.0] * self.ndim]
        for stride in self.strides[: count - 1]:
            made.append([part / s for part, s in zip(made[-1], stride, strict=True)])
        return made

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Scores of each class."""
        skips = list(accumulate(self.down, lambda seen, stage: stage(seen), initial=x))[1:]
        x, found = skips.pop(), []
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], dim=1))
            found.append(x)
        if not (self.deep_supervision and self.training):
            return self.heads[-1](found[-1])
        return [head(y) for head, y in zip(self.heads, found, strict=True)][::-1]


def _initial(module: nn.Module) -> None:
    """Weights that keep the variance through leaky ReLUs, and no bias."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        nn.init.zeros_(module.bias)
