"""Steps that change labels, and steps that bring in another sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medsataug import threads, timing, transforms
from medsataug.errors import ConfigError, GeometryError
from medsataug.types import Array, Sample
from medsataug.values import LabelStep, Mix

#: Voxels worked on at once: of a few channels they stay in cache.
SLICE = 2**14
Soft = NDArray[np.float32]


def changed_label(image: NDArray[np.float32], label: Array | None, step: LabelStep) -> Array | None:
    """(L, …) label as the step's function makes it, of the same dtype; none without a layer."""
    if label is None:
        return None
    new = transforms.function(step.function)(label, image, step.params, step.key)
    return np.ascontiguousarray(new, dtype=label.dtype) if len(new) else None


def changed_soft(
    soft: Soft,
    before: Array | None,
    after: Array | None,
    step: LabelStep,
    classes: Sequence[int],
    nothing: Sequence[int],
) -> Soft:
    """(K, …) class probabilities where a step made the (L, …) label ``after`` of ``before``.

    Of unknown ``classes`` they are those of 0 … K − 1.

    Raises
    ------
    ConfigError
        Where a class becomes one that has no probability, and is none of ``nothing``.
    """
    if step.kind == "layers":
        return soft
    known = list(classes) or list(range(len(soft)))
    out = soft.copy()
    if step.kind == "values":
        table = np.array([known], np.int64)
        made = transforms.function(step.function)(table, None, step.params, step.key)[0].tolist()
        out[...] = 0
        for plane, old, new in zip(soft, known, made, strict=True):
            if new in known:
                out[known.index(new)] += plane
            elif new not in nothing:
                raise ConfigError(
                    f"{step.function.split(':')[0]}: label {old} becomes {new}, and class "
                    f"probabilities (soft) are of the classes {known}; name {new} among them "
                    "(MixUp.classes), or leave it out of the change"
                )
    if before is not None and after is not None and len(before) == len(after):
        changed = before[0] != after[0]
        if step.kind == "values":
            changed &= ~out.any(axis=0)  # what was no class may have become one
        label = after[0][changed]
        for plane, value in zip(out, known, strict=True):
            plane[changed] = label == value
    return out


def outside_soft(
    count: int, outside: int, classes: Sequence[int], ignored: Sequence[int]
) -> NDArray[np.float32]:
    """(K,) class probabilities beyond the border, where the label is ``outside``.

    They are those of that class, and 0 where it is none; where classes are unknown (0 … K − 1)
    what is neither one of them nor ``ignored`` counts as the first.
    """
    fills = np.zeros(count, np.float32)
    known = list(classes) or list(range(count))
    if outside in known:
        fills[known.index(outside)] = 1
    elif not classes and outside not in ignored:
        fills[0] = 1
    return fills


def as_layered(label: Array | None, given: Array | None) -> Array | None:
    """(L, …) label with the axes it was given with; what is left alone of several has none."""
    if label is None or given is None:
        return None
    layers = given.shape[: given.ndim - label.ndim + 1]
    if len(label) != math.prod(layers):
        layers = (len(label),) if len(label) > 1 else ()
    return label.reshape(*layers, *label.shape[1:])


def partner_of(
    step: Mix,
    partners: Mapping[str, Sample],
    carried_out: Callable[..., Sample],
) -> Sample:
    """Return the sample a step mixes in, after its own plan."""
    if step.partner not in partners:
        raise ConfigError(
            f"plan: it mixes in the sample {step.partner!r}; give it as "
            f"partners={{{step.partner!r}: sample}}"
        )
    found = partners[step.partner]
    if step.digest and found.digest != step.digest:
        raise ConfigError(
            f"plan: the sample {step.partner!r} is not the one it was made for (content digest "
            f"{found.digest}, expected {step.digest})"
        )
    with timing.listening():  # its passes are not those of this plan
        return found if step.plan is None else carried_out(step.plan, found, partners)


def mix_in(
    image: NDArray[np.float32],
    label: Array | None,
    soft: Soft | None,
    step: Mix,
    partner: Sample,
    classes: Sequence[int],
    nothing: Sequence[int],
) -> tuple[Array | None, Soft | None]:
    """Bring the partner into ``image`` (in place), and into label and soft, which are returned.

    With s the partner's share, image and class probabilities become (1 − s) x + s y; the label
    becomes the partner's where its share is above one half. All stays as it was where either
    sample has no data in any channel, so that image and label go together.

    Parameters
    ----------
    classes, nothing
        Label values that class probabilities are made of where there are none yet and shares are
        fractions; and those that stand for no class, whose probabilities are 0.
    """
    shape = image.shape[1:]
    if tuple(partner.image.shape) != image.shape:
        raise GeometryError(
            f"mix: the partner {step.partner!r} is {list(partner.image.shape)}, the sample "
            f"{list(image.shape)}; give both a Patch or Resize of one size"
        )
    theirs = None if partner.label is None else np.asarray(partner.label).reshape(-1, *shape)
    share = _shares(image, partner, transforms.function(step.function)(theirs, shape, step.params))
    fractions = bool(classes) and bool(np.any((share > 0) & (share < 1)))
    if soft is not None or partner.soft is not None or fractions:
        if label is not None and (soft is None or partner.soft is None) and not classes:
            raise ConfigError(
                f"mix: one of the sample and the partner {step.partner!r} has class probabilities "
                "(soft), the other a label alone; give both of them soft, or MixUp its classes"
            )
        if label is not None or (soft is not None and partner.soft is not None):
            ours = soft if soft is not None else one_hot(label, classes, nothing)
            other = partner.soft
            other = other if other is not None else one_hot(theirs, classes, nothing)
            soft = _mixed_soft(ours, other, share, step.partner)
    return _mixed_label(label, theirs, share, step.partner), soft


def _shares(image: NDArray[np.float32], partner: Sample, asked: Array | float) -> Soft:
    """Mix values, and return the (…) share the partner has, which is 0 where data lack."""
    channels, size = len(image), math.prod(image.shape[1:])
    x, y = image.reshape(channels, size), np.asarray(partner.image).reshape(channels, size)
    valid = partner.valid
    known = None if valid is None else np.ascontiguousarray(valid).reshape(len(valid), size)
    share = np.empty(size, np.float32)
    share[:] = asked if np.ndim(asked) == 0 else np.asarray(asked).reshape(size)

    def one(start: int) -> None:
        part = slice(start, min(start + SLICE, size))
        s, ours = share[part], x[:, part]
        if not s.any():
            return
        theirs = y[:, part].astype(np.float32)
        lack = np.isnan(ours).any(axis=0) | np.isnan(theirs).any(axis=0)
        if known is not None:
            lack |= ~known[:, part].all(axis=0)
        s[lack] = 0
        between = (s > 0) & (s < 1)
        if between.any():
            np.copyto(ours, ours * (1 - s) + theirs * s, where=between)
        np.copyto(ours, theirs, where=s == 1)

    threads.run(one, range(0, size, SLICE))
    return share.reshape(image.shape[1:])


def _mixed_label(label: Array | None, theirs: Array | None, share: Soft, name: str) -> Array | None:
    """(L, …) label with the partner's where it has the larger share; of the same dtype."""
    if label is None:
        return None
    if theirs is None or len(theirs) != len(label):
        raise ConfigError(
            f"mix: the partner {name!r} has {0 if theirs is None else len(theirs)} label(s), the "
            f"sample {len(label)}; give both the same"
        )
    taken = share > 0.5
    if theirs.dtype != label.dtype:
        brought, limits = theirs[:, taken], np.iinfo(label.dtype)
        if brought.size and not limits.min <= brought.min() <= brought.max() <= limits.max:
            raise ConfigError(
                f"mix: the partner {name!r} has label values from {brought.min()} to "
                f"{brought.max()}, which do not fit the sample's {label.dtype} label; store both "
                "labels in one type that holds them"
            )
    out = label.copy()
    np.copyto(out, theirs, where=taken, casting="unsafe")
    return out


def _mixed_soft(ours: Soft, theirs: Soft, share: Soft, name: str) -> Soft:
    """(K, …) class probabilities of both."""
    if len(ours) != len(theirs):
        raise ConfigError(
            f"mix: {len(ours)} class probabilities in the sample, {len(theirs)} in the partner "
            f"{name!r}; both need the same classes"
        )
    out = np.empty(ours.shape, np.float32)
    flat = [a.reshape(len(ours), -1) for a in (ours, theirs, out)]
    s = share.reshape(-1)

    def one(start: int) -> None:
        part = slice(start, start + SLICE)
        a, b, mixed = (x[:, part] for x in flat)
        np.add(a * (1 - s[part]), b * s[part], out=mixed)

    threads.run(one, range(0, s.size, SLICE))
    return out


def one_hot(label: Array | None, classes: Sequence[int], nothing: Sequence[int]) -> Soft:
    """(K, …) probabilities 0 and 1 of a label's first layer; all 0 where it is of no class.

    Raises
    ------
    ConfigError
        For a value that is neither one of ``classes`` nor one of ``nothing``.
    """
    if label is None:
        raise ConfigError("mix: class probabilities are made of a label, and there is none")
    first = label[0]
    out = np.empty((len(classes), *first.shape), np.float32)
    known = np.zeros(first.shape, bool)
    for plane, value in zip(out, classes, strict=True):
        plane[...] = found = first == value
        known |= found
    missed = np.unique(first[~known])
    strange = sorted(set(missed.tolist()) - set(nothing))
    if strange:
        raise ConfigError(
            f"classes: the label holds {strange[:5]}, and {list(classes)} are the classes; name "
            "every value it holds"
        )
    return out
