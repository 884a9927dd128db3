"""One thing or many, and tasks as text, wherever a user may give them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from tests.models import EN_DE, captions, made_up, translator
from workbench.arguments import as_count, as_list, as_texts
from workbench.languages import find_language
from workbench.routing.projection import sentence_gates
from workbench.routing.statistics import read_statistics
from workbench.subnetworks.extract import checked_tasks
from workbench.subnetworks.prune import chosen_tasks

PAIR = wb.TestSet("two", EN_DE, captions()[:2], captions("deu_Latn")[:2])


@pytest.mark.parametrize("many", [["a", "b"], ("a", "b"), (text for text in "ab")])
def test_many_keep_their_order(many: Any) -> None:
    assert as_texts(many, "sentences") == ["a", "b"]
    assert as_texts("ab", "sentences") == ["ab"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "sentences is None: give a text, or a list of them"),
        (5, r"sentences is 5 \(int\)"),
        (b"a", r"sentences is b'a' \(bytes\)"),
        ({"a"}, "sentences is a set, which has no order"),
        ({"a": 1}, "sentences is a dict, which has no order"),
        (["a", None], r"sentences\[1\] is None: it must be a text"),
        (["a", "b", float("nan")], r"sentences\[2\] is nan \(float\)"),
    ],
)
def test_anything_else_is_named(given: Any, says: str) -> None:
    with pytest.raises(wb.WorkbenchError, match=says):
        as_list(given, str, "sentences", "a text")


@pytest.mark.parametrize("given", [0, -1, 2.0, "4", None, True])
def test_a_count_is_a_whole_number(given: object) -> None:
    with pytest.raises(wb.WorkbenchError, match=r"beam_size is .*whole number, at least 1"):
        as_count(given, "beam_size")


def test_one_task_is_a_task_and_not_its_characters() -> None:
    assert checked_tasks(translator("target", "target").config, "en-de") == [EN_DE]
    assert chosen_tasks(translator("token", "token").config, EN_DE) == [EN_DE]
    parent = translator("token", "token")
    part = wb.prune(parent, made_up(parent.config), tasks="en-de", keep=0.5)
    assert part.config.tasks == (EN_DE,)
    with pytest.raises(wb.WorkbenchError, match=r"tasks\[0\] is 5 \(int\): it must be a task"):
        wb.extract(translator("target", "target"), [5])  # type: ignore[list-item]


def test_one_metric_one_model_and_one_test_set() -> None:
    scores = wb.evaluate(translator(), PAIR, "bleu", resamples=0)
    assert [score.metric for score in scores.scores] == ["BLEU"]
    found = wb.report(translator(), translator(), PAIR, resamples=0)
    assert found.sentences == 2
    for call in (wb.evaluate, wb.benchmark):
        with pytest.raises(wb.WorkbenchError, match=r"models is 'a'.*give a loaded model"):
            call("a", PAIR)  # type: ignore[operator]


def test_one_batch_size_and_one_sentence() -> None:
    speeds = wb.benchmark(translator(), 1, "a dog", "en", "de", batches=1)
    assert [speed.batch_size for speed in speeds.speeds] == [1]


@pytest.mark.parametrize("given", [0, "4", 1.5, None, True])
def test_batches_and_their_sizes_are_counts(given: Any) -> None:
    with pytest.raises(wb.WorkbenchError, match=r"^batches is .*whole number, at least 1"):
        wb.benchmark(translator(), 1, batches=given)
    with pytest.raises(wb.WorkbenchError, match=r"^batch_sizes(\[0\])? is .*a whole number"):
        wb.benchmark(translator(), [given])
    with pytest.raises(wb.WorkbenchError, match="no batch size to measure"):
        wb.benchmark(translator(), [])


@pytest.mark.parametrize("given", [0, 1.5, "0.2", None, True, float("nan")])
def test_what_is_kept_is_a_fraction(given: Any) -> None:
    model = translator("token", "token")
    for smaller in (wb.prune, wb.merge):
        with pytest.raises(wb.WorkbenchError, match=r"^keep is .*above 0 and up to 1"):
            smaller(model, made_up(model.config), keep=given)
    if given is not None:
        with pytest.raises(wb.WorkbenchError, match=r"^decoder_keep is .*above 0 and up to 1"):
            wb.prune(model, made_up(model.config), decoder_keep=given, keep=0.5)


@pytest.mark.parametrize("given", [None, "a.json", {}])
def test_what_is_no_model_and_no_statistics_is_named(given: Any) -> None:
    token, target = translator("token", "token"), translator("target", "target")
    for smaller in (wb.prune, wb.merge):
        with pytest.raises(wb.WorkbenchError, match=r"^usage is .*give statistics, as gather_stat"):
            smaller(token, given, keep=0.5)
        with pytest.raises(wb.WorkbenchError, match=r"^model is .*give a loaded model"):
            smaller(given, made_up(token.config), keep=0.5)
    with pytest.raises(wb.WorkbenchError, match=r"^model is .*give a loaded model"):
        wb.extract(given, "en-de")
    with pytest.raises(wb.WorkbenchError, match=r"^small is .*give a loaded model"):
        wb.prove(target, given, "a dog", "en-de")


def test_statistics_of_a_network_of_another_name_are_told() -> None:
    """The shapes are alike, so that nothing else would tell."""
    one, other = translator("token", "token"), translator("sentence", "sentence")
    usage = wb.expert_usage(wb.trace_routes(one, "a dog", "en", "de", "ein Hund"))
    assert (usage.model, json.loads(usage.to_json())["model"]) == (one.name, one.name)
    for smaller in (wb.prune, wb.merge):
        with pytest.warns(UserWarning, match=f"with {one.name}, not with {other.name}"):
            smaller(other, usage, keep=0.5)
    table = json.loads(usage.to_json())
    assert read_statistics(table, one.config, "usage.json").model == one.name
    routes = [wb.trace_routes(m, "a dog", "en", "de", "ein Hund") for m in (one, other)]
    with pytest.raises(wb.WorkbenchError, match="Routes of token-token and of sentence-sentence"):
        routes[0] + routes[1]
    with pytest.raises(wb.WorkbenchError, match="what is added is None: give routes"):
        routes[0] + None


@pytest.mark.parametrize("given", [None, 3, b"x"])
def test_where_to_save_is_a_path(given: Any) -> None:
    with pytest.raises(wb.WorkbenchError, match=r"^directory is .*give a path"):
        translator("dense", "dense").save(given)


@pytest.mark.parametrize("given", ["x", 2.5, -1, None, True])
def test_resamples_are_looked_at_before_anything_is_translated(given: Any) -> None:
    def progress(done: int, total: int) -> None:
        raise AssertionError

    with pytest.raises(wb.WorkbenchError, match=r"^resamples is .*whole number, 0 or more"):
        wb.evaluate(translator("dense"), PAIR, "bleu", resamples=given, progress=progress)


def test_a_data_frame_is_no_list_of_sentences() -> None:
    with pytest.raises(wb.WorkbenchError, match="sentences is a DataFrame: give one of its col"):
        translator("dense").translate(pd.DataFrame({"en": ["a dog"]}), "en", "de")


@pytest.mark.parametrize("given", [None, 5, b"captions"])
def test_what_is_no_name_is_named(given: Any) -> None:
    with pytest.raises(wb.WorkbenchError, match="is no checkpoint: give its directory"):
        wb.load(given)
    with pytest.raises(wb.WorkbenchError, match=r"^name_or_path is .*name of a test set, or a"):
        wb.load_testset(given, "en-de")
    with pytest.raises(wb.WorkbenchError, match=r"is not a language: give text, e\.g\. en"):
        find_language(given)
    with pytest.raises(wb.WorkbenchError, match=r"is not a task. Give text such as en-de"):
        wb.parse_task(given)


@pytest.mark.parametrize("given", [None, "routes.parquet", pd.DataFrame({"expert": [1]})])
def test_what_is_no_routes_is_named(given: Any) -> None:
    for look in (
        *(wb.expert_usage, wb.specialization, wb.layer_flow, wb.coactivation, wb.favourite_tokens),
        lambda routes: sentence_gates(routes, "encoder", 1),
    ):
        with pytest.raises(wb.WorkbenchError, match=r"^routes is .*give what trace_routes returns"):
            look(given)


def test_numbers_that_an_analysis_cannot_use_are_named() -> None:
    routes = wb.trace_routes(translator("token", "token"), "a dog", "en", "de", "ein Hund")
    for given in (0, 1.5, "2"):
        for name in ("most", "least"):
            with pytest.raises(wb.WorkbenchError, match=f"^{name} is .*at least 1"):
                wb.favourite_tokens(routes, **{name: given})
    for look in (wb.specialization, wb.layer_flow):
        with pytest.raises(wb.WorkbenchError, match=r"^seed is .*0 or more"):
            look(routes, seed="x")  # type: ignore[operator]


def test_one_reference() -> None:
    routes = wb.trace_routes(translator("token", "token"), "a dog", "en", "de", "ein Hund")
    assert routes.translations == ("ein Hund",)


@pytest.mark.parametrize(
    "corpus", [PAIR, {"en-de": PAIR}, {EN_DE: (PAIR.sources, PAIR.references)}]
)
def test_statistics_of_a_test_set(corpus: Any) -> None:
    found = wb.gather_statistics(translator("token", "token"), corpus)
    assert (found.tasks, found.origin) == (("eng_Latn-deu_Latn",), "references")


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        ({}, "must be a TestSet, or a mapping"),
        (["a"], "must be a TestSet, or a mapping"),
        ({"en-de": ["a", "b", "c"]}, "lines of eng_Latn-deu_Latn must be a TestSet or a pair"),
        ({"en-de": ("a", "b")}, "must be a TestSet or a pair"),
        ({"en-fr": PAIR}, "two is a test set of eng_Latn-deu_Latn, not of eng_Latn-fra_Latn"),
        ({"en-de": (["a", 1], None)}, r"sources\[1\] is 1"),
        ({"en-de": PAIR, EN_DE: PAIR}, "has eng_Latn-deu_Latn twice: join its lines"),
    ],
)
def test_what_is_no_corpus_is_explained(corpus: Any, says: str) -> None:
    with pytest.raises(wb.WorkbenchError, match=says):
        wb.gather_statistics(translator("token", "token"), corpus)


def test_results_are_equal_to_themselves_alone_and_their_text_is_one_line() -> None:
    model = translator("token", "token")
    shown = (
        "Translator(token-token: 6 directions, encoder routed by token, decoder routed by token, "
    )
    assert repr(model).startswith(shown)
    routes = wb.trace_routes(model, "a dog", "en", "de", "ein Hund")
    usage, statistics = wb.expert_usage(routes), made_up(model.config)
    assert repr(routes).startswith(
        "Routes(1 sentence of eng_Latn-deu_Latn, 2 layers with experts, "
    )
    assert repr(usage) == "Usage(1 task, 2 layers of 4 experts)"
    assert repr(statistics) == "Statistics(6 tasks, 2 layers of 4 experts, of references)"
    assert repr(PAIR) == "TestSet(two, eng_Latn-deu_Latn, 2 sentences)"
    scores = wb.evaluate(model, PAIR, "bleu", resamples=0)
    comparison = wb.Comparison(scores, {}, None, {"token-token": 1})
    assert repr(comparison) == f"Comparison(1 system, of {scores!r})"
    with pytest.raises(wb.WorkbenchError, match=r"no form 'html'\. Accepted: text, json, latex"):
        comparison.render("html")  # type: ignore[arg-type]
    for result in (routes, usage, statistics, scores, comparison):
        assert result == result
        assert len({result, result}) == 1
