"""Pruning: metrics, selections and budgets by hand, and the network that comes out against masked logits."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, TASKS, captions, made_up, new_translator, stack, translator
from workbench.checkpoint.hub_config import model_type
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.routers import choose
from workbench.routing.statistics import Statistics
from workbench.subnetworks.importance import METRICS, values_by_key, values_of
from workbench.subnetworks.interchange import kept_from_json, kept_to_json
from workbench.subnetworks.prune import keep_experts, prune, select_experts
from workbench.subnetworks.selection import best_under_threshold, counts_for
from workbench.tasks import Task

EN_CS, DE_EN = Task("eng_Latn", "ces_Latn"), Task("deu_Latn", "eng_Latn")


@pytest.fixture(scope="module")
def model():
    return translator("token", "token")


@pytest.fixture(scope="module")
def statistics(model):
    return made_up(model.config)


def test_the_five_metrics_by_hand():
    one = {
        "top1": np.array([[[0.5, 0.2]]]),
        "top2": np.array([[[0.9, 0.7]]]),
        "conf1": np.array([[[0.3, 0.8]]]),
        "conf2": np.array([[[0.2, 0.4]]]),
        "mean": np.array([[[0.25, 0.1]]]),
    }
    statistics = Statistics(**one, tasks=("a",), layers=(("encoder", 0),), experts=(2,))
    wanted = {
        "top1": [0.5, 0.2],
        "top2": [0.9, 0.7],
        "load-balance": [0.5 * 0.25, 0.2 * 0.1],
        "vanilla": [0.5 * 0.3, 0.2 * 0.8],
        "importance": [0.5 * np.exp(0.3), 0.2 * np.exp(0.8)],
    }
    assert set(METRICS) == set(wanted)
    for metric, values in wanted.items():
        np.testing.assert_allclose(values_of(statistics, metric)[0, 0], values)
    with pytest.raises(WorkbenchError, match=r"Unknown metric 'best'. Accepted: top1, top2"):
        values_of(statistics, "best")


def test_granularities_average_over_whom_they_are_for(statistics):
    values = statistics.top1
    rows = {task: i for i, task in enumerate(TASKS)}
    assert list(values_by_key(statistics, "top1", "global", [EN_DE])) == ["global"]
    everyone = values_by_key(statistics, "top1", "global", list(TASKS))["global"]
    np.testing.assert_allclose(everyone, values.mean(axis=0))
    both = values_by_key(statistics, "top1", "global", [EN_DE, DE_EN])["global"]
    np.testing.assert_allclose(both, values[[rows[EN_DE], rows[DE_EN]]].mean(axis=0))
    pairs = values_by_key(statistics, "top1", "pair", [EN_DE, DE_EN])
    np.testing.assert_allclose(pairs["deu_Latn-eng_Latn"], values[rows[DE_EN]])
    languages = values_by_key(statistics, "top1", "language", [EN_DE])
    assert list(languages) == ["encoder eng_Latn", "decoder deu_Latn"]
    # Three directions out of English, one into German.
    out_of = [i for task, i in rows.items() if task.source == "eng_Latn"]
    assert len(out_of) == 3
    np.testing.assert_allclose(languages["encoder eng_Latn"], values[out_of].mean(axis=0))
    np.testing.assert_allclose(languages["decoder deu_Latn"], values[rows[EN_DE]])


def test_all_tasks_together_are_the_chosen_ones(model, statistics):
    chosen = select_experts(model.config, statistics, [EN_DE], keep=0.5)["global"]
    alone = select_experts(model.config, statistics, [EN_DE], keep=0.5, granularity="pair")
    assert chosen == alone[str(EN_DE)]
    assert chosen != select_experts(model.config, statistics, TASKS, keep=0.5)["global"]
    small = prune(model, statistics, [EN_DE], keep=0.5)
    assert small.provenance["kept_experts"]["encoder"]["1"] == list(chosen["encoder", 1])


def test_a_threshold_keeps_more_where_importance_is_spread():
    sharp, flat = np.array([0.9, 0.04, 0.03, 0.02, 0.01, 0.0]), np.full(6, 1 / 6)
    # Cumulated before: sharp 0 .9 .94 .97 .99 1, flat 0 .17 .33 .5 .67 .83; two at least of each.
    assert best_under_threshold([sharp, flat], 6, [2, 2]) == [(0, 1), (0, 1, 2, 3)]
    assert best_under_threshold([sharp, flat], 8, [2, 2]) == [(0, 1), (0, 1, 2, 3, 4, 5)]
    assert best_under_threshold([sharp, flat], 10, [2, 2]) == [(0, 1, 2, 3), (0, 1, 2, 3, 4, 5)]
    wide = np.concatenate([sharp, np.zeros(6)])
    # With room for more, four remain of the sharp one and the rest goes to the flat ones.
    kept = best_under_threshold([wide, np.full(12, 1 / 12), np.full(12, 1 / 12)], 24, [2, 2, 2])
    assert [len(experts) for experts in kept] == [4, 10, 10]


def test_a_threshold_needs_room_for_what_the_routers_choose():
    with pytest.raises(WorkbenchError, match="budget of 3 experts over 2 layers is less"):
        best_under_threshold([np.ones(4), np.ones(4)], 3, [2, 2])


def test_fractions_are_of_each_layer_and_never_below_top_k():
    assert counts_for(0.2, [8, 128], [1, 2]) == [2, 26]
    assert counts_for(1.0, [8], [2]) == [8]
    with pytest.raises(WorkbenchError, match=r"leaves 1 of 8 .* chooses 2: keep at least 0.25"):
        counts_for(0.1, [8], [2])
    for keep in (0.0, -1, 1.5, float("nan")):
        with pytest.raises(WorkbenchError, match="above 0 and up to 1"):
            counts_for(keep, [8], [2])


def test_the_softmax_of_a_pruned_router_is_that_of_masked_logits(model, statistics):
    small = prune(model, statistics, [EN_DE], keep=0.75, granularity="pair")
    for name in ("encoder", "decoder"):
        kept = small.provenance["kept_experts"][name]["1"]
        values = values_of(statistics, "importance")[TASKS.index(EN_DE)]
        place = 0 if name == "encoder" else 1
        assert kept == sorted(np.argsort(-values[place])[:3].tolist())
        own, whole = (getattr(m.network, name).layers[1].ffn for m in (small, model))
        assert own.w_out.shape == (3, 24, 32)
        for ours, theirs in zip(own.weights, whole.weights, strict=True):
            assert (ours == theirs[np.array(kept)]).all()
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 32)), jnp.float32)
        masked = (
            jnp.full((1, 7, 4), -1e9)
            .at[..., np.array(kept)]
            .set((x @ whole.router.kernel[...])[..., np.array(kept)])
        )
        wanted, found = choose(masked, 2), own.router(x, x[:, 0], jnp.zeros(1, jnp.int32))
        assert np.array(kept)[found.experts].tolist() == wanted.experts.tolist()
        np.testing.assert_allclose(found.gates, wanted.gates, atol=1e-5)


def test_everything_kept_is_the_same_network(model, statistics):
    whole = prune(model, statistics, keep=1.0)
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (model, whole)), strict=True):
        assert (a == b).all()
    assert whole.config.directions == TASKS


def test_a_pruned_checkpoint_is_smaller_and_of_the_same_kind(model, statistics, tmp_path):
    small = prune(model, statistics, [EN_DE], keep=0.5, name="half")
    assert model_type(small.config) == "nllb-moe"
    small.save(tmp_path / "half")
    again = Translator.load(tmp_path / "half")
    assert again.config == small.config
    assert json.loads((tmp_path / "half/config.json").read_text())["num_experts"] == 2
    assert again.provenance["method"]["metric"] == "importance"
    assert again.provenance["parents"][0]["name"] == "token-token"
    assert "experts kept in encoder layer 1: 2 of 4" in again.card
    texts = captions()[:3]
    assert again.translate(texts, "en", "de", batch_size=8, max_length=8)
    with pytest.raises(WorkbenchError, match="does not translate deu_Latn-eng_Latn"):
        again.translate("a", "de", "en")


def test_layers_may_keep_different_numbers_and_say_so(tmp_path):
    shapes = [stack("token", layers=3, experts=6, expert_layers=(0, 2)) for _ in range(2)]
    model = new_translator(*shapes)
    statistics = made_up(model.config)
    sharp = statistics.top1.copy()
    sharp[:, 0] = [1, 0, 0, 0, 0, 0]
    statistics = dataclasses.replace(statistics, top1=sharp)
    small = prune(model, statistics, keep=0.5, metric="top1", algorithm="global")
    counts = [stack.experts_in(n) for _, stack in small.config.stacks for n in (0, 2)]
    assert sum(counts) == 12
    assert counts[0] < max(counts)
    assert model_type(small.config) == "task-moe"
    small.save(tmp_path / "uneven")
    again = Translator.load(tmp_path / "uneven")
    assert again.config.encoder.experts_by_layer == tuple(counts[:2])
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (small, again)), strict=True):
        assert (a == b).all()
    assert again.translate("a dog", "en", "de", batch_size=1, max_length=4)


def test_stacks_have_budgets_of_their_own(model, statistics):
    small = prune(model, statistics, keep=0.5, encoder_keep=0.75)
    assert (small.config.encoder.experts, small.config.decoder.experts) == (3, 2)
    small = prune(model, statistics, algorithm="separate", encoder_keep=0.5, decoder_keep=1.0)
    assert (small.config.encoder.experts, small.config.decoder.experts) == (2, 4)
    with pytest.raises(WorkbenchError, match=r"One threshold .* one budget"):
        prune(model, statistics, algorithm="global", encoder_keep=0.5)


def test_several_languages_keep_the_union_of_theirs(model, statistics):
    by_key = select_experts(
        model.config, statistics, [EN_DE, EN_CS], keep=0.5, granularity="language"
    )
    assert list(by_key) == ["encoder eng_Latn", "decoder deu_Latn", "decoder ces_Latn"]
    assert list(by_key["encoder eng_Latn"]) == [("encoder", 1)]
    small = prune(model, statistics, [EN_DE, EN_CS], keep=0.5, granularity="language")
    both = {e for key in ("deu_Latn", "ces_Latn") for e in by_key[f"decoder {key}"]["decoder", 1]}
    assert small.provenance["kept_experts"]["decoder"]["1"] == sorted(both)
    assert small.config.encoder.experts == 2


def test_a_stack_routed_by_task_stays_as_it_is():
    model = translator("token", "target")
    small = prune(model, made_up(model.config), keep=0.5)
    assert small.config.encoder.experts == 2
    assert small.config.decoder == model.config.decoder
    model = translator("sentence", "pair")
    assert prune(model, made_up(model.config), keep=0.5).config.encoder.experts == 2


@pytest.mark.parametrize("granularity", ["global", "pair", "language"])
def test_lists_of_kept_experts_come_back(model, statistics, granularity):
    tasks = [EN_DE, DE_EN]
    by_key = select_experts(model.config, statistics, tasks, keep=0.5, granularity=granularity)
    table = json.loads(json.dumps(kept_to_json(by_key, model.config)))
    again = kept_from_json(table, model.config, tasks, "experts.json")
    assert list(again) == ["eng_Latn-deu_Latn", "deu_Latn-eng_Latn"]
    if granularity == "pair":
        assert again == by_key
    elif granularity == "global":
        assert set(table) == {"global"}
        assert again["eng_Latn-deu_Latn"] == by_key["global"]
    else:
        assert set(table) == {"eng_Latn", "deu_Latn"}
        wanted = {**by_key["encoder eng_Latn"], **by_key["decoder deu_Latn"]}
        assert again["eng_Latn-deu_Latn"] == wanted


def test_a_list_is_needed_only_of_a_language_whose_stack_is_pruned():
    shape = translator("token", "target").config
    statistics = made_up(shape)
    by_key = select_experts(shape, statistics, [EN_DE], keep=0.5, granularity="language")
    table = kept_to_json(by_key, shape)
    assert list(table) == ["eng_Latn"]
    again = kept_from_json(table, shape, [EN_DE], "x")
    assert again == {"eng_Latn-deu_Latn": by_key["encoder eng_Latn"]}
    # What is said of a language goes before what is said of all.
    again = kept_from_json({"global": [0, 1], **table}, shape, [EN_DE, DE_EN], "x")
    assert again["eng_Latn-deu_Latn"] == by_key["encoder eng_Latn"]
    assert again["deu_Latn-eng_Latn"] == {("encoder", 1): (0, 1)}


def test_ids_number_the_layers_through_with_the_encoder_first(model):
    kept = {("encoder", 1): (1, 3), ("decoder", 1): (0, 2)}
    assert kept_to_json({"eng_Latn-deu_Latn": kept}, model.config) == {
        "eng_Latn-deu_Latn": [1, 3, 4, 6]
    }
    assert kept_from_json({"en-de": [6, 4, 3, 1]}, model.config, [EN_DE], "x") == {
        "eng_Latn-deu_Latn": kept
    }


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([1, 2], "no list of kept experts"),
        ({"en-de": ["1"]}, "no list of kept experts"),
        ({"en-de": [0, 1, 4, 99]}, "names expert 99; this model's 2 layers of 4 experts"),
        ({"en-cs": [0, 1, 4, 5]}, "no experts for eng_Latn-deu_Latn"),
        ({"en": [0, 1]}, "no experts for eng_Latn-deu_Latn"),
    ],
)
def test_lists_of_other_models_are_refused(model, table, says):
    with pytest.raises(WorkbenchError, match=says):
        kept_from_json(table, model.config, [EN_DE], "x.json")


def test_what_cannot_be_pruned_is_explained(model, statistics):
    with pytest.raises(WorkbenchError, match="it is dense"):
        prune(translator("dense", "dense"), statistics)
    with pytest.raises(WorkbenchError, match="routed by task: extract a task"):
        prune(translator("target", "target"), statistics)
    with pytest.raises(WorkbenchError, match="does not translate deu_Latn-fra_Latn"):
        prune(model, statistics, ["de-fr"])
    with pytest.raises(WorkbenchError, match="leaves 1 of 4"):
        prune(model, statistics, keep=0.2)
    with pytest.raises(WorkbenchError, match="another model"):
        prune(model, made_up(new_translator(stack("token", experts=3), "token").config))
    with pytest.raises(WorkbenchError, match="Unknown algorithm"):
        prune(model, statistics, keep=0.5, algorithm="greedy")
    with pytest.raises(WorkbenchError, match="Unknown granularity"):
        prune(model, statistics, keep=0.5, granularity="sentence")
    for experts, says in (((0,), "router chooses 2"), ((0, 9), "has 4"), ((1, 1), "Cannot keep")):
        with pytest.raises(WorkbenchError, match=says):
            keep_experts(model, {("encoder", 1): experts}, [EN_DE])
    with pytest.raises(WorkbenchError, match="encoder layer 0, which has 0"):
        keep_experts(model, {("encoder", 0): (0, 1)}, [EN_DE])
