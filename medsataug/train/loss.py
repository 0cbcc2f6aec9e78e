"""The loss: soft Dice and cross-entropy, at one or several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Class number of voxels of which nothing is known.
IGNORED = -1
#: Added to both sides of the Dice fraction, so that what is absent and not predicted counts as 1.
SMOOTH = 1e-5


def dice_ce(
    scores: Tensor,
    label: Tensor,
    soft: Tensor | None = None,
    *,
    regions: bool = False,
    background: bool = True,
) -> Tensor:
    """Return both parts of the loss: 1 − soft Dice, and cross-entropy.

    The Dice coefficient is taken of each image of the batch and each class, and averaged;
    cross-entropy is averaged over all voxels. Voxels of which nothing is known count in neither.

    Parameters
    ----------
    scores : (B, K, [Z,] Y, X)
    label : (B, [Z,] Y, X) or (B, R, [Z,] Y, X) int64
        Class numbers 0 … K − 1 or `IGNORED`. Of regions a layer of 0 and 1 each (R = K), and
        perhaps a last one (R = K + 1) that is 1 where nothing is known.
    soft : (B, K, [Z,] Y, X), optional
        Class probabilities, as of mixed images; they take the place of class numbers.
    regions : bool
        Whether the scores are of regions that may overlap: sigmoid, and binary cross-entropy.
    background : bool
        Whether class 0 is background, which has no part in Dice.

    Returns
    -------
    (2,) Tensor
        Dice and cross-entropy; their sum is the loss.

    Source: Dice without squares as in Drozdzal et al., "The Importance of Skip Connections in
    Biomedical Image Segmentation", DLMIA 2016, section 3.2; the sum with cross-entropy, both with
    equal weight, as in Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods.
    """
    scores = scores.float()  # half precision cannot hold sums over a patch
    if regions:
        count = scores.shape[1]
        truth = label[:, :count].float()
        known = (label[:, count:] == 0).all(dim=1, keepdim=True).float()
        part = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
        part, p = part.mean(dim=1, keepdim=True), scores.sigmoid()
    else:
        known = (label != IGNORED).unsqueeze(1).float()
        if soft is None:
            hot = functional.one_hot(label.clamp(min=0), scores.shape[1])
            truth = hot.movedim(-1, 1).float()
        else:
            truth = soft.float()
        logarithm = functional.log_softmax(scores, dim=1)
        part, p = -(truth * logarithm).sum(dim=1, keepdim=True), logarithm.exp()
        if background:
            p, truth = p[:, 1:], truth[:, 1:]
    space = tuple(range(2, scores.ndim))
    both = (p * truth * known).sum(space)
    each = ((p + truth) * known).sum(space)
    dice = (2 * both + SMOOTH) / (each + SMOOTH)
    entropy = (part * known).sum() / known.sum().clamp(min=1)
    return torch.stack([1 - dice.mean(), entropy])


def depth_weights(count: int) -> list[float]:
    """Weight of each resolution, the finest first: halved each time, none for the coarsest.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods (deep supervision).
    """
    if count == 1:
        return [1.0]
    weights = [0.5**k for k in range(count - 1)]
    return [w / sum(weights) for w in weights] + [0.0]


def at_all_depths(
    scores: Tensor | Sequence[Tensor],
    labels: Sequence[Tensor],
    softs: Sequence[Tensor | None],
    *,
    regions: bool = False,
    background: bool = True,
) -> Tensor:
    """(2,) weighted mean of `dice_ce` over resolutions; arguments as there, the finest first."""
    found = [scores] if isinstance(scores, Tensor) else scores
    parts = [
        weight * dice_ce(own, label, soft, regions=regions, background=background)
        for weight, own, label, soft in zip(
            depth_weights(len(found)), found, labels, softs, strict=True
        )
        if weight
    ]
    return torch.stack(parts).sum(dim=0)
