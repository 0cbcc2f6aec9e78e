"""Batches whose items are made where they stay, so that nothing is copied together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

#: Shape and type of an item's tensors; those of a list are named ``label 0``, ``label 1``, ….
Form = dict[str, tuple[tuple[int, ...], torch.dtype]]
Places = dict[str, torch.Tensor]
#: Of these every item of a batch has one, and all are alike.
ITEM = {"image", "label", "soft", "valid"}
#: Memory of so many bytes.
Memory = Callable[[int], torch.UntypedStorage]


def form_of(item: Mapping[str, Any]) -> Form:
    """Say what tensors an item has."""
    form: Form = {}
    for name in ITEM.intersection(item):
        value = item[name]
        parts = {f"{name} {k}": part for k, part in enumerate(value)}
        for own_name, part in (parts if isinstance(value, list) else {name: value}).items():
            form[own_name] = (tuple(part.shape), part.dtype)
    return form


def places(form: Form, count: int, memory: Memory) -> list[Places]:
    """Return a place for each of ``count`` items, side by side in one tensor for each name."""
    out: list[Places] = [{} for _ in range(count)]
    for name, (shape, dtype) in form.items():
        one = math.prod(shape)
        storage = memory(count * one * dtype.itemsize)
        for k, place in enumerate(out):
            empty = torch.empty(0, dtype=dtype)
            place[name] = empty.set_(storage, k * one, shape)
    return out


def move(name: str, value: Any, place: Mapping[str, torch.Tensor]) -> Any:
    """Move tensors of an item into their places."""
    if isinstance(value, list):
        return [move(f"{name} {k}", part, place) for k, part in enumerate(value)]
    return place[name].copy_(value) if name in place else value


def shared(size: int) -> torch.UntypedStorage:
    """Memory that another process can map: in a worker a batch is made there at once."""
    return torch.UntypedStorage._new_shared(size)


def own(size: int) -> torch.UntypedStorage:
    """Memory of this process."""
    return torch.UntypedStorage(size)


def pinned(size: int) -> torch.UntypedStorage:
    """Memory that a GPU reads from directly."""
    return torch.empty(size, dtype=torch.uint8, pin_memory=True).untyped_storage()


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of items: tensors of one shape get a first axis more, others stay a list.

    Items that `Dataset` made for one batch lie side by side already; then nothing is copied. Give
    it to a `torch.utils.data.DataLoader` as ``collate_fn``.
    """
    return {name: _together([item[name] for item in items]) for name in items[0]}


def _together(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, list) and all(len(v) == len(first) for v in values):
        return [_together(list(level)) for level in zip(*values, strict=True)]
    if not isinstance(first, torch.Tensor) or any(v.shape != first.shape for v in values):
        return values
    step = first.numel()
    storage = first.untyped_storage()
    side_by_side = all(
        v.dtype == first.dtype
        and v.is_contiguous()
        and v.untyped_storage().data_ptr() == storage.data_ptr()
        and v.storage_offset() == first.storage_offset() + k * step
        for k, v in enumerate(values)
    )
    if not side_by_side or not step:
        return torch.stack(values)
    whole = torch.empty(0, dtype=first.dtype)
    return whole.set_(storage, first.storage_offset(), (len(values), *first.shape))
