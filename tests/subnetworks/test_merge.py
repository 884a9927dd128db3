"""Merging: alignment and averages by hand, and gates that are sums of probabilities."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, TASKS, captions, made_up, new_translator, stack, translator
from workbench.checkpoint.hub_config import model_type
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.routers import grouped_logits
from workbench.nn.tiles import ExpertWeights
from workbench.subnetworks.alignment import aligned
from workbench.subnetworks.grouping import cosines, grouped_around
from workbench.subnetworks.merge import merge, merged_weights
from workbench.subnetworks.prune import prune


def experts(count=3, width=6, hidden=5, seed=0):
    random = np.random.default_rng(seed)
    shapes = ((count, width, hidden), (count, hidden), (count, hidden, width), (count, width))
    return ExpertWeights(*(random.normal(size=shape) for shape in shapes))


def applied(weights, x):
    w_in, b_in, w_out, b_out = weights
    return np.maximum(x @ w_in + b_in, 0) @ w_out + b_out


def test_units_in_another_order_are_found_again():
    weights = experts()
    order = np.array([3, 0, 4, 1, 2])
    for array, axis in zip(weights, (1, 0, 0, None), strict=True):
        array[1] = array[0] if axis is None else np.take(array[0], order, axis)
    again = aligned(weights, 1, like=0)
    for ours, theirs in zip(again, weights, strict=True):
        np.testing.assert_allclose(ours, theirs[0])
    merged = merged_weights(weights, (0, 1), np.array([0.3, 0.7, 0]), align=True)
    for ours, theirs in zip(merged, weights, strict=True):
        np.testing.assert_allclose(ours, theirs[0])
    unaligned = merged_weights(weights, (0, 1), np.array([0.3, 0.7, 0]), align=False)
    assert np.abs(unaligned.w_in - weights.w_in[0]).max() > 0.1


def test_aligning_changes_no_output():
    weights = experts()
    x = np.random.default_rng(1).normal(size=(4, 6))
    own = [array[2] for array in weights]
    np.testing.assert_allclose(applied(aligned(weights, 2, like=0), x), applied(own, x))


def test_averages_are_weighted_by_frequency():
    weights = experts()
    found = merged_weights(weights, (2, 0), np.array([1.0, 5.0, 3.0]), align=False)
    np.testing.assert_allclose(found.w_in, 0.75 * weights.w_in[2] + 0.25 * weights.w_in[0])
    unused = merged_weights(weights, (0, 1), np.zeros(3), align=False)
    np.testing.assert_allclose(unused.b_out, (weights.b_out[0] + weights.b_out[1]) / 2)


def test_experts_join_the_dominant_one_they_are_most_like():
    vectors = np.array([[1.0, 0], [0, 1], [0.9, 0.1], [0.2, 2], [3, 0.1]])
    likeness = cosines(vectors @ vectors.T)
    np.testing.assert_allclose(np.diag(likeness), 1)
    assert grouped_around([3, 0], likeness) == [(0, 2, 4), (3, 1)]


def test_the_probability_of_a_group_is_the_sum_of_its_columns():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    groups = (1, 0, 1, 2, 0)
    one = jax.nn.softmax(logits, axis=-1)
    wanted = np.stack(
        [sum(one[..., c] for c, g in enumerate(groups) if g == e) for e in range(3)], axis=-1
    )
    found = jax.nn.softmax(grouped_logits(logits, groups), axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def model():
    return translator("token", "token")


@pytest.fixture(scope="module")
def statistics(model):
    found = made_up(model.config)
    random = np.random.default_rng(0)
    logits = random.normal(size=(len(TASKS), 2, 9, 4))
    return dataclasses.replace(found, products=np.einsum("tlnd,tlne->tlde", logits, logits))


@pytest.mark.parametrize("method", ["frequency", "aligned", "mc-smoe"])
@pytest.mark.parametrize("gates", ["sum", "dominant"])
def test_a_merged_checkpoint_has_the_budget_and_comes_back(
    model, statistics, method, gates, tmp_path
):
    small = merge(model, statistics, [EN_DE], keep=0.5, method=method, gates=gates)
    assert small.config.encoder.experts == small.config.decoder.experts == 2
    assert model_type(small.config) == ("nllb-moe" if gates == "dominant" else "task-moe")
    for name in ("encoder", "decoder"):
        parts = small.provenance["groups"][name]["1"]
        assert sorted(e for part in parts for e in part) == [0, 1, 2, 3]
        own, whole = (getattr(m.network, name).layers[1].ffn for m in (small, model))
        wanted = whole.router.kernel[...]
        if gates == "dominant":
            wanted = wanted[:, np.array([part[0] for part in parts])]
        assert (own.router.kernel[...] == wanted).all()
    small.save(tmp_path / "it")
    again = Translator.load(tmp_path / "it")
    assert again.config == small.config
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (small, again)), strict=True):
        assert (a == b).all()


def test_merging_equal_experts_with_summed_gates_is_exact():
    """Pairs of equal experts: whatever the router chose, what comes out of a pair is the same."""
    parent = new_translator(stack("token", top_k=1), "dense")
    block = parent.network.encoder.layers[1].ffn
    for name in ("w_in", "b_in", "w_out", "b_out"):
        array = np.array(getattr(block, name)[...])
        array[2:] = array[:2]
        getattr(block, name)[...] = jnp.asarray(array)
    kernel = np.array(block.router.kernel[...])
    kernel[:, 2:] = kernel[:, :2]
    block.router.kernel[...] = jnp.asarray(kernel)
    parent = Translator("twins", parent.config, parent.tokenizer, parent.network)
    top1 = np.tile([0.5, 0.3, 0.1, 0.1], (len(TASKS), 1, 1))
    statistics = dataclasses.replace(made_up(parent.config), top1=top1, top2=top1)
    small = merge(parent, statistics, keep=0.5, method="aligned", gates="sum")
    assert small.provenance["groups"] == {"encoder": {"1": [[0, 2], [1, 3]]}}
    assert small.config.encoder.router_groups == ((0, 1, 0, 1),)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, 32)), jnp.float32)
    ids = jnp.zeros(1, jnp.int32)
    here, routing = small.network.encoder.layers[1].ffn(x, x[:, 0], ids)
    there, whole = parent.network.encoder.layers[1].ffn(x, x[:, 0], ids)
    # With one expert chosen, the gate is the pair's whole probability: twice what either of the twins had.
    np.testing.assert_allclose(routing.gates, 2 * whole.gates, rtol=1e-5)
    np.testing.assert_allclose(here, 2 * there, rtol=1e-3, atol=1e-4)


def test_what_was_merged_can_be_pruned(model, statistics):
    merged = merge(model, statistics, keep=0.75, gates="sum")
    small = prune(merged, made_up(merged.config), keep=0.67, granularity="global")
    kept = small.provenance["kept_experts"]["encoder"]["1"]
    old = merged.config.encoder.router_groups[0]
    columns = [c for c, group in enumerate(old) if group in kept]
    assert small.config.encoder.experts == 2
    whole = merged.network.encoder.layers[1].ffn.router.kernel[...]
    found = small.network.encoder.layers[1].ffn.router.kernel[...]
    assert (found == whole[:, np.array(columns)]).all()
    assert small.translate(captions()[:1], "en", "de", batch_size=1, max_length=4)


def test_mc_smoe_spends_the_budget_where_experts_are_used():
    shape = stack("token", layers=3, experts=6, expert_layers=(0, 2))
    model = new_translator(shape, "dense")
    top = np.zeros((len(TASKS), 2, 6))
    top[:, 0] = [0.9, 0.1, 0.0, 0.0, 0.0, 0.0]
    top[:, 1] = [0.3, 0.2, 0.2, 0.1, 0.1, 0.1]
    products = np.tile(np.eye(6), (len(TASKS), 2, 1, 1))
    statistics = dataclasses.replace(made_up(model.config), top1=top, top2=top, products=products)
    small = merge(model, statistics, keep=0.5, method="mc-smoe")
    assert small.config.encoder.experts_by_layer == (2, 4)


def test_errors_say_what_is_wrong(model, statistics):
    bare = dataclasses.replace(statistics, products=None)
    with pytest.raises(WorkbenchError, match=r"Gather them with --corpus.*products=True"):
        merge(model, bare, keep=0.5, method="mc-smoe")
    with pytest.raises(WorkbenchError, match="Unknown method 'mean'"):
        merge(model, statistics, keep=0.5, method="mean")
    with pytest.raises(WorkbenchError, match="Unknown gates 'all'"):
        merge(model, statistics, keep=0.5, gates="all")
    with pytest.raises(WorkbenchError, match="above 0 and up to 1"):
        merge(model, statistics, keep=0)
    with pytest.raises(WorkbenchError, match="leaves 1 of 4"):
        merge(model, statistics, keep=0.2)
    with pytest.raises(WorkbenchError, match="it is dense"):
        merge(translator("dense", "dense"), statistics)
    once = merge(model, statistics, keep=0.75, gates="sum")
    with pytest.raises(WorkbenchError, match="merged before"):
        merge(once, made_up(once.config), keep=0.67, gates="dominant")
