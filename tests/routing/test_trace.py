"""The table of routes against what the network itself returns, and usage against the table."""

import dataclasses
import json

import numpy as np
import pytest

from tests.models import EN_DE, captions, translator
from workbench.errors import WorkbenchError
from workbench.routing.gathering import gather_statistics
from workbench.routing.trace import COLUMNS, trace_routes
from workbench.routing.usage import expert_usage

TEXTS = [captions()[0], "", captions()[1], "A dog."]
REFERENCES = [captions("deu_Latn")[0], "", captions("deu_Latn")[1], "Ein Hund."]
KINDS = (("token", "target"), ("sentence", "pair"), ("source", "sentence"))


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def traced(request):
    model = translator(*request.param)
    return model, trace_routes(model, TEXTS, "en", "de", references=REFERENCES)


def direct(model, text, reference):
    """Inputs and routing of one unpadded sentence, from a plain call of the network."""
    source = model.tokenizer.encode_source(text, "eng_Latn")
    target = [2, *model.tokenizer.encode_target(reference, "deu_Latn")[:-1]]
    rows = [np.array([row], np.int32) for row in model.config.task_ids(EN_DE)]
    arrays = [np.array([ids], np.int32) for ids in (source, target)]
    return {"encoder": source, "decoder": target}, model.network(*arrays, *rows)[1]


def test_columns_are_those_of_the_contract(traced):
    _, routes = traced
    frame = routes.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert (
        *("sentence", "task", "stack", "layer", "position", "token", "rank", "expert", "gate"),
    ) == COLUMNS
    assert set(frame["task"]) == {"eng_Latn-deu_Latn"}
    assert not frame.isna().any().any()


def test_every_row_is_what_the_network_decided(traced):
    model, routes = traced
    frame = routes.to_frame()
    for number in (0, 2, 3):
        inputs, routing = direct(model, TEXTS[number], REFERENCES[number])
        for stack, ids in inputs.items():
            part = frame[(frame["sentence"] == number) & (frame["stack"] == stack)]
            assert len(part) == 2 * len(ids)  # one layer, two experts, no padding
            assert set(part["layer"]) == {1}
            assert part["position"].tolist() == np.repeat(np.arange(len(ids)), 2).tolist()
            assert part["rank"].tolist() == [0, 1] * len(ids)
            names = [model.tokenizer.token(i) for i in ids for _ in range(2)]
            assert part["token"].astype(str).tolist() == names
            wanted = routing[stack][0].spread(len(ids))
            assert part["expert"].tolist() == np.asarray(wanted.experts).reshape(-1).tolist()
            np.testing.assert_allclose(
                part["gate"], np.asarray(wanted.gates).reshape(-1), atol=2e-5
            )


def test_gates_fall_with_rank_and_sum_to_one(traced):
    frame = traced[1].to_frame()
    gates = frame["gate"].to_numpy().reshape(-1, 2)
    assert (gates[:, 0] >= gates[:, 1]).all()
    np.testing.assert_allclose(gates.sum(axis=1), 1, atol=1e-5)


def test_blank_sentences_have_no_rows(traced):
    _, routes = traced
    assert set(routes.to_frame()["sentence"]) == {0, 2, 3}
    assert routes.sources == tuple(TEXTS)
    assert routes.translations == tuple(REFERENCES)


def test_pairs_without_a_reference_are_not_counted():
    model = translator("token", "target")
    half = (TEXTS, [REFERENCES[0], *[" "] * (len(TEXTS) - 1)])
    routes = trace_routes(model, half[0], "en", "de", half[1])
    assert set(routes.to_frame()["sentence"]) == {0}
    found = gather_statistics(model, {"en-de": half})
    alone = gather_statistics(model, {"en-de": (TEXTS[:1], REFERENCES[:1])})
    np.testing.assert_allclose(found.mean, alone.mean, atol=1e-6)


def test_a_sentence_has_one_decision_a_layer_unless_tokens_decide():
    frame = trace_routes(translator("sentence", "pair"), TEXTS, "en", "de", REFERENCES).to_frame()
    first = frame[frame["rank"] == 0].groupby(["sentence", "stack"], observed=True)["expert"]
    assert first.nunique().max() == 1
    frame = trace_routes(translator("token", "target"), TEXTS, "en", "de", REFERENCES).to_frame()
    encoder = frame[(frame["rank"] == 0) & (frame["stack"] == "encoder")]
    assert encoder.groupby("sentence")["expert"].nunique().max() > 1


def test_without_references_its_own_translations_are_traced():
    model = translator("token", "target")
    routes = trace_routes(model, TEXTS, "en", "de", batch_size=8)
    outputs = model.translate(TEXTS, "en", "de", batch_size=8)
    assert routes.translations == tuple(outputs)
    decoder = routes.to_frame().query("stack == 'decoder' and rank == 0 and sentence == 0")
    read = ("</s>", "deu_Latn", *outputs[0].tokens)
    assert tuple(decoder["token"].astype(str)) == read[:64][: len(decoder)]
    assert len(decoder) == min(len(read) - 1, 64)


def test_batching_does_not_change_the_table():
    model = translator("token", "target")
    one = trace_routes(model, TEXTS, "en", "de", REFERENCES, batch_size=1).to_frame()
    four = trace_routes(model, TEXTS, "en", "de", REFERENCES, batch_size=4).to_frame()
    assert one.drop(columns="gate").astype(str).equals(four.drop(columns="gate").astype(str))
    np.testing.assert_allclose(one["gate"], four["gate"], atol=2e-5)


def test_progress_counts_sentences_that_are_not_blank():
    seen = []
    model = translator("token", "target")
    trace_routes(model, TEXTS, "en", "de", REFERENCES, progress=lambda *done: seen.append(done))
    assert seen == [(3, 3)]
    seen.clear()
    trace_routes(model, TEXTS, "en", "de", progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (3, 3)]


def test_sentences_that_are_cut_are_named():
    model = translator("token", "target")
    long = "a dog " * 40
    routes = trace_routes(model, ["A dog.", long], "en", "de", references=["Ein Hund.", "x"])
    assert routes.cut == (1,)
    assert routes.to_frame().query("sentence == 1 and stack == 'encoder'")["position"].max() == 63
    both = routes + trace_routes(model, [long], "en", "de", references=["x"])
    assert both.cut == (1, 2)


def test_a_text_translated_in_parts_is_traced_in_parts():
    model = translator("token", "token")
    first, second = "A dog runs over the grass. " * 5, "Two men sit on a bench. " * 5
    text = (first + second).strip()
    (made,) = model.translate([text], "en", "de", max_length=12)
    assert len(made.parts) > 1
    routes = trace_routes(model, ["A cat.", text], "en", "de", references=["Eine Katze.", made])
    assert routes.cut == ()
    whole = routes.to_frame().query("sentence == 1")
    pieces, owners = model._pieces([text], "eng_Latn", by_sentence=False)
    assert owners == [0] * len(made.parts)
    at = {"encoder": 0, "decoder": 0}
    keys = ["layer", "position", "rank"]
    for ids, (read, written) in zip(pieces, made.parts, strict=True):
        assert tuple(ids) == read
        part = model.tokenizer.decode(read[1:-1])
        alone = model.translate([part], "en", "de", max_length=12)
        assert alone[0].token_ids == written
        frame = trace_routes(model, [part], "en", "de", references=alone).to_frame()
        for stack, rows in frame.groupby("stack", observed=True):
            length = int(rows["position"].max()) + 1
            here = whole[
                (whole["stack"] == stack)
                & whole["position"].between(at[stack], at[stack] + length - 1)
            ]
            here, rows = (f.sort_values(keys, ignore_index=True) for f in (here, rows))
            assert list(here["token"]) == list(rows["token"])
            assert list(here["expert"]) == list(rows["expert"])
            np.testing.assert_allclose(here["gate"], rows["gate"], atol=1e-5)
            at[stack] += length
    assert max(whole["position"]) + 1 == max(at.values())


def test_the_table_is_ones_own():
    routes = trace_routes(translator("token", "target"), TEXTS[:1], "en", "de")
    before = expert_usage(routes).counts
    frame = routes.to_frame()
    frame["expert"] = 0
    frame["layer"] += 1
    assert (expert_usage(routes).counts == before).all()


def test_nothing_but_blanks_is_an_empty_table():
    routes = trace_routes(translator("token", "target"), ["", " "], "en", "de")
    assert tuple(routes.to_frame().columns) == COLUMNS
    assert len(routes.to_frame()) == 0
    assert expert_usage(routes).counts.sum() == 0
    some = trace_routes(translator("token", "target"), TEXTS, "en", "de", REFERENCES)
    for both in (routes + some, some + routes, routes + routes):
        assert list(both.to_frame().dtypes.map(str)) == list(some.to_frame().dtypes.map(str))
    moved = (routes + some).to_frame().assign(sentence=lambda frame: frame["sentence"] - 2)
    assert moved.astype(str).equals(some.to_frame().astype(str))


def test_errors_say_what_is_wrong():
    with pytest.raises(WorkbenchError, match="dense: it has no experts"):
        trace_routes(translator("dense", "dense"), TEXTS, "en", "de")
    with pytest.raises(WorkbenchError, match="4 sources but 1 reference"):
        trace_routes(translator("token", "target"), TEXTS, "en", "de", references=["a"])
    with pytest.raises(WorkbenchError, match="model is None: give a loaded model"):
        trace_routes(None, TEXTS, "en", "de")
    with pytest.raises(WorkbenchError, match="routes is None: give what trace_routes returns"):
        expert_usage(None)
    with pytest.raises(WorkbenchError, match="does not translate deu_Latn-fra_Latn"):
        trace_routes(translator("token", "target"), TEXTS, "de", "fr")


@pytest.fixture(scope="module")
def joined():
    """English to German, then English to Czech with one sentence."""
    model = translator("token", "target")
    first = trace_routes(model, TEXTS, "en", "de", REFERENCES)
    second = trace_routes(model, TEXTS[:1], "en", "cs", captions("ces_Latn")[:1])
    return first, second, first + second


def test_joined_routes_number_their_sentences_on(joined):
    first, second, both = joined
    assert len(both.to_frame()) == len(first.to_frame()) + len(second.to_frame())
    assert set(both.to_frame()["sentence"]) == {0, 2, 3, 4}
    assert [str(task) for task in both.tasks] == ["eng_Latn-deu_Latn", "eng_Latn-ces_Latn"]
    assert both.sources == (*TEXTS, TEXTS[0])
    rows = [each.to_frame()["token"].astype(str) for each in joined]
    assert [*rows[0], *rows[1]] == list(rows[2])
    other = dataclasses.replace(second, experts={"encoder": 9, "decoder": 4})
    with pytest.raises(WorkbenchError, match="different experts"):
        first + other


def test_usage_counts_what_the_table_says(joined):
    *_, both = joined
    usage, frame = expert_usage(both), both.to_frame()
    assert usage.layers == (("encoder", 1), ("decoder", 1))
    assert usage.experts == (4, 4)
    assert usage.counts.shape == usage.weights.shape == (2, 2, 4)
    for t, task in enumerate(usage.tasks):
        for i, (stack, layer) in enumerate(usage.layers):
            chosen = (frame["task"] == task) & (frame["stack"] == stack) & (frame["layer"] == layer)
            part = frame[chosen]
            assert usage.tokens[t, i] == len(part) / 2
            for expert in range(4):
                own = part[part["expert"] == expert]
                assert usage.counts[t, i, expert] == len(own)
                assert usage.weights[t, i, expert] == pytest.approx(own["gate"].sum(), rel=1e-5)
    # Two experts a token, whose gates sum to one.
    np.testing.assert_allclose(usage.counts.sum(axis=2), 2 * usage.tokens)
    np.testing.assert_allclose(usage.weights.sum(axis=2), usage.tokens, rtol=1e-5)


def test_usage_as_a_table_and_as_json(joined):
    *_, both = joined
    usage = expert_usage(both)
    frame = usage.to_frame()
    assert len(frame) == 2 * 2 * 4
    sums = frame.groupby(["task", "stack", "layer"])[["share", "gate"]].sum()
    np.testing.assert_allclose(sums["share"], 2)
    np.testing.assert_allclose(sums["gate"], 1, rtol=1e-5)
    table = json.loads(usage.to_json())
    assert table["tasks"] == ["eng_Latn-deu_Latn", "eng_Latn-ces_Latn"]
    for layer in table["layers"]:
        for shares in layer["share"].values():
            assert sum(shares) == pytest.approx(2, abs=1e-5)


def test_experts_assigned_by_hand_are_traced_and_counted():
    model = translator("dense", "static-target")
    routes = trace_routes(model, TEXTS, "en", "de", references=REFERENCES)
    frame = routes.to_frame()
    assert frame["expert"].tolist() == [2, 3] * (len(frame) // 2)
    assert (frame["gate"] == 0.5).all()
    usage = expert_usage(routes)
    assert (usage.counts / usage.tokens[..., None])[0, 0].tolist() == [0, 0, 1, 1]
