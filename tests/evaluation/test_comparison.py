"""Speed and comparison: what is measured, and the tables that come of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.models import captions, translator
from workbench.decoding.system import Translation
from workbench.errors import WorkbenchError
from workbench.evaluation.comparison import Comparison, compare, significance
from workbench.evaluation.quality import Scores, score
from workbench.evaluation.repetition import IN_WORDS
from workbench.evaluation.sentences import differing_sentences
from workbench.evaluation.speed import benchmark
from workbench.evaluation.tables import latex_table, text_table
from workbench.evaluation.testset import TestSet, load_testset
from workbench.tasks import Task


def test_speed_measures_every_system_and_size_without_compiling() -> None:
    models = [translator(), translator("target", "target")]
    seen: list[tuple[int, int]] = []
    speeds = benchmark(
        models,
        (1, 4),
        source="en",
        target="de",
        batches=3,
        max_length=6,
        progress=lambda *at: seen.append(at),
    )
    compiled = [model.programs.compiled for model in models]
    frame = speeds.to_frame()
    assert [*zip(frame["batch_size"], frame["system"], strict=True)] == [
        (size, name) for size in (1, 4) for name in ("dense-dense", "target-target")
    ]
    assert (frame["p50_ms"] <= frame["p95_ms"]).all()
    assert (frame["p50_ms"] > 0).all()
    assert seen == [(n, 12) for n in range(1, 13)]
    again = benchmark(models, (1, 4), source="en", target="de", batches=3, max_length=6)
    assert [model.programs.compiled for model in models] == compiled
    assert (again.to_frame()["compile_seconds"] == 0).all()
    written = sum(
        len(t.token_ids) for t in models[0].translate(captions()[:3], "en", "de", max_length=6)
    )
    one = speeds.speeds[0]
    assert one.tokens_per_second / one.sentences_per_second == pytest.approx(written / 3)
    assert (one.task, one.device, one.dtype, one.beam) == ("eng_Latn-deu_Latn", "cpu", "float32", 1)


def test_a_batch_that_compiles_after_all_is_timed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = translator(), 0
    translate = model.translate

    def late(*given: Any, **options: Any) -> list[Translation]:
        nonlocal calls
        calls += 1
        found = translate(*given, **options)
        if calls == 6:  # three that compile, one that warms up, and the second that is timed
            time.sleep(0.3)
            found[0].compile_seconds = 0.3
        return found

    monkeypatch.setattr(model, "translate", late)
    [one] = benchmark(model, 1, source="en", target="de", batches=3, max_length=6).speeds
    assert (calls, one.batches) == (8, 3)
    assert one.p95_ms < 300 <= 1000 * one.compile_seconds


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_sizes": (0,)}, "at least 1"),
        ({"sentences": ["", " "]}, "blank"),
        ({"source": "en"}, "both its source and its target"),
    ],
)
def test_speed_refuses_what_it_cannot_measure(arguments: dict, says: str) -> None:
    with pytest.raises(WorkbenchError, match=says):
        benchmark(translator(), **arguments)


def test_a_comparison_in_its_three_forms() -> None:
    models = [translator(), translator("target", "target")]
    testset = load_testset("captions", "en-de", limit=8)
    comparison = compare(models, testset, batch_sizes=(1, 4), batches=2, batch_size=8, max_length=6)
    frame = comparison.to_frame()
    assert frame["p_value"].isna().tolist() == [True, True, False, False]
    assert (
        frame["memory_bytes"].iloc[0] == models[0].weight_bytes == 4 * frame["parameters"].iloc[0]
    )
    assert frame["disk_bytes"].isna().all()
    table = json.loads(comparison.render("json"))
    assert table["scores"][0]["disk_bytes"] is None
    assert table["baseline"] == "dense-dense"
    assert table["scores"][0]["p_value"] is None
    assert len(table["scores"]) == len(table["speeds"]) == 4
    text = comparison.render()
    assert "p50 ms ×1" in text and "sentences/s ×4" in text
    assert "BLEU: nrefs:1|bs:1000" in text
    # One name in all tables; data have sacreBLEU's.
    assert "chrF++" in text and "chrF2++" not in text
    assert "chrF2++" in {row["metric"] for row in table["scores"]}
    latex = comparison.render("latex")
    assert r"eng\_Latn-deu\_Latn & " in latex
    assert latex.endswith("\\bottomrule\n\\end{tabular}")


def test_equal_systems_never_differ_and_unlike_ones_do() -> None:
    references = tuple(f"number {n} of the sentences is here ." for n in range(60))
    testset = TestSet("x", Task("deu_Latn", "eng_Latn"), references, references)
    worse = tuple(text.replace("is", "was") if n % 2 else text for n, text in enumerate(references))
    systems = {"base": worse, "same": worse, "good": references, "stuck": ("no no no",) * 60}
    scores = Scores(
        tuple(one for name, texts in systems.items() for one in score(name, testset, texts)),
        (testset,),
        {name: (tuple(map(_Text, texts)),) for name, texts in systems.items()},  # type: ignore[arg-type]
    )
    found = significance(scores)
    assert found["same", 0, "BLEU"] == 1.0
    assert found["good", 0, "BLEU"] < 0.01
    # The p-values of the one table are those of the other.
    comparison = Comparison(scores, found, None, dict.fromkeys(systems, 1))
    text = comparison.render()
    assert text.splitlines()[0].split()[-2:] == ["repetition", "parameters"]
    assert IN_WORDS in text and "100.0%" in text
    assert (
        comparison.to_frame()["p_value"].dropna().tolist()
        == comparison.differences()["p_value"].tolist()
    )


def test_test_sets_of_one_name_are_told_apart() -> None:
    first, second = (
        TestSet("test.tsv", "en-de", captions()[part], captions("deu_Latn")[part])  # type: ignore[arg-type]
        for part in (slice(2), slice(2, 5))
    )
    models = [translator(), translator("target", "target")]
    metrics = (name for name in ("bleu", "chrf++"))
    comparison = compare(models, (first, second), metrics, (), max_length=6)  # type: ignore[arg-type]
    frame = comparison.to_frame()
    assert frame["testset"].tolist() == (["test.tsv"] * 2 + ["test.tsv (2)"] * 2) * 2
    assert frame["p_value"].notna().sum() == 4
    lines = comparison.render().splitlines()
    assert "eng_Latn-deu_Latn (test.tsv (2))" in lines[2]
    assert "Test set test.tsv (2): 3 sentences a task." in lines
    assert set(differing_sentences(comparison.scores)["testset"]) == {"test.tsv", "test.tsv (2)"}


class _Text(str):
    @property
    def text(self) -> str:
        return str(self)


def test_tables_align_wide_letters_and_escape() -> None:
    assert text_table(("a", "n"), [("水坑", "1"), ("x", "22")]).splitlines() == [
        "a      n",
        "水坑   1",
        "x     22",
    ]
    assert r"50\% \& a\_b & 1 $\pm$ 2 \\" in latex_table(("a", "b"), [("50% & a_b", "1 ± 2")])
