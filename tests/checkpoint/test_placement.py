"""Loading onto several devices: each holds its share of the experts, and computes the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.models import translator
from workbench.checkpoint import CheckpointError
from workbench.decoding.translator import Translator

SCRIPT = """
import sys, jax, numpy as np
import workbench as wb
from flax import nnx
from workbench.checkpoint import weights

mesh = jax.make_mesh((1, 2), ("data", "expert"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
whole = wb.load(sys.argv[1])
asked, read = [], weights.read_tensor
def noted(stored):
    asked.append(stored.name)
    return read(stored)
weights.read_tensor = noted
spread = wb.load(sys.argv[1], mesh=mesh)
block = spread.network.encoder.layers[1].ffn
assert [s.data.shape for s in block.w_in[...].addressable_shards] == [(2, 32, 24)] * 2
assert len(spread.network.embedding[...].sharding.device_set) == 2
experts = [name for name in asked if "experts" in name]
assert len(experts) == len(set(experts)) > 0
for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (whole, spread)), strict=True):
    np.testing.assert_array_equal(a, b)
tokens = jax.numpy.array([[40, 7, 300, 2], [12, 2, 1, 1]])
encode = nnx.jit(lambda network: network.encode(tokens, tokens[:, 0]).states)
states = [encode(m.network) for m in (whole, spread)]
np.testing.assert_allclose(*states, atol=1e-5)
print("same")
"""


def test_experts_are_spread_over_devices_as_they_are_read(tmp_path):
    translator("token", "token").save(tmp_path / "it")
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "it")],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "same\n", result.stderr


def test_a_mesh_that_does_not_fit_is_refused(tmp_path):
    import jax

    translator("token", "token").save(tmp_path / "it")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(CheckpointError, match="has the axes data: one named 'expert' is needed"):
        Translator.load(tmp_path / "it", mesh=mesh)
