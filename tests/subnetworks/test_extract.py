"""Extraction: the fold by hand, equal translations, and a proof that can fail."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, TASKS, captions, long_captions, new_translator, stack, translator
from workbench.checkpoint.model_card import front_matter, licence_of
from workbench.config import RouterConfig, StackConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.subnetworks.extract import extract, fold, kept_experts, parameter_count
from workbench.subnetworks.proof import TIE, prove, unequal_table
from workbench.tasks import Task

TEXTS = list(long_captions()[:10])


@pytest.fixture(scope="module")
def small():
    return extract(translator("target", "target"), ["en-de"])


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_the_fold_is_the_gated_sum_in_float64(scale):
    shape = stack("target", experts=5, top_k=3)
    block = ExpertFeedForward(6, 7, 5, shape.router, output_scale=scale, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    block.b_in[...] = jnp.asarray(random.normal(size=(5, 7)), jnp.float32)
    block.b_out[...] = jnp.asarray(random.normal(size=(5, 6)), jnp.float32)
    row = 2
    x = random.normal(size=(11, 6))
    logits = np.asarray(
        block.router.task_embedding[...][row] @ block.router.kernel[...], np.float64
    )
    chosen = np.argsort(-logits)[:3]
    gates = np.exp(logits[chosen]) / np.exp(logits[chosen]).sum()
    wanted = np.zeros_like(x)
    for expert, gate in zip(chosen, gates, strict=True):
        w_in, b_in, w_out, b_out = (np.asarray(a[expert], np.float64) for a in block.weights)
        wanted += scale * gate * (np.maximum(x @ w_in + b_in, 0) @ w_out + b_out)
    folded = fold(block, row)
    fc1, fc2 = (
        {k: np.asarray(v, np.float64) for k, v in folded[n].items()} for n in ("fc1", "fc2")
    )
    assert fc1["kernel"].shape == (6, 21)
    assert fc2["kernel"].shape == (21, 6)
    found = np.maximum(x @ fc1["kernel"] + fc1["bias"], 0) @ fc2["kernel"] + fc2["bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_card_has_the_parents_terms_and_the_parts_own_languages_and_use():
    parent = new_translator("target", "target")
    parent.card = (
        '---\nlanguage: ["cs", "de", "en"]\nlicense: "other"\nlicense_name: "mine"\ndatasets: ["d"]\n---\n\n'
        "# Old\n\n## Use\n\n```bash\necho x | workbench translate Old -s cs -t en\n```\n\n---\n\nEnd\n"
    )
    card = extract(parent, ["en-de"], name="en-de").card
    assert licence_of(card) == "other (mine)"
    assert front_matter(card)["language"] == ["de", "en"]
    assert front_matter(card)["datasets"] == ["d"]
    assert "\n# en-de\n" in card and "translate en-de -s eng_Latn -t deu_Latn\n" in card
    assert card.endswith("\n\n---\n\n# Old\n\n---\n\nEnd\n")
    assert "translate x -s deu_Latn -t eng_Latn\n" in extract(parent, ["de-en"], name="x").card


def test_the_sub_network_is_dense_and_smaller(small):
    parent = translator("target", "target")
    assert small.config.is_dense
    assert small.config.encoder.feed_forward_widths == (24, 48)
    assert small.config.tasks == (EN_DE,)
    assert small.config.languages == ("deu_Latn", "eng_Latn")
    # Gone from each stack: two of four experts, the router, and one of the two last biases.
    expert = 2 * 32 * 24 + 24 + 32
    router = 32 * 4 + 4 * 32  # kernel, and four target languages
    assert parameter_count(parent.config) - parameter_count(small.config) == 2 * (
        2 * expert + router + 32
    )


def test_tokens_are_equal_and_logits_nearly(small):
    proof = prove(
        translator("target", "target"), small, [*captions()[:10], ""], EN_DE, batch_size=5
    )
    assert proof.holds
    assert (proof.sentences, proof.identical, proof.ties, proof.different) == (10, 10, 0, 0)
    assert 0 < proof.largest_logit_difference < 1e-3
    assert str(proof).startswith("proved: eng_Latn-deu_Latn, 10 of 10 sentences")
    assert json.loads(json.dumps(proof.to_json()))["holds"] is True


def test_a_stack_routed_by_token_keeps_its_experts():
    parent = translator("token", "target")
    part = extract(parent, [EN_DE])
    assert part.config.encoder == parent.config.encoder
    assert part.config.decoder.router is None
    ours, theirs = (m.network.encoder.layers[1].ffn for m in (part, parent))
    assert (ours.w_in[...] == theirs.w_in[...]).all()
    assert (ours.router.kernel[...] == theirs.router.kernel[...]).all()
    outputs = [m.translate(TEXTS, "en", "de", batch_size=10, max_length=16) for m in (parent, part)]
    assert [o.token_ids for o in outputs[0]] == [o.token_ids for o in outputs[1]]


def test_experts_assigned_by_hand_are_folded_as_learned_ones_are():
    parent = new_translator("static-target", "static-target", expert_output_scale=0.8)
    part = extract(parent, [EN_DE])
    assert part.config.is_dense
    # Four target languages over four experts: German, the second, has the second two.
    assert kept_experts(parent, EN_DE)["decoder"] == {"1": {"2": 0.5, "3": 0.5}}
    proof = prove(parent, part, TEXTS, EN_DE, batch_size=10)
    assert (proof.identical, proof.different) == (10, 0)
    assert 0 < proof.largest_logit_difference < 1e-3


def test_the_kept_experts_are_the_routers_choice():
    parent = translator("target", "target")
    kept = kept_experts(parent, EN_DE)
    assert set(kept) == {"encoder", "decoder"}
    for name in kept:
        router = getattr(parent.network, name).layers[1].ffn.router
        row = parent.config.task_ids(EN_DE)[0]
        logits = np.asarray(router.task_embedding[...][row] @ router.kernel[...])
        assert [int(e) for e in kept[name]["1"]] == np.argsort(-logits)[:2].tolist()
        assert sum(kept[name]["1"].values()) == pytest.approx(1, abs=1e-5)


def test_a_sub_network_knows_its_parent_and_its_terms(small):
    assert small.provenance["operation"] == "extract"
    assert small.provenance["parents"][0]["name"] == "target-target"
    assert "English → German" in small.card
    assert "# A tiny model" in small.card


def test_it_translates_its_task_and_no_other(small):
    with pytest.raises(WorkbenchError, match="does not translate deu_Latn-eng_Latn"):
        small.translate("a", "de", "en")
    with pytest.raises(WorkbenchError, match=r"Czech|ces_Latn"):
        small.translate("a", "en", "cs")


def test_it_comes_back_from_disk_and_translates_the_same(small, tmp_path):
    small.save(tmp_path / "en-de")
    again = Translator.load(tmp_path / "en-de")
    assert again.config == small.config
    assert again.provenance == small.provenance
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (small, again)), strict=True):
        assert (a == b).all()
    proof = prove(small, again, TEXTS[:4], EN_DE, batch_size=8)
    # Equal weights, but one program computes both: the compiler need not fuse the two alike.
    assert proof.identical == 4
    assert proof.largest_logit_difference < 1e-5


SEVERAL = [EN_DE, Task("eng_Latn", "ces_Latn")]


def test_several_tasks_keep_the_union_of_their_experts_and_a_router_over_them():
    parent = translator("target", "target")
    part = extract(parent, ["en-de", "en-cs"])
    assert part.config.tasks == tuple(SEVERAL)
    assert part.config.languages == ("ces_Latn", "deu_Latn", "eng_Latn")
    for name in ("encoder", "decoder"):
        own, whole = (getattr(m.network, name).layers[1].ffn for m in (part, parent))
        union = sorted({int(e) for task in SEVERAL for e in kept_experts(parent, task)[name]["1"]})
        assert getattr(part.config, name).experts == len(union)
        assert (own.w_in[...] == whole.w_in[...][np.array(union)]).all()
        rows = [getattr(parent.config, name).router.key_index(task) for task in SEVERAL]
        keys = [getattr(part.config, name).router.key_index(task) for task in SEVERAL]
        there = whole.router(jnp.zeros((2, 1, 32)), jnp.zeros((2, 32)), jnp.array(rows))
        here = own.router(jnp.zeros((2, 1, 32)), jnp.zeros((2, 32)), jnp.array(keys))
        assert np.array(union)[here.experts].tolist() == there.experts.tolist()
        np.testing.assert_allclose(here.gates, there.gates, atol=1e-6)
    for task in SEVERAL:
        proof = prove(parent, part, TEXTS[:5], task, batch_size=8)
        assert (proof.identical, proof.sentences) == (5, 5)
        assert proof.largest_logit_difference < 1e-3


def test_tasks_with_one_key_leave_nothing_to_route():
    """Three directions into English: the target is the same for all."""
    into = [task for task in TASKS if task.target == "eng_Latn"]
    part = extract(translator("target", "target"), into)
    assert part.config.is_dense
    assert part.config.tasks == tuple(into)
    proof = prove(translator("target", "target"), part, TEXTS[:3], into[1], batch_size=8)
    assert proof.identical == 3


def test_with_one_expert_chosen_the_gate_stays_what_it_was():
    """The gate is a probability among all experts: what those that are gone had is not given to the others."""
    shape = stack("target", experts=4, top_k=1)
    parent = new_translator(shape, "dense")
    part = extract(parent, SEVERAL)
    router = part.config.encoder.router
    assert router.remainder
    own, whole = (m.network.encoder.layers[1].ffn.router for m in (part, parent))
    there = whole(*NOTHING, jnp.array([shape.router.key_index(task) for task in SEVERAL]))
    here = own(*NOTHING, jnp.array([router.key_index(task) for task in SEVERAL]))
    assert part.config.encoder.experts < 4
    np.testing.assert_allclose(here.gates, there.gates, atol=1e-6)
    assert float(here.gates.max()) < 0.99
    # Extracted once more, from the part: still the same.
    again = extract(part, SEVERAL)
    twice = again.network.encoder.layers[1].ffn.router(*NOTHING, jnp.array([0, 1]))
    once = own(*NOTHING, jnp.array([0, 1]))
    np.testing.assert_allclose(twice.gates, once.gates, atol=1e-6)


def test_an_assignment_by_hand_is_numbered_anew():
    keys = tuple(sorted({task.target for task in TASKS}))
    router = RouterConfig("task", 2, "target", keys, assignment=((0, 1), (3, 1), (2, 3), (5, 4)))
    by_hand = StackConfig(4, (24, 24), (1,), 6, router)
    parent = new_translator(by_hand, "dense")
    part = extract(parent, SEVERAL)  # into German, and into Czech
    assert part.config.encoder.experts == 3
    assert part.config.encoder.router.keys == ("ces_Latn", "deu_Latn")
    assert part.config.encoder.router.assignment == ((0, 1), (2, 1))
    own, whole = (m.network.encoder.layers[1].ffn for m in (part, parent))
    assert (own.w_in[...] == whole.w_in[...][np.array([0, 1, 3])]).all()
    assert extract(parent, [EN_DE]).config.encoder.feed_forward_widths == (24, 48)


def test_a_part_for_several_tasks_comes_back_from_disk(tmp_path):
    """Layers that keep different numbers of experts, and a remainder."""
    shape = stack("target", layers=3, experts=6, top_k=1, expert_layers=(0, 2))
    parent = new_translator(shape, "token")
    part = extract(parent, TASKS)
    assert part.config.encoder.experts_by_layer in (
        (),
        (3, 4),
        (4, 3),
        (2, 4),
        (4, 2),
        (3, 2),
        (2, 3),
    )
    part.save(tmp_path / "part")
    again = Translator.load(tmp_path / "part")
    assert again.config == part.config
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (part, again)), strict=True):
        assert (a == b).all()


NOTHING = (jnp.zeros((2, 1, 32)), jnp.zeros((2, 32)))


@pytest.mark.parametrize(
    ("kind", "tasks", "says"),
    [
        (("dense", "dense"), ["en-de"], "it is dense"),
        (("token", "token"), ["en-de"], "not routed by task"),
        (("target", "target"), [], "got 0"),
        (("target", "target"), ["de-fr"], "does not translate deu_Latn-fra_Latn"),
        (("target", "target"), ["en-xx"], "'xx'"),
    ],
)
def test_what_cannot_be_extracted_is_explained(kind, tasks, says):
    with pytest.raises(WorkbenchError, match=says):
        extract(translator(*kind), tasks)


def test_a_wrong_sub_network_is_not_proved():
    parent = translator("target", "target")
    wrong = extract(parent, ["en-de"], name="wrong")
    bias = wrong.network.decoder.layers[1].ffn.fc2.bias
    bias[...] = bias[...] + 3.0 * jnp.asarray(np.random.default_rng(0).normal(size=32), jnp.float32)
    # A translator reads its network's weights when it is made.
    wrong = Translator("wrong", wrong.config, wrong.tokenizer, wrong.network)
    proof = prove(parent, wrong, TEXTS, EN_DE, batch_size=10)
    assert not proof.holds
    assert proof.different == len(proof.differing) > 0
    assert proof.identical + proof.ties + proof.different == 10
    where = proof.unequal[0]
    assert (where.sentence, where.source, where.tie) == (
        proof.differing[0],
        TEXTS[where.sentence],
        False,
    )
    whole, part = (
        model.translate([where.source], "en", "de", batch_size=10)[0] for model in (parent, wrong)
    )
    assert whole.tokens[: where.position] == part.tokens[: where.position]
    assert (where.parent_token, where.token) == (
        whole.tokens[where.position],
        part.tokens[where.position],
    )
    assert where.margin is not None and where.margin > TIE
    assert proof.largest_logit_difference > 0.1
    assert str(proof).startswith("NOT PROVED")


def test_a_swap_of_two_equal_logits_is_a_tie_and_no_difference():
    """Every word has a twin of its own length, a hair apart: which of them wins is rounding."""
    parent, other = (new_translator("target", "target") for _ in range(2))
    found = np.array(parent.network.embedding[...])
    twin = parent.translate(TEXTS[:1], "en", "de", batch_size=8, max_length=4)[0].token_ids[0]
    spare = next(i for i in range(490, 4, -1) if i != twin)
    for model, sign in ((parent, 1), (other, -1)):
        table = found.copy()
        table[spare] = table[twin] * (1 - sign * 1e-6)
        model.network.embedding[...] = jnp.asarray(table)
    parent, other = (Translator(m.name, m.config, m.tokenizer, m.network) for m in (parent, other))
    proof = prove(parent, other, TEXTS[:1], EN_DE, batch_size=8)
    assert (proof.ties, proof.different, proof.tied) == (1, 0, (0,))
    (row,) = unequal_table([proof]).to_dict("records")
    assert (row["task"], row["sentence"], row["source"], row["position"]) == (
        str(EN_DE),
        0,
        TEXTS[0],
        0,
    )
    words = {parent.tokenizer.decode([i]) for i in (twin, spare)}
    assert {row["parent_token"].strip("▁"), row["token"].strip("▁")} == words and row["tie"]
    assert 0 < row["margin"] < TIE
    assert proof.holds
    assert proof.largest_logit_difference < TIE


def test_a_proof_of_nothing_is_refused(small):
    with pytest.raises(WorkbenchError, match="at least one sentence"):
        prove(translator("target", "target"), small, ["", " "], EN_DE)
