"""The measuring scripts: their formulas against XLA's own count, and that each runs in a tiny shape."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import dispatchers, mfu, moe_overhead, throughput
from tests.models import config, stack
from workbench.config import StackConfig
from workbench.nn.network import TranslationNetwork

TINY = [
    "--batches",
    "1",
    "--rounds",
    "1",
    "--batch-tokens",
    "128",
    "--d-model",
    "16",
    "--layers",
    "1",
]


def run(script, capsys, *arguments):
    """The parsed output of a script under --json."""
    script.main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_flops_by_formula_are_those_that_xla_counts():
    shape = config(StackConfig(4, (1024,) * 2), StackConfig(4, (1024,) * 2), vocabulary=900)
    shape = type(shape)(**{**vars(shape), "d_model": 256})
    graph, parameters = nnx.split(
        nnx.eval_shape(lambda: TranslationNetwork(shape, rngs=nnx.Rngs(0)))
    )
    source, target = (jax.ShapeDtypeStruct((4, n), jnp.int32) for n in (48, 32))
    ids = jax.ShapeDtypeStruct((4,), jnp.int32)

    def loss(parameters, *sides):
        network = nnx.merge(graph, parameters)
        return jnp.square(network.logits(network(*sides)[0])).sum()

    forward = mfu.forward_flops(shape, sentences=4, source=48, target=32)
    for function, wanted in ((loss, forward), (jax.grad(loss), 3 * forward)):
        counted = jax.jit(function).lower(parameters, source, target, ids, ids).cost_analysis()
        assert counted["flops"] == pytest.approx(wanted, rel=0.03)


def test_only_chosen_experts_and_the_router_count():
    dense = config(StackConfig(4, (24, 48)), "dense")
    sparse = config(stack("token", experts=7, top_k=2), "dense")
    gained = mfu.forward_flops(sparse, 2, 5, 3) - mfu.forward_flops(dense, 2, 5, 3)
    assert gained == 2 * (2 * 5) * 32 * 7


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("TPU v5 lite", 197e12),
        ("cpu", None),
    ],
)
def test_the_peak_is_found_by_the_device_s_name(kind, peak):
    assert mfu.peak_of(type("Device", (), {"device_kind": kind})) == peak


def test_utilisation_is_flops_over_seconds_and_peak(capsys):
    shape = [
        "--d-model",
        "16",
        "--heads",
        "2",
        "--feed-forward",
        "16",
        "--layers",
        "1",
        "--experts",
        "4",
    ]
    size = ["--vocabulary", "64", "--sentences", "4", "--length", "8", "--steps", "2"]
    found = run(mfu, capsys, *shape, *size, "--routing", "dense", "--peak", "1e12")
    (row,) = found["rows"]
    assert row["mfu"] == pytest.approx(row["tera_flops_a_step"] / row["p50_ms"] * 1000, rel=1e-6)


def test_training_starts_from_the_same_loss_as_in_transformers(capsys):
    pytest.importorskip("transformers")
    from benchmarks import training_speed

    found = run(training_speed, capsys, *TINY)
    ours, theirs = found["about"]["first_loss"].values()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert [row["system"] for row in found["rows"]] == ["workbench", "transformers"]


def test_overhead_is_measured_against_equal_active_parameters():
    shape = config(stack("token", width=24, top_k=2), stack("target", width=24, top_k=1))
    dense = moe_overhead.of_equal_active_parameters(shape)
    assert dense.is_dense
    assert dense.encoder.feed_forward_widths == (24, 48)
    assert dense.decoder.feed_forward_widths == (24, 24)


def test_every_dispatcher_is_timed(capsys):
    found = run(
        dispatchers, capsys, "--rows", "1", "40", "--experts", "4", "--top-k", "2", "--d-model", "8",
        "--width", "8", "--seconds", "0.01",
    )  # fmt: skip
    assert [row["rule"] for row in found["rows"]] == ["gathered", "looped"]
    assert all(np.isfinite(row[name]) for row in found["rows"] for name in dispatchers.DISPATCHERS)


def test_throughput_compares_routings_and_their_parts(capsys):
    found = run(
        throughput, capsys, "--routing", "token", "token/target", "--batch-sizes", "1", "6", "--repeats", "1",
        "--d-model", "16", "--heads", "2", "--feed-forward", "16", "--layers", "2", "--experts", "4",
        "--vocabulary", "64", "--length", "5",
    )  # fmt: skip
    names = ["token", "token/target", "token/target, part"]
    assert [(row["system"], row["batch_size"]) for row in found["rows"]] == [
        (name, size) for size in (1, 6) for name in names
    ]
    for name, peak in found["peaks"].items():
        assert peak == max(x["tokens_per_s"] for x in found["rows"] if x["system"] == name)


def test_a_part_keeps_the_stacks_that_do_not_route_by_task():
    part = throughput.part_of(config(stack("token"), stack("target", width=24, top_k=2)))
    assert part.encoder == stack("token")
    assert part.decoder.router is None and part.decoder.feed_forward_widths == (24, 48)
