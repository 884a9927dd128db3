"""int8 weights: small errors, small files, the same names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file

from tests.models import KINDS, translator
from workbench.checkpoint.directory import (
    CheckpointError,
    check_weights,
    read_checkpoint,
)
from workbench.checkpoint.quantization import quantize, widen


def test_rows_have_scales_of_their_own():
    integers, scales = quantize(np.array([[127.0, -63.5, 1.0], [0.0, 0.254, -0.13], [0, 0, 0]]))
    np.testing.assert_allclose(scales, [1.0, 0.002, 1.0], rtol=1e-6)
    assert integers.tolist() == [[127, -64, 1], [0, 127, -65], [0, 0, 0]]
    assert (integers.dtype, scales.dtype) == (np.int8, np.float32)


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(
        np.float32, (3, 5), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    )
)
def test_no_value_moves_by_more_than_half_a_step_of_its_channel(values):
    integers, scales = quantize(values)
    error = np.abs(widen(integers, scales).astype(np.float64) - values)
    assert (error <= 0.5 * scales[:, None] * (1 + 1e-5)).all()
    again, same = quantize(widen(integers, scales))
    np.testing.assert_array_equal(again, integers)
    np.testing.assert_allclose(same, scales, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_what_is_saved_as_int8_comes_back_near(kind, tmp_path):
    model = translator(*kind)
    model.save(tmp_path / "it", dtype="int8")
    again = read_checkpoint(tmp_path / "it")
    assert again.config == model.config
    assert check_weights(tmp_path / "it", model.config) == ("float32", "int8")
    for (path, a), (_, b) in zip(
        nnx.to_flat_state(nnx.state(model.network)),
        nnx.to_flat_state(nnx.state(again.network)),
        strict=True,
    ):
        a, b = np.asarray(a[...]), np.asarray(b[...])
        if "router" in path or path[-1] in ("scale", "bias", "b_in", "b_out"):
            np.testing.assert_array_equal(a, b)
        else:
            channel = (
                0 if path == ("embedding",) else a.ndim - 1
            )  # stored [outputs, inputs], held turned
            others = tuple(
                i for i in range(a.ndim) if i != channel and not (a.ndim == 3 and i == 0)
            )
            step = np.abs(a).max(axis=others, keepdims=True) / 127
            assert (np.abs(a - b) <= 0.5 * step * (1 + 1e-5)).all()
            assert not np.array_equal(a, b)


def test_the_files_say_what_they_are(tmp_path):
    translator("token", "token").save(tmp_path / "it", dtype="int8")
    translator("token", "token").save(tmp_path / "whole")
    tensors = load_file(tmp_path / "it" / "model.safetensors")
    name = "model.encoder.layers.1.ffn.experts.expert_2.fc1.weight"
    assert (tensors[name].dtype, tensors[name].shape) == (np.int8, (24, 32))
    assert (tensors[f"{name}_scale"].dtype, tensors[f"{name}_scale"].shape) == (np.float32, (24,))
    assert tensors["model.shared.weight_scale"].shape == (500,)
    assert tensors["model.encoder.layers.1.ffn.router.classifier.weight"].dtype == np.float32
    # No other library shall take the integers for weights.
    assert json.loads((tmp_path / "it" / "config.json").read_text())["model_type"] == "task-moe"
    sizes = [(tmp_path / d / "model.safetensors").stat().st_size for d in ("it", "whole")]
    assert sizes[0] < 0.45 * sizes[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t, n: t.pop(f"{n}_scale"),
            "is stored as I8, expected F32, BF16, F16, or I8 beside",
        ),
        (lambda t, n: t.update({f"{n}_scale": np.ones(3, np.float32)}), r"is F32 \[3\], expected"),
        (lambda t, n: t.update({n: t[n].astype(np.float32)}), "is stored as F32, expected"),
        (lambda t, n: t.update({f"{n}_scale": t[f"{n}_scale"] * np.nan}), "holds NaN"),
    ],
)
def test_scales_that_do_not_fit_are_refused(change, says, tmp_path):
    translator().save(tmp_path / "it", dtype="int8")
    tensors = load_file(tmp_path / "it" / "model.safetensors")
    change(tensors, "model.decoder.layers.0.self_attn.q_proj.weight")
    save_file(tensors, tmp_path / "it" / "model.safetensors")
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(tmp_path / "it")
