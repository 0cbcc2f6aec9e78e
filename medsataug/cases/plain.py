"""What a sample carries beside its voxels, as JSON and back: nothing in it is ever run."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np


def to_text(value: Any) -> str:
    """JSON that `from_text` gives the same value of, tuples and numeric keys included.

    Raises
    ------
    TypeError
        For what is no plain value: numbers, text, bytes, arrays, and containers of them.
    """
    return json.dumps(_tagged(value))


def from_text(text: str) -> Any:
    """Read what `to_text` wrote."""
    return _untagged(json.loads(text))


def _tagged(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        return {
            "array": base64.b64encode(data.tobytes()).decode(),
            "dtype": value.dtype.name,
            "shape": list(value.shape),
        }
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {"number": _tagged(np.asarray(value))}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_tagged(v) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [_tagged(v) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[_tagged(k), _tagged(v)] for k, v in value.items()]}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def _untagged(given: Any) -> Any:
    if isinstance(given, list):
        return [_untagged(v) for v in given]
    if not isinstance(given, dict):
        return given
    if "array" in given:
        dtype = np.dtype(given["dtype"])
        data = np.frombuffer(base64.b64decode(given["array"]), dtype.newbyteorder("<"))
        return data.astype(dtype).reshape(given["shape"])
    if "number" in given:
        return _untagged(given["number"])[()]
    if "bytes" in given:
        return base64.b64decode(given["bytes"])
    if "tuple" in given:
        return tuple(_untagged(v) for v in given["tuple"])
    return {_untagged(k): _untagged(v) for k, v in given["dict"]}
