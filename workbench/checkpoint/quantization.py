"""int8 weights: each output of a linear map rounded to 255 steps of a scale of its own."""

from __future__ import annotations

import numpy as np

from workbench.checkpoint.tensor_names import Tensor

#: What the name of a tensor's scales ends with: `X.weight` (int8) goes with `X.weight_scale` (float32).
SCALE = "_scale"
_LARGEST = 127


def is_quantized(tensor: Tensor) -> bool:
    """Whether int8 is for this tensor: the embedding, linear maps and experts, but no router, norm or bias."""
    return tensor.path == ("embedding",) or (tensor.transposed and "router" not in tensor.path)


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers int8 [outputs, ...] and scales float32 [outputs], so that `integers * scales` is near `values`.

    Symmetric and per output channel: the scale is the largest magnitude of a row over 127, so no value is
    further from its own than half the scale of its row. A row of zeros has scale 1.
    """
    rows = values.reshape(len(values), -1)
    scales = np.abs(rows).max(axis=1).astype(np.float32) / np.float32(_LARGEST)
    scales[scales == 0] = 1
    integers = np.rint(rows / scales[:, None])
    return integers.clip(-_LARGEST, _LARGEST).astype(np.int8).reshape(values.shape), scales


def widen(integers: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The float32 values that int8 [outputs, ...] and scales [outputs] stand for."""
    return integers * scales.reshape(-1, *(1,) * (integers.ndim - 1))
