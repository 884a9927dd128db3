"""What-ifs: against networks from which the same experts were cut, and those of other tasks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import EN_DE, captions, new_translator, stack, translator
from workbench.errors import WorkbenchError
from workbench.routing.interventions import intervene
from workbench.routing.trace import trace_routes
from workbench.subnetworks.extract import extract
from workbench.subnetworks.prune import keep_experts
from workbench.tasks import Task

TEXTS = list(captions()[:4])
REFERENCES = list(captions("deu_Latn")[:4])
DECODER = ("decoder", 1)


def states(model, task=EN_DE):
    """The decoder's states on the first caption and its translation."""
    ids = model.tokenizer.encode_source(TEXTS[0], task.source)
    target = model.tokenizer.encode_target(REFERENCES[0], task.target)
    rows = [jnp.array([row]) for row in model.config.task_ids(task)]
    return model.network(jnp.array([ids]), jnp.array([target]), *rows)[0]


@pytest.mark.parametrize("kind", ["token", "sentence"])
def test_experts_that_are_off_are_as_good_as_cut_away(kind: str) -> None:
    model = translator(kind, kind)
    changed = intervene(model, off={DECODER: [0, 2]})
    cut = keep_experts(model, {DECODER: (1, 3)}, [EN_DE])
    np.testing.assert_allclose(states(changed), states(cut), atol=1e-5)
    if kind == "token":  # compiling takes most of this test
        texts = [made.text for made in changed.translate(TEXTS, "en", "de", max_length=8)]
        assert texts == [made.text for made in cut.translate(TEXTS, "en", "de", max_length=8)]
    frame = trace_routes(changed, TEXTS, "en", "de", REFERENCES).to_frame()
    assert set(frame[frame["stack"] == "decoder"]["expert"]) == {1, 3}  # their own numbers
    assert set(frame[frame["stack"] == "encoder"]["expert"]) > {1, 3}
    before = states(model)
    assert np.abs(before - states(changed)).max() > 1e-3
    assert changed.name == f"{model.name}: decoder 1 without 0, 2"
    of_a_table = intervene(model, off={DECODER: np.array([2, 0], np.int16)})
    assert of_a_table.name == changed.name


def test_one_expert_alone_has_every_token_and_its_whole_output() -> None:
    model = translator("token", "token")
    forced = intervene(model, only={DECODER: [2], ("encoder", 1): [1]})
    frame = trace_routes(forced, TEXTS, "en", "de", REFERENCES).to_frame()
    assert (frame["rank"] == 0).all() and np.allclose(frame["gate"], 1)
    assert frame.groupby("stack", observed=True)["expert"].unique().map(list).to_dict() == {
        "encoder": [1],
        "decoder": [2],
    }
    layer = model.network.decoder.layers[1].ffn
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, layer.w_in.shape[1])), jnp.float32)
    alone = jnp.maximum(x @ layer.w_in[2] + layer.b_in[2], 0) @ layer.w_out[2] + layer.b_out[2]
    block = forced.network.decoder.layers[1].ffn
    np.testing.assert_allclose(block(x, x[:, 0], jnp.zeros(1, int))[0], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "key"), [("target", "fr"), ("pair", "en-fr"), ("static-target", "fr")]
)
def test_a_stack_is_routed_as_another_task(kind: str, key: str) -> None:
    model = new_translator(decoder=stack(kind))
    changed = intervene(model, route_as={"decoder": key})
    fr = Task("eng_Latn", "fra_Latn")
    mine, other = model.config.task_ids(EN_DE), model.config.task_ids(fr)
    ids = jnp.array([model.tokenizer.encode_source(TEXTS[0], "eng_Latn")])
    target = jnp.array([model.tokenizer.encode_target(REFERENCES[0], "deu_Latn")])
    wanted = model.network(ids, target, jnp.array([mine[0]]), jnp.array([other[1]]))[0]
    np.testing.assert_array_equal(states(changed), wanted)


def test_what_cannot_be_is_refused_in_a_line() -> None:
    model = translator("token", "target")
    for arguments, words in (
        ({"off": {("decoder", 0): [1]}}, r"no layer \('decoder', 0\) .* encoder 1, decoder 1"),
        ({"off": {DECODER: [4]}}, "experts 0 to 3, not 4"),
        ({"off": {DECODER: range(4)}}, "No expert of decoder layer 1"),
        ({"only": {DECODER: []}}, "No expert of decoder layer 1"),
        ({"off": {DECODER: ["1"]}}, "a number of an expert"),
        ({"off": [1]}, r"off is \[1\] \(list\): give a dictionary of \(stack, layer\)"),
        ({"route_as": "fr"}, r"route_as is 'fr' \(str\): give a dictionary of stacks"),
        ({"off": {DECODER: []}}, "Nothing is changed"),
        ({"route_as": {"middle": "de"}}, "no stack 'middle'"),
        ({"route_as": {"encoder": "de"}}, "encoder of .* is not routed by task"),
        ({"route_as": {"decoder": "en-de"}}, "routed by target, which 'en-de' is not"),
        ({}, "Nothing is changed"),
    ):
        with pytest.raises(WorkbenchError, match=words):
            intervene(model, **arguments)
    static = new_translator(decoder=stack("static-target"))
    with pytest.raises(WorkbenchError, match="assigned by hand"):
        intervene(static, off={DECODER: [1]})


def test_a_what_if_is_no_parent_of_files(tmp_path) -> None:
    changed = intervene(translator("target", "target"), route_as={"decoder": "fr"})
    with pytest.raises(WorkbenchError, match="cannot be saved"):
        changed.save(tmp_path / "x")
    with pytest.raises(WorkbenchError, match="extract the original"):
        extract(changed, [EN_DE])
