"""Statistics of gates against the network's own probabilities, and as they come from tables."""

import dataclasses
import json

import numpy as np
import pytest

from tests.models import EN_DE, captions, new_translator, stack, translator
from workbench.errors import WorkbenchError
from workbench.routing.gathering import gather_statistics
from workbench.routing.statistics import COLUMNS, read_statistics, statistics_of
from workbench.routing.trace import trace_routes
from workbench.routing.usage import expert_usage
from workbench.tasks import Task

TEXTS = [captions()[0], "", captions()[1], "A dog."]
REFERENCES = [captions("deu_Latn")[0], "", captions("deu_Latn")[1], "Ein Hund."]
EN_CS = Task("eng_Latn", "ces_Latn")


@pytest.fixture(scope="module")
def model():
    return translator("token", "target")


@pytest.fixture(scope="module")
def statistics(model):
    corpus = {EN_DE: (TEXTS, REFERENCES), EN_CS: (TEXTS[:1], ["Pes."])}
    return gather_statistics(model, corpus, batch_size=2, products=True)


def test_they_are_the_means_of_the_networks_probabilities(model, statistics):
    probabilities, logits = [], []
    for text, reference in zip(TEXTS, REFERENCES, strict=True):
        if not text:
            continue
        source = model.tokenizer.encode_source(text, "eng_Latn")
        target = [2, *model.tokenizer.encode_target(reference, "deu_Latn")[:-1]]
        rows = [np.array([row], np.int32) for row in model.config.task_ids(EN_DE)]
        arrays = [np.array([ids], np.int32) for ids in (source, target)]
        routing = model.network(*arrays, *rows)[1]["encoder"][0]
        probabilities.append(np.asarray(routing.probabilities[0], np.float64))
        logits.append(np.asarray(routing.logits[0], np.float64))
    every, logits = np.concatenate(probabilities), np.concatenate(logits)
    order = np.argsort(-every, axis=1)
    for expert in range(4):
        first, best = order[:, 0] == expert, (order[:, :2] == expert).any(axis=1)
        wanted = {
            "top1": first.mean(),
            "top2": best.mean(),
            "conf1": every[first, expert].mean() if first.any() else 0,
            "conf2": every[best, expert].mean() if best.any() else 0,
            "mean": every[:, expert].mean(),
        }
        for column, value in wanted.items():
            assert getattr(statistics, column)[0, 0, expert] == pytest.approx(value, abs=1e-5)
    np.testing.assert_allclose(
        statistics.products[0, 0], logits.T @ logits / len(logits), rtol=1e-3, atol=1e-4
    )


def test_a_task_router_is_sure_of_its_choice(statistics):
    assert statistics.layers == (("encoder", 1), ("decoder", 1))
    assert sorted(statistics.top1[0, 1].tolist()) == [0, 0, 0, 1]
    np.testing.assert_allclose(statistics.mean[0, 1].sum(), 1, rtol=1e-5)


def test_without_references_the_models_own_translations_are_read(model):
    found = gather_statistics(model, {EN_DE: (TEXTS, None)}, batch_size=8)
    own = model.translate(TEXTS, "en", "de", batch_size=8)
    usage = statistics_of(expert_usage(trace_routes(model, TEXTS, "en", "de", own)))
    assert found.origin == "translations"
    np.testing.assert_allclose(found.top1, usage.top1, atol=1e-6)
    np.testing.assert_allclose(found.top2, usage.top2, atol=1e-6)


def test_a_usage_table_says_the_same_of_choices_in_hand_and_on_disk(model, statistics):
    routes = trace_routes(model, TEXTS, "en", "de", REFERENCES)
    routes += trace_routes(model, TEXTS[:1], "en", "cs", ["Pes."])
    usage = expert_usage(routes)
    in_hand = statistics_of(usage)
    on_disk = read_statistics(json.loads(usage.to_json()), model.config, "usage.json")
    for found in (in_hand, on_disk):
        np.testing.assert_allclose(found.top1, statistics.top1, atol=1e-5)
        np.testing.assert_allclose(found.top2, statistics.top2, atol=1e-5)
        assert found.gates == "renormalised"
    for column in COLUMNS:
        np.testing.assert_allclose(
            getattr(in_hand, column), getattr(on_disk, column), atol=1e-4, err_msg=column
        )
    assert (in_hand.conf1[in_hand.top1 > 0] >= 0.5).all()  # the better of two that sum to one


def test_the_interchange_form_comes_back(model, statistics):
    table = json.loads(json.dumps(statistics.to_json()))
    assert list(table) == ["eng_Latn-deu_Latn", "eng_Latn-ces_Latn"]
    assert set(table["eng_Latn-deu_Latn"]) == {*COLUMNS, "rank"}
    # id = number of the layer x experts + expert: the decoder's layer is the second.
    assert table["eng_Latn-deu_Latn"]["top1"][4:] == statistics.top1[0, 1].tolist()
    assert sorted(table["eng_Latn-deu_Latn"]["rank"][:4]) == [0, 1, 2, 3]
    table["en-xx"] = table["eng_Latn-deu_Latn"]  # a language that this model does not have
    again = read_statistics(table, model.config, "statistics.json")
    assert again.tasks == statistics.tasks
    for column in COLUMNS:
        np.testing.assert_allclose(getattr(again, column), getattr(statistics, column), atol=1e-8)


def test_layers_with_fewer_experts_have_zeros_beyond():
    uneven = dataclasses.replace(
        stack("token", layers=3, expert_layers=(0, 2)), experts_by_layer=(2, 4)
    )
    model = new_translator(uneven, "dense")
    found = gather_statistics(model, {EN_DE: (TEXTS, REFERENCES)}, batch_size=8, products=True)
    assert found.experts == (2, 4)
    np.testing.assert_allclose(found.top1.sum(axis=2), 1, rtol=1e-5)
    assert found.mean[0, 0, 2:].tolist() == [0, 0]
    assert found.products.shape == (1, 2, 4, 4)
    usage = expert_usage(trace_routes(model, TEXTS, "en", "de", REFERENCES))
    assert usage.experts == (2, 4)
    np.testing.assert_allclose(statistics_of(usage).top1, found.top1, atol=1e-6)


def test_other_models_and_damaged_tables_are_refused(model, statistics):
    table = statistics.to_json()
    other = translator("token", "token")
    smaller = new_translator(stack("token", experts=3), "dense")
    with pytest.raises(WorkbenchError, match=r"another model: of encoder layer 1 \(4\)"):
        statistics.check(smaller.config)
    with pytest.raises(WorkbenchError, match=r"another model: 8 values .* have 3"):
        read_statistics(table, smaller.config, "x.json")
    short = {k: {c: v[:-1] for c, v in row.items()} for k, row in table.items()}
    with pytest.raises(WorkbenchError, match="another model: 7 values"):
        read_statistics(short, other.config, "x.json")
    with pytest.raises(WorkbenchError, match="no 'mean'"):
        read_statistics(
            {k: {c: v for c, v in row.items() if c != "mean"} for k, row in table.items()},
            model.config,
            "x.json",
        )
    bad = json.loads(json.dumps(table))
    bad["eng_Latn-deu_Latn"]["top1"][0] = -1
    with pytest.raises(WorkbenchError, match="negative or no numbers"):
        read_statistics(bad, model.config, "x.json")
    for nonsense in ([], {}, {"a": {}}, {"layers": 3, "tasks": []}):
        with pytest.raises(WorkbenchError):
            read_statistics(nonsense, model.config, "x.json")
    with pytest.raises(WorkbenchError, match="no statistics of deu_Latn-eng_Latn"):
        statistics.rows(["deu_Latn-eng_Latn"])


def test_there_must_be_something_to_gather(model):
    with pytest.raises(WorkbenchError, match="dense"):
        gather_statistics(translator("dense", "dense"), {EN_DE: (TEXTS, REFERENCES)})
    with pytest.raises(WorkbenchError, match="no sentence of eng_Latn-deu_Latn"):
        gather_statistics(model, {EN_DE: (["", " "], None)})
    with pytest.raises(WorkbenchError, match="4 sources but 1"):
        gather_statistics(model, {EN_DE: (TEXTS, REFERENCES[:1])})
