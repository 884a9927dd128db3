"""`workbench distill`: from a teacher to a student with its report, through an interrupt."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.cli.conftest import Run
from tests.models import captions, new_translator, tiny_tokenizer
from workbench.decoding.translator import Translator
from workbench.text.pairs import read_pairs
from workbench.training.distillation import Distillation
from workbench.training.lock import held, is_held
from workbench.training.recipe import read_recipe

RECIPE = """
name = "student"
[data]
directory = "data"
languages = ["en", "de"]
batch_tokens = 512
buckets = [64]
[model]
d_model = 32
heads = 4
feed_forward = 24
max_positions = 64
[objective]
learning_rate = 1e-3
schedule = "constant"
[run]
steps = 2
log_every = 1
valid_every = 2
save_every = 2
valid_sentences = 8
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with 16 pairs to train on and 8 to validate on, beside it."""
    lines = {"en": captions(), "de": captions("deu_Latn")}
    short = sorted(range(len(captions())), key=lambda i: len(lines["de"][i]))
    (tmp_path / "data").mkdir()
    for split, rows in (("train", short[:16]), ("val", short[16:24])):
        for code, side in lines.items():
            text = "".join(f"{side[i]}\n" for i in rows)
            (tmp_path / "data" / f"{split}.{code}").write_text(text, encoding="utf-8")
    path = tmp_path / "student.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.slow
def test_an_interrupted_distillation_goes_on_to_its_report(
    checkpoints: dict[str, str],
    recipe: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.training.teacher_text.SHARD", 8)
    output = tmp_path / "run"
    command = (
        *("distill", checkpoints["target"], recipe, "-o", output, "--start-from-teacher"),
        *("--data", tmp_path / "data", "--batch-size", "8", "--json"),
        *("--set", "run.seed=3", "--set", "run.steps=1", "--max-length", "36"),
        *("--baseline", checkpoints["dense"], "--task-moe", checkpoints["target"]),
    )
    translate, sizes = Translator.translate, []

    def until_the_second_shard(self: Translator, sentences: list[str], *rest: str, **more: int):  # type: ignore[no-untyped-def]
        if len(sizes) == 1:
            assert is_held(output)
            sizes.append(0)
            raise KeyboardInterrupt
        sizes.append(len(sentences))
        return translate(self, sentences, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Translator, "translate", until_the_second_shard)
    assert run(*command).code == 130
    assert (output / "distilled/.shards/deu_Latn-eng_Latn/000000").is_dir()

    result = run(*command)
    assert result.code == 0, result.err
    assert sizes[2:5] == [8, 8, 8]  # the shards that were missing, and no other
    assert "takes 21 parts; drawn anew: encoder.1.ffn, decoder.1.ffn." in result.err
    table = result.table
    text = read_pairs(output / "distilled", "train", wb.load(output / "checkpoint").config.tasks)
    kept = table["translations"]["eng_Latn-deu_Latn"]["kept"]
    assert 0 < kept == len(text.direction(wb.parse_task("en-de"))[0]) <= 16
    teacher = wb.load(checkpoints["target"])
    source, target = (side[0] for side in text.direction(wb.parse_task("en-de")))
    assert teacher.translate([source], "en", "de")[0].text == target

    assert set(table["bleu"]) == {"student", "teacher", "baseline", "task-MoE"}
    assert table["bleu"]["teacher"] == table["bleu"]["task-MoE"]
    assert set(table["gain_preserved"]) == {"task-MoE", "teacher"}
    stored = json.loads((output / "distillation.json").read_text(encoding="utf-8"))
    assert stored["bleu"] == table["bleu"]
    student = wb.load(output / "checkpoint")
    assert student.config.is_dense
    assert student.tokenizer.same_as(tiny_tokenizer())
    assert student.provenance["operation"] == "distill"
    assert student.provenance["recipe"]["run"]["seed"] == 3 and "seed = 3" in student.card
    assert "Gain preserved against the task-MoE" in student.card
    assert "| BLEU, student |" in student.card

    again = run(*(word for word in command if word != "--json"))
    assert again.code == 0 and "finished already" in again.err
    assert again.out.endswith(f"{output / 'checkpoint'}\n")
    run(*command, "--limit", "3").says("made by another command or recipe: limit (none, now 3).")
    run(*command, "--max-length", "40").says("max_length (36, now 40)")
    run(*command, "--set", "run.seed=4").says("run.seed (3, now 4)", "another directory with -o")


def test_without_a_comparison_the_student_is_written_all_the_same(
    checkpoints: dict[str, str],
    recipe: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "run"
    counts = {"eng_Latn-deu_Latn": {"kept": 2, "empty": 0, "truncated": 0}}

    def train(self: Distillation, *_: object) -> Translator:
        assert self.testset is None
        output.mkdir()
        (output / "metrics.jsonl").write_text('{"step": 2, "seconds": 3.0}\n', encoding="utf-8")
        return new_translator("dense", "dense")

    monkeypatch.setattr(Distillation, "translate", lambda *_: counts)
    monkeypatch.setattr(Distillation, "train", train)
    command = ("distill", checkpoints["target"], recipe, "-o", output, "--data", tmp_path / "data")
    result = run(*command, "--testset", "none")
    assert result.code == 0, result.err
    assert result.out == f"Not compared (--testset none).\n{output / 'checkpoint'}\n"
    assert wb.load(output / "checkpoint").provenance["seconds"] == 3
    assert run(*command, "--testset", "none", "--json").table["bleu"] == {}
    run(*command, "--testset-limit", "2").says(
        'testset ("none", now none), testset_limit (none, now 2)'
    )


def test_a_comparison_can_be_of_the_first_sentences(recipe: Path, tmp_path: Path) -> None:
    student = read_recipe(recipe, [f"data.directory={tmp_path / 'data'}"])
    plan = Distillation(student, tmp_path / "teacher", tmp_path / "run", testset_limit=3)
    assert [len(testset) for testset in plan.test_sets()] == [3, 3]


def test_a_report_has_the_signature_of_every_direction(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = read_recipe(recipe, ['data.languages=["en", "de", "zh"]', "data.pivot=en"])
    plan = Distillation(student, tmp_path / "teacher", tmp_path / "run", testset="captions")

    def evaluate(*_: object, **__: object) -> SimpleNamespace:
        tasks = map(str, student.tasks)
        scores = [
            SimpleNamespace(task=t, score=3.0, signature="tok:zh" if "-zho" in t else "tok:13a")
            for t in tasks
        ]
        return SimpleNamespace(scores=scores)

    monkeypatch.setattr("workbench.training.distillation.evaluate", evaluate)
    monkeypatch.setattr(Translator, "load", lambda *_: None)
    report = plan.compare(new_translator())
    assert report.scored_on.endswith("greedy, tok:13a; eng_Latn-zho_Hans: tok:zh.")


def test_ctrl_c_ends_the_comparison_between_two_batches(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = read_recipe(recipe, [f"data.directory={tmp_path / 'data'}"])
    plan = Distillation(student, tmp_path / "teacher", tmp_path / "run", testset="captions")
    done = []

    def evaluate(*_: object, progress: Callable[[int, int], None], **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("the batch")
        progress(8, 440)
        done.append("the next")

    monkeypatch.setattr("workbench.training.distillation.evaluate", evaluate)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        plan.compare(new_translator())
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert done == ["the batch"]


def test_what_cannot_work_is_refused_before_the_teacher_translates(
    checkpoints: dict[str, str],
    recipe: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Translator, "translate", lambda *_, **__: pytest.fail("it translated"))
    teacher, data = checkpoints["target"], tmp_path / "data"

    def refused(*words: str, to: tuple[str, str] = ("", ""), options: tuple[str, ...] = ()) -> None:
        changed = tmp_path / "changed.toml"
        changed.write_text(RECIPE.replace(*to) if to[0] else RECIPE, encoding="utf-8")
        where = ("-o", tmp_path / "run", "--data", data)
        run("distill", teacher, changed, *where, *options).says(*words)

    refused("does not translate deu_Latn-fra_Latn", to=('"de"]', '"de", "fr"]'))
    refused("There is no checkpoint directory none", options=("--baseline", "none"))
    refused("steps must be of type int", to=("steps = 2", 'steps = "2"'))
    refused("needs at least", "GB of memory", to=("d_model = 32", "d_model = 1000000"))
    refused("no test set 'wmt'", options=("--testset", "wmt"))
    refused(f"{teacher} is a checkpoint: ", options=("-o", teacher))
    refused("compares nothing", options=("--testset", "none", "--testset-limit", "2"))
    refused(
        "Cannot start from embeddings of shape (500, 32)",
        to=("d_model = 32", "d_model = 16"),
        options=("--start-from-teacher",),
    )
    start = ("steps = 2", f'steps = 2\nstart_from = "{checkpoints["dense"]}"')
    refused("choose one", to=start, options=("--start-from-teacher",))
    other = new_translator()
    other.tokenizer = wb.load(teacher).tokenizer.__class__.train(
        captions(), 500, tiny_tokenizer().languages
    )
    other.save(tmp_path / "other")
    start = ("steps = 2", f'steps = 2\nstart_from = "{tmp_path / "other"}"')
    refused("has another tokenizer than the teacher", to=start)
    with held(tmp_path / "run"):
        refused("run is being written by process")
    (data / "val.de").unlink()
    refused("lacks val.deu_Latn")
    (data / "val.de").write_text("eins\n")
    refused("val.de has 1 lines but", "val.en has 8")
