"""Prediction: a deterministic recipe, a network that looks at several views, and the way back.

The network may be anything that takes an array and gives one: a PyTorch module (`torch_network`),
a session of another framework, or a function that slides a window over the array itself.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from medsataug.errors import ConfigError, GeometryError
from medsataug.inference.inverse import (
    Classes,
    Mask,
    Probabilities,
    back,
    brought_back,
    class_values,
)
from medsataug.inference.views import named_views, refuse_chance
from medsataug.pipeline import Pipeline
from medsataug.roles import ignored, is_raster
from medsataug.types import Array, Sample, is_lazy

__all__ = ["back", "predict", "torch_network"]

#: (C, [Z,] Y, X) float32 image → (K, [Z,] Y, X) scores in the same frame.
Network = Callable[[NDArray[np.float32]], Any]
Activation = Literal["softmax", "sigmoid", "none"]
#: How far probabilities may lie beyond 0 and 1.
_SLACK = 1e-3


def predict(
    network: Network,
    sample: Sample,
    recipe: Pipeline | str | os.PathLike[str] = "inference",
    *,
    views: str | Sequence[Any] = "none",
    axes: Sequence[str | int] | None = None,
    swap: Mapping[int, int] | None = None,
    activation: Activation = "softmax",
    overlap: bool = False,
    classes: Classes = None,
    ignore_index: int | None = None,
) -> Sample:
    """Segment a case on its own grid, by the mean of what a network says of several views.

    The recipe prepares the image; each view of it goes through the network, and what comes out
    goes back by the view's own inverse; the mean of the probabilities is resampled to the case's
    grid, once. The sample's own label has no part in it.

    Parameters
    ----------
    network : callable
        Takes a (C, [Z,] Y, X) float32 array, in which what has no data is 0, and returns
        (K, [Z,] Y, X) scores of it; −∞ rules a class out. It may slide a window over the array.
    sample : Sample
        All of it is read into memory.
    recipe : Pipeline, or a recipe's name or file
        Must leave nothing to chance.
    views : {"none", "flips", "turns", "d4"} or list of pipelines
        ``flips``: every combination of mirrored axes, 4 in 2D and 8 in 3D. ``turns``: the four
        quarter turns of a plane. ``d4``: the plane's eight symmetries. They suit networks that
        were trained on such images.
    axes : list of str or int, optional
        Axes that are mirrored (by default all), or the two of the plane that turns (x and y).
    swap : dict, optional
        Classes that trade places when left and right do, such as ``{1: 2}``, as in `Flip`; of
        regions their numbers, from 0.
    activation : {"softmax", "sigmoid", "none"}
        What makes probabilities of the scores; ``"none"`` where they are probabilities already.
        A single score (K = 1) is that of class 1 against class 0, by ``"sigmoid"`` or ``"none"``.
    overlap : bool
        Whether the scores are of regions that may overlap, each a layer of the label.
    classes : int or sequence of int, optional
        Label values of the probabilities, rising; by default, or where their number is given,
        0, 1, ….
    ignore_index : int, optional
        Label where nothing is known: where the image has no data, and what the recipe cut away.
        By default 0, and of rasters the label's nodata value, or 255.

    Returns
    -------
    Sample
        The case with ``soft`` (K, [Z,] Y, X), all 0 where nothing is known, and ``label`` (uint8
        or uint16): the class of the largest probability, the smallest value among equals; of
        regions (K, [Z,] Y, X), 1 above one half. `medsataug.save` writes image and label, placed
        as the case is.

    Raises
    ------
    ConfigError
        For a recipe or view that draws random numbers, and for scores that are no probabilities.
    GeometryError
        For scores of another shape, or turns of a plane whose voxels are not square.

    Examples
    --------
    >>> import numpy as np, medsataug as msa
    >>> from medsataug.inference import predict
    >>> case = msa.Sample(np.arange(12).reshape(3, 4), axes="YX", spacing=(1, 1))
    >>> out = predict(lambda x: np.stack([-x[0], x[0]]), case, views="flips")
    >>> out.label.tolist()
    [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]
    """
    if not isinstance(sample, Sample):
        raise ConfigError(f"predict: a Sample expected, got {type(sample).__name__}; see msa.load")
    if not isinstance(recipe, (Pipeline, str, os.PathLike)):
        raise ConfigError(
            f"recipe: a Pipeline, or a recipe's name or file expected, got {type(recipe).__name__};"
            " msa.Pipeline([…]) makes one of transforms"
        )
    pipeline = recipe if isinstance(recipe, Pipeline) else Pipeline.load(recipe)
    case = sample.replace(label=None, soft=None, points=None)
    refuse_chance(pipeline, case, f"recipe {pipeline.name!r}")
    plan = pipeline.plan(case, seed=0, progress=1.0)
    prepared = plan(case)
    looks = named_views(views, prepared.grid, axes, swap)
    mean = _mean(network, prepared, looks, classes, (activation, overlap))
    values = _values(classes, len(mean), overlap)
    soft, covered = brought_back(plan, mean, values)
    known = _known(sample, covered)
    if known is not None:
        np.copyto(soft, 0, where=~known)
    nothing = _nothing(sample, values, ignore_index)
    record = {"recipe": pipeline.name, "views": len(looks), "activation": activation,
              "overlap": overlap, "classes": values}  # fmt: skip
    return sample.replace(
        image=sample.image if is_lazy(sample.image) else sample.image.copy(),
        valid=None if sample.valid is None else sample.valid.copy(),
        label=_label(soft, values, nothing, overlap, known),
        soft=soft,
        meta=_meta(sample, nothing),
        record=sample.record | {"prediction": record},
    )


def torch_network(module: Any, device: Any = None) -> Network:
    """Return a PyTorch module as a network for `predict`: one image at a time, without gradients.

    Parameters
    ----------
    module : torch.nn.Module
        Takes (1, C, [Z,] Y, X) float32. It is set to evaluation; of several outputs (deep
        supervision) the first counts.
    device : str or torch.device, optional
        Where it is moved to; by default it stays where it is.

    Raises
    ------
    ConfigError
        Where PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ConfigError(
            "torch_network: PyTorch is not installed; install medsataug[torch]"
        ) from None
    module = module.eval() if device is None else module.eval().to(device)
    first = next(module.parameters(), None)
    at = device if first is None else first.device

    def network(image: NDArray[np.float32]) -> Array:
        with torch.inference_mode():
            scores = module(torch.from_numpy(image)[None].to(at))
            scores = scores[0] if isinstance(scores, (tuple, list)) else scores
            if not isinstance(scores, torch.Tensor):
                raise ConfigError(
                    f"torch_network: the module gives {type(scores).__name__}, not a tensor; wrap "
                    "it in one that returns its scores"
                )
            return np.asarray(scores[0].float().cpu().numpy())

    return network


def _mean(
    network: Network,
    prepared: Sample,
    looks: Sequence[Pipeline],
    classes: Classes,
    kind: tuple[Activation, bool],
) -> Probabilities:
    """(K, …) mean probabilities on the prepared image's grid, of the views that cover a voxel.

    The sum is in float64, in which that of a few float32 numbers is exact: neither the order of
    the views nor their number changes a bit of what all of them agree on.
    """
    # With a label, mirrors say which classes they swap; as one number it takes no memory.
    labelled = prepared.replace(label=np.broadcast_to(np.uint8(0), prepared.grid.shape))
    total: Any = None
    count: Any = 0
    for number, look in enumerate(looks):
        refuse_chance(look, labelled, f"views[{number}]")
        plan = look.plan(labelled, seed=0, progress=1.0)
        seen = plan(prepared)
        image = np.array(seen.image, dtype=np.float32, order="C")
        image[np.isnan(image)] = 0
        if seen.valid is not None:  # in stored units, what lacks is the nodata value
            image[np.broadcast_to(~seen.valid, image.shape)] = 0
        own = _probabilities(network(image), plan.grid.shape, *kind)
        own, covered = brought_back(plan, own, _values(classes, len(own), kind[1]))
        if len(looks) == 1:
            return own
        total = np.zeros(own.shape) if total is None else total
        if own.shape != total.shape:
            raise GeometryError(
                f"network: {len(total)} scores of the first view, {len(own)} of views[{number}]"
            )
        total += own
        count = count + (1 if covered is None else covered)
    total /= np.maximum(count, 1)
    return np.asarray(total, dtype=np.float32)


def _probabilities(
    scores: Any, shape: tuple[int, ...], activation: Activation, overlap: bool
) -> Probabilities:
    """(K, …) float32 probabilities of a network's scores; of a single one both classes'."""
    try:
        p = np.array(np.asarray(scores), dtype=np.float32, order="C")
    except (TypeError, ValueError, RuntimeError):  # such as a tensor that requires a gradient
        raise ConfigError(
            f"network: one array of scores expected, got {type(scores).__name__} that is none; "
            "give the scores at full resolution, of a PyTorch module by torch_network"
        ) from None
    if p.shape[1:] != shape or not len(p):
        raise GeometryError(
            f"network: (K, {', '.join(map(str, shape))}) scores expected, got {list(p.shape)}; "
            "without an axis of the batch, in the image's frame"
        )
    if np.isnan(p).any():
        raise ConfigError("network: some of its scores are NaN")
    exclusive = len(p) > 1 and not overlap
    if activation == "softmax":
        if not exclusive:
            raise ConfigError(
                f"activation: softmax needs two or more exclusive classes, got K = {len(p)} and "
                f"overlap={overlap}; use 'sigmoid'"
            )
        top = p.max(axis=0)
        if not np.isfinite(top).all():
            raise ConfigError(
                "network: some voxels have an infinite score, or none that is finite; −∞ may rule "
                "out some classes, not all of them"
            )
        np.exp(p - top, out=p)
        p /= p.sum(axis=0)
    elif activation == "sigmoid":
        if exclusive:
            raise ConfigError(
                f"activation: sigmoid gives each of {len(p)} scores a probability of its own; use "
                "'softmax', or overlap=True for regions that may overlap"
            )
        expit(p, out=p)
    elif activation != "none":
        raise ConfigError(f"activation: {activation!r}; allowed: softmax, sigmoid, none")
    if activation == "none" and (p.min() < -_SLACK or p.max() > 1 + _SLACK):
        raise ConfigError(
            f"network: values from {p.min():.4g} to {p.max():.4g} are no probabilities; "
            "activation='softmax' or 'sigmoid' makes some of them"
        )
    return np.concatenate([1 - p, p]) if len(p) == 1 and not overlap else p


def _values(classes: Classes, count: int, overlap: bool) -> list[int]:
    """Label values of ``count`` probabilities, which the label can hold."""
    if overlap and classes is not None:
        raise ConfigError("classes: regions that may overlap are layers of 0 and 1; leave it out")
    values = class_values(classes, count)
    rising = all(a < b for a, b in itertools.pairwise(values))
    if not rising or not all(0 <= v < 2**16 for v in values):
        raise ConfigError(
            f"classes: {values}; {count} rising numbers of 0 to 65535 expected, one for each of "
            "the network's probabilities"
        )
    return values


def _known(sample: Sample, covered: Mask | None) -> Mask | None:
    """(…) whether any channel has data and the recipe kept it; None where all is known."""
    if is_lazy(sample.image):
        valid = sample.image.read_valid(tuple(slice(0, n) for n in sample.grid.shape))
    else:
        valid = sample.valid
        if sample.image.dtype.kind == "f":
            number = ~np.isnan(sample.image)
            valid = number if valid is None else valid & number
    known = None if valid is None or valid.all() else np.asarray(valid.any(axis=0))
    return known if covered is None else covered if known is None else covered & known


def _nothing(sample: Sample, values: Sequence[int], given: int | None) -> int:
    """Label where nothing is known."""
    if given is None:
        stated = (sample.meta.get("label_meta") or {}).get("nodata") is not None
        blank = sample.replace(label=np.broadcast_to(np.uint8(0), sample.grid.shape))
        given = (*ignored(blank), 0)[0]
        if is_raster(sample) and not stated and given in values:
            raise ConfigError(
                f"ignore_index: {given} would mark what has no data, but it is one of the classes; "
                "give another number"
            )
    if not 0 <= given < 2**16:
        raise ConfigError(f"ignore_index: {given}; a number of 0 to 65535 expected")
    return int(given)


def _label(
    soft: Probabilities, values: Sequence[int], nothing: int, overlap: bool, known: Mask | None
) -> Array:
    """Label of probabilities; ``nothing`` where nothing is known."""
    top = max(1, nothing) if overlap else max(*values, nothing)
    dtype = np.uint8 if top < 2**8 else np.uint16
    if overlap:
        label: Array = (soft > 0.5).astype(dtype)
        if known is not None:
            label[:, ~known] = nothing
        return label
    label = np.array(values, dtype)[soft.argmax(axis=0)]
    label[~soft.any(axis=0)] = nothing  # no view saw it, or it is not known
    return label


def _meta(sample: Sample, nothing: int) -> dict[str, Any]:
    """Return what a writer needs: the label is a prediction, and says what marks no data."""
    meta = sample.meta | {"label_name": "prediction"}
    if is_raster(sample):
        meta["label_meta"] = (meta.get("label_meta") or {}) | {"nodata": nothing}
    return meta
