"""Upcycling: a network with experts that says what the dense one says, before any training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, LANGUAGES, TASKS, config, network, new_translator, stack, translator
from workbench.config import StackConfig
from workbench.errors import WorkbenchError
from workbench.training.loop import _begin
from workbench.training.recipe import recipe_from
from workbench.training.stacks import even_assignment
from workbench.training.upcycling import spread_tasks, start_from, upcycle
from workbench.training.update import make_optimizer


def outputs(made, task=EN_DE):
    random = np.random.default_rng(0)
    source, target = (random.integers(4, 400, (3, 6)).astype(np.int32) for _ in range(2))
    source[1, 4:] = made.config.pad_id
    rows = [np.full(3, row, np.int32) for row in made.config.task_ids(task)]
    graph, state = nnx.split(made)

    @jax.jit
    def run(state):
        merged = nnx.merge(graph, state)
        return merged.logits(merged(source, target, *rows)[0])

    return np.asarray(run(state))


@pytest.fixture(scope="module")
def wanted():
    return outputs(translator("dense", "dense").network)


@pytest.mark.parametrize(
    ("encoder", "decoder", "top_k"),
    [
        ("token", "target", 2),
        ("sentence", "pair", 1),
        ("source", "token", 1),
        ("pair", "sentence", 2),
        ("target", "source", 1),
        ("static-source", "dense", 2),
    ],
)
def test_the_upcycled_network_gives_the_dense_ones_logits(encoder, decoder, top_k, wanted):
    model = upcycle(translator("dense", "dense"), encoder, decoder, experts=4, top_k=top_k)
    np.testing.assert_allclose(outputs(model.network), wanted, rtol=1e-4, atol=2e-4)
    assert model.config.tasks == TASKS and model.config.languages == LANGUAGES
    for (_, shape), routing in zip(model.config.stacks, (encoder, decoder), strict=True):
        assert (shape.router is None) == (routing == "dense")


def test_experts_are_as_many_and_where_they_were_asked_for():
    model = upcycle(
        translator("dense", "dense"), "dense", "pair", experts=5, top_k=3, every=1, name="it"
    )
    decoder = model.config.decoder
    assert (decoder.experts, decoder.expert_layers, decoder.router.top_k) == (5, (0, 1), 3)
    assert decoder.router.keys == tuple(sorted(map(str, TASKS)))
    assert model.name == "it" and model.card.startswith("# it\n\n`dense-dense` upcycled")
    assert "# A tiny model" in model.card
    assert model.provenance["operation"] == "upcycle"
    assert model.provenance["parents"][0]["name"] == "dense-dense"


def test_a_card_keeps_its_terms_where_the_hub_looks():
    dense = new_translator()
    dense.card = "---\nlicense: other\n---\n\n# Old\n"
    card = upcycle(dense, "token", "dense", experts=2).card
    assert card.startswith("---\nlicense: other\n---\n\n# dense-dense-token-dense\n")
    assert card.endswith("\n\n---\n\n# Old\n")


def test_layers_of_unequal_width_and_scaled_parents_are_taken_over():
    """As extraction leaves them: folded layers are wider, and their old scale is in their weights."""
    shape = StackConfig(4, (24, 48))
    dense = new_translator(shape, shape, expert_output_scale=0.8)
    model = upcycle(dense, "token", "target", experts=3)
    assert model.config.encoder.feed_forward_widths == (24, 48)
    np.testing.assert_allclose(outputs(model.network), outputs(dense.network), rtol=1e-4, atol=2e-4)


def test_fresh_units_change_what_it_says(wanted):
    model = upcycle(translator("dense", "dense"), "token", "target", experts=4, fresh_units=0.5)
    assert np.abs(outputs(model.network) - wanted).max() > 0.1


def test_fresh_units_are_as_many_as_asked_and_other_ones_in_each_expert():
    dense = translator("dense", "dense").network
    made = network(config("token", "target"), seed=3)
    start_from(made, dense, fresh_units=0.5)
    block, old = made.encoder.layers[1].ffn, dense.encoder.layers[1].ffn
    kept = np.asarray((block.w_in[...] == old.fc1.kernel[...]).all(axis=1))  # [E, F]
    assert 0.3 < kept.mean() < 0.7
    assert len({row.tobytes() for row in kept}) == 4
    assert (np.asarray(block.b_in[...])[~kept] == 0).all()


def test_networks_of_other_shapes_cannot_be_a_start():
    dense = network(config("dense", "dense"))
    with pytest.raises(
        WorkbenchError, match="Cannot make a dense block of the experts of encoder layer 1"
    ):
        start_from(dense, translator("token", "target").network, 0.5)
    with pytest.raises(WorkbenchError, match="embeddings of shape"):
        start_from(network(config(vocabulary=510)), translator("dense", "dense").network, 0.5)
    other_heads = network(config(StackConfig(2, (24, 24))))
    with pytest.raises(
        WorkbenchError, match=r"encoder has 4 attention heads: the recipe's has 2\."
    ):
        start_from(other_heads, dense, 0.5)


def test_experts_of_other_tasks_are_no_start():
    """As many rows in the router, but of other languages: each would begin with another one's experts."""
    shape = config("token", "target")
    routed = network(shape)
    router = shape.decoder.router
    keys = tuple(sorted(key.replace("fra", "spa") for key in router.keys))
    for change, says in (
        ({"keys": keys}, r"target \(ces_Latn.*spa_Latn\), from one .* chosen by target \(.*fra_"),
        ({"granularity": "token", "task_key": None, "keys": ()}, "token, from one .* by target"),
    ):
        decoder = dataclasses.replace(shape.decoder, router=dataclasses.replace(router, **change))
        made = network(dataclasses.replace(shape, decoder=decoder))
        with pytest.raises(WorkbenchError, match=f"Cannot start the decoder, .* by {says}"):
            start_from(made, routed, 0.5)
    sentence = network(config("sentence", "target"))
    start_from(sentence, routed, 0.5)  # the same gate, which looks at something else


@pytest.mark.parametrize(
    ("stacks", "options", "says"),
    [
        (("dense", "dense"), {}, "No layer gets experts: choose a routing"),
        (("token", "dense"), {"every": 3}, "encoder of dense-dense: No layer gets experts: with"),
        (("token", "dense"), {"every": 0}, "every is 0"),
        (("dense", "pair"), {"experts": 1}, "decoder .* top_k is 2, but a layer has 1 experts"),
        (("token", "dense"), {"fresh_units": 1.0}, "fresh_units is 1.0"),
        (
            ("token", "dense"),
            {"experts": 10**9},
            r"dense-dense-token-dense needs at least .* GB of",
        ),
    ],
)
def test_what_cannot_be_upcycled_is_explained(stacks, options, says):
    with pytest.raises(WorkbenchError, match=says):
        upcycle(translator("dense", "dense"), *stacks, **options)


def test_a_network_with_experts_is_no_start():
    with pytest.raises(WorkbenchError, match="dense-token has experts in its decoder"):
        upcycle(translator("dense", "token"), "token", "token")


def test_spread_tasks_begin_with_experts_of_their_own_and_nearly_equal_gates():
    shape = config("token", stack("target", experts=8))
    spread = network(shape)
    spread_tasks(spread)
    router = shape.decoder.router
    ids = jnp.arange(len(router.keys))
    (layer,) = (layer for layer in spread.decoder.layers if hasattr(layer.ffn, "router"))
    routing = layer.ffn.router(jnp.zeros((len(ids), 1, shape.d_model)), None, ids)
    chosen = [sorted(row) for row in routing.experts[:, 0].tolist()]
    assert chosen == [list(row) for row in even_assignment(router.keys, 8, 2)]
    assert {expert for row in chosen for expert in row} == set(range(8))
    assert 0.4 < float(routing.gates.min()) < 0.5
    others = jnp.sort(routing.logits[:, 0], axis=-1)[:, :-2]
    assert float(jnp.abs(others).max()) < 0.6


@pytest.mark.parametrize("begin_with", ["even", "random"])
def test_a_run_begins_with_the_experts_that_its_recipe_says(begin_with):
    data = {"directory": "-", "languages": ["en", "de", "fr", "cs"], "pivot": "en"}
    run = {"task_experts": begin_with, "seed": 1}
    recipe = recipe_from(
        {"name": "x", "data": data, "model": {"decoder_routing": "target"}, "run": run}
    )
    shape = config("dense", stack("target", experts=8))
    graph, trained, _ = _begin(recipe, shape, make_optimizer(recipe.objective, 1), None, None)
    keys = shape.decoder.router.keys
    (layer,) = (
        layer
        for layer in nnx.merge(graph, trained.parameters).decoder.layers
        if hasattr(layer.ffn, "router")
    )
    routing = layer.ffn.router(
        jnp.zeros((len(keys), 1, shape.d_model)), None, jnp.arange(len(keys))
    )
    chosen = [tuple(sorted(row)) for row in routing.experts[:, 0].tolist()]
    assert (chosen == list(even_assignment(keys, 8, 2))) == (begin_with == "even")
