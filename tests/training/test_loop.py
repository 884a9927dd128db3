"""Training: the loss falls, a killed run resumes to the bit, a run without sense ends."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models import captions, config, network, tiny_tokenizer
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.training.interrupts import Terminated
from workbench.training.loop import train
from workbench.training.metrics import read_metrics
from workbench.training.recipe import recipe_from
from workbench.training.upcycling import start_from_non_experts
from workbench.training.update import make_update
from workbench.training.validation import Validator

LANGUAGES = ("de", "en")
DENSE = {"encoder_routing": "dense", "decoder_routing": "dense"}
CODES = {"de": "deu_Latn", "en": "eng_Latn"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 short captions in two languages, to train on and to validate on."""
    directory = tmp_path_factory.mktemp("data")
    lines = {code: captions(CODES[code]) for code in LANGUAGES}
    chosen = sorted(range(len(lines["en"])), key=lambda i: len(lines["de"][i]))[:40]
    for split, rows in (("train", chosen), ("val", chosen[:4])):
        for code in LANGUAGES:
            text = "".join(lines[code][i] + "\n" for i in rows)
            (directory / f"{split}.{code}").write_text(text, encoding="utf-8")
    return directory


def table(data, **run):
    return {
        "name": "tiny",
        "data": {
            "directory": str(data),
            "languages": list(LANGUAGES),
            "vocabulary": 200,
            "batch_tokens": 512,
            "buckets": [64],
        },
        "model": {
            "d_model": 16,
            "heads": 2,
            "feed_forward": 16,
            "experts": 3,
            "encoder_routing": "token",
            "decoder_routing": "target",
            "max_positions": 64,
        },
        "objective": {"learning_rate": 5e-3, "warmup_steps": 4, "schedule": "constant"},
        "run": {"log_every": 4, "save_every": 8, "valid_every": 1000, "valid_sentences": 2, **run},
    }


def leaves(network):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(network))]


SCRIPT = """
import json, sys
from pathlib import Path
from workbench.training.interrupts import Terminated
from workbench.training.loop import train
from workbench.training.recipe import recipe_from

train(recipe_from(json.loads(sys.argv[1])), Path(sys.argv[2]), lambda p: print(p.step, flush=True))
"""


def kill_at(recipe, output, moment):
    """Start training in a process and kill it when `moment(output)` comes true, at the latest at its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(recipe), str(output)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not moment(output):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL


def finished(output):
    return sorted(int(p.name) for p in (output / "state").glob("*") if p.name.isdecimal())


def while_a_second_state_is_written(output):
    """A state is whole and the next one is half on disk."""
    return finished(output) and any(
        "tmp" in p.name and not p.name.startswith(f"{finished(output)[0]}.")
        for p in (output / "state").glob("*")
    )


def after(seconds):
    """That long after the first line that a process writes."""
    began = []

    def moment(output):
        file = output / "metrics.jsonl"
        if not began:
            began.append((file.stat().st_mtime_ns, None))
        if began[0][1] is None and file.stat().st_mtime_ns > began[0][0]:
            began[0] = (0, time.monotonic())
        return began[0][1] is not None and time.monotonic() - began[0][1] > seconds

    return moment


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_bits_and_the_loss_falls(data, tmp_path):
    recipe = table(data, steps=40, save_every=4, log_every=8, average=0.9)
    whole = train(recipe_from(recipe), tmp_path / "whole")

    output = tmp_path / "killed"
    kill_at(recipe, output, while_a_second_state_is_written)
    assert finished(output)
    kill_at(recipe, output, after(random.uniform(0, 0.5)))
    kept = finished(output)[-1]

    began = []
    resumed = train(recipe_from(recipe), output, report=lambda p: began.append(p.step))
    assert began[0] == kept + 4  # it did not start over
    assert finished(output) == [36, 40]
    assert not [p for p in (output / "state").glob("*") if "tmp" in p.name]
    for a, b in zip(leaves(whole.network), leaves(resumed.network), strict=True):
        np.testing.assert_array_equal(a, b)

    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    steps = [[line["step"] for line in part if "nats" in line] for part in lines]
    assert steps[0] == steps[1] == list(range(4, 41, 4))
    nats = [[line["nats"] for line in part if "nats" in line] for part in lines]
    assert nats[0] == nats[1]
    assert nats[0][-1] < nats[0][0] - 0.5
    valid = next(line for line in lines[0] if "valid_nats" in line)
    assert valid["valid_nats"]["eng_Latn-deu_Latn"] < 5.3  # ln 200 is what guessing costs
    assert set(valid["valid_bleu"]) == {"average", "deu_Latn-eng_Latn", "eng_Latn-deu_Latn"}
    # Every token goes to two experts.
    loads = lines[0][-2].get("load.decoder.0") or lines[0][-1]["load.decoder.0"]
    assert sum(loads) == pytest.approx(2, abs=1e-4)

    assert 0 < lines[0][-2]["entropy.decoder.0"] <= np.log(3) + 1e-6

    other = table(data, steps=40, save_every=4, log_every=8, average=0.9)
    other["model"]["experts"] = 4
    with pytest.raises(WorkbenchError, match=r"model.experts \(3, now 4\)\. .*another directory"):
        train(recipe_from(other), tmp_path / "killed")
    (tmp_path / "killed/metrics.jsonl").unlink()  # then the shapes tell
    with pytest.raises(WorkbenchError, match=r"does not fit this recipe.*another output directory"):
        train(recipe_from(other), tmp_path / "killed")


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_with_a_reason(data, tmp_path):
    recipe = recipe_from(table(data, steps=8))
    wild = dataclasses.replace(recipe.objective, learning_rate=float("inf"))
    with pytest.raises(WorkbenchError, match=r"Step 2 gave the loss nan.*learning_rate") as error:
        train(dataclasses.replace(recipe, objective=wild), tmp_path)
    assert "\n" not in str(error.value)
    assert "no state was saved yet" in str(error.value)
    kept = np.load(tmp_path / "bad-batch-step-2.npz")
    assert kept["step"] == 2
    assert kept["source"].shape == kept["inputs"].shape == kept["labels"].shape == (8, 64)


@pytest.mark.slow
def test_a_run_that_is_stopped_between_steps_and_in_a_validation_ends_in_the_same_bits(
    data, tmp_path, monkeypatch
):
    recipe = table(data, steps=8, log_every=2, valid_every=4, save_every=100)
    recipe["model"] |= DENSE
    whole = train(recipe_from(recipe), tmp_path / "whole")

    output, told, validate = tmp_path / "stopped", [], Validator.__call__
    recipe["run"] |= {"steps": 12, "log_every": 3}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(progress):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as end:
        train(recipe_from(recipe), output, press, told.append)
    assert not isinstance(end.value, Terminated)
    assert finished(output) == [3]

    def terminated(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    monkeypatch.setattr(Validator, "__call__", terminated)
    with pytest.raises(Terminated):
        train(recipe_from(recipe), output, press, told.append)
    monkeypatch.undo()
    assert finished(output) == [3, 4]
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler

    recipe["run"] |= {"steps": 8, "log_every": 2}
    resumed = train(recipe_from(recipe), output, tell=told.append)
    assert [text for text in told if not text.startswith("compiling")] == [
        "step 3 is saved; the same command goes on from there.",
        "going on from step 3 of 12.",
        "step 4 is saved; the same command goes on from there.",
        "going on from step 4 of 8.",
        "changed: run.steps (12, now 8), run.log_every (3, now 2).",
    ]
    for a, b in zip(leaves(whole.network), leaves(resumed.network), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped")]
    valid = [[(x["step"], x["valid_nats"]) for x in part if "valid_nats" in x] for part in lines]
    assert valid[0] == valid[1] and [step for step, _ in valid[0]] == [4, 8]
    assert [x["step"] for x in lines[1] if "nats" in x] == [3, 4, 6, 8]
    assert [x["recipe"]["run"]["steps"] for x in lines[1] if "recipe" in x] == [12, 8]


@pytest.mark.slow
def test_a_run_from_a_dense_start_ends_when_validation_gets_no_better_and_gives_the_best_weights(
    data, tmp_path, monkeypatch
):
    bleu = iter([1.0, 3.0, 2.0, 3.0, 99.0])
    monkeypatch.setattr(
        "workbench.training.loop.Validator.__call__",
        lambda *_: {"valid_bleu": {"average": next(bleu)}},
    )
    how = table(data, steps=40, valid_every=2, patience=2, final="best", save_every=100)
    how["run"] |= {"start_from": str(tmp_path / "dense"), "fresh_units": 0.0}
    recipe = recipe_from(how)
    shape = recipe_from(how | {"model": how["model"] | DENSE}).model_config(500)
    dense = Translator("dense", shape, tiny_tokenizer(), network(shape))
    dense.save(tmp_path / "dense")
    seen, steps = [], []

    def kept(*arguments):
        steps.append(make_update(*arguments))
        return steps[0]

    monkeypatch.setattr("workbench.training.loop.make_update", kept)
    model = train(recipe, tmp_path, lambda p: seen.append(p.step))
    assert (
        steps[0]._cache_size() == 1
    )  # compiled once, for arrays that were read as for those of a step
    # Adam moves a weight by little more than its learning rate of 0.005 a step, 4 times; experts are copies.
    kernel = np.asarray(dense.network.encoder.layers[1].ffn.fc1.kernel[...])
    assert np.abs(model.network.encoder.layers[1].ffn.w_in[...] - kernel).max() < 0.05
    assert np.abs(kernel).max() > 0.5
    assert seen[-1] == 8  # two validations after the best, at 4
    assert [p.name for p in (tmp_path / "best").iterdir()] == ["step-4"]
    best = leaves(Translator.load(tmp_path / "best/step-4").network)
    for a, b in zip(leaves(model.network), best, strict=True):
        np.testing.assert_array_equal(a, b)
    # Called again, it knows that it has ended.
    train(recipe, tmp_path, lambda p: seen.append(p.step))
    assert seen[-1] == 8


def test_a_disk_that_is_too_small_is_refused_before_any_step(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "workbench.training.loop.shutil.disk_usage", lambda _: SimpleNamespace(free=1000)
    )
    with pytest.raises(WorkbenchError, match=r"needs about .* MB in .* where 0 MB are free"):
        train(recipe_from(table(data)), tmp_path)


def test_what_has_no_room_in_memory_is_refused_before_any_text_is_read(tmp_path):
    def refused(says, **changes):
        recipe = table(tmp_path / "nowhere")
        for key, value in changes.items():
            recipe[key] |= value
        with pytest.raises(WorkbenchError, match=says):
            train(recipe_from(recipe), tmp_path / "run")

    much = (
        r"'tiny' needs at least [\d.]+ GB of memory, and .* free \(cpu\): lower data.batch_tokens"
    )
    refused(much, model={"d_model": 1_000_000})
    refused(much, data={"batch_tokens": 2**31 - 1}, model={"d_model": 1024})
    refused(much, model={"experts": 2**31 - 1})
    refused("is not a directory", data={"batch_tokens": 2**31 - 1}, objective={"accumulate": 2**20})


def test_a_step_that_has_no_room_in_memory_says_what_to_lower(data, tmp_path, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr("workbench.training.loop.make_update", lambda *_: full)
    with pytest.raises(
        WorkbenchError, match=r"not enough memory for step 1: lower data\.batch_tok"
    ):
        train(recipe_from(table(data)), tmp_path)


def test_a_start_that_is_nowhere_is_named_with_its_key(data, tmp_path):
    recipe = recipe_from(table(data, start_from="no-trunk"))
    with pytest.raises(
        WorkbenchError, match=r"run\.start_from: There is no .*from the recipe's dir"
    ):
        train(recipe, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_metrics_file_cut_short_by_a_kill_is_read_to_the_cut(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "nats": 2.0}\n{"step": 2, "na')
    assert read_metrics(file) == [{"step": 1, "nats": 2.0}]


def test_a_student_takes_all_but_the_experts():
    teacher = network(config("token", "target"), seed=1)
    made = network(config("dense", "dense"), seed=3)
    fresh = np.asarray(made.encoder.layers[1].ffn.fc1.kernel[...])
    found = start_from_non_experts(made, teacher)
    assert found.fresh == ("encoder.1.ffn", "decoder.1.ffn")
    assert {"embedding", "encoder.0.ffn", "decoder.1.cross_attn", "decoder.layer_norm"} <= {
        *found.taken
    }
    np.testing.assert_array_equal(made.encoder.layers[1].ffn.fc1.kernel[...], fresh)
    for part in ("encoder", "decoder"):
        new, old = getattr(made, part), getattr(teacher, part)
        np.testing.assert_array_equal(
            new.layers[0].ffn.fc2.kernel[...], old.layers[0].ffn.fc2.kernel[...]
        )
        np.testing.assert_array_equal(
            new.layers[1].self_attn.q_proj.kernel[...], old.layers[1].self_attn.q_proj.kernel[...]
        )
    np.testing.assert_array_equal(made.embedding[...], teacher.embedding[...])


def test_a_student_of_the_teachers_own_kind_draws_its_experts_anew():
    teacher = network(config("token", "token"), seed=1)
    made = network(config("token", "token"), seed=3)
    fresh = np.asarray(made.decoder.layers[1].ffn.w_in[...])
    start_from_non_experts(made, teacher)
    np.testing.assert_array_equal(made.decoder.layers[1].ffn.w_in[...], fresh)
    with pytest.raises(WorkbenchError, match="embeddings of shape"):
        start_from_non_experts(network(config(vocabulary=510)), teacher)


def test_a_tokenizer_without_a_language_of_the_recipe_is_named(data, tmp_path):
    recipe = table(data)
    tiny_tokenizer().save(tmp_path / "tokenizer")
    recipe["data"] |= {"tokenizer": str(tmp_path / "tokenizer"), "languages": ["en", "es"]}
    for split in ("train", "val"):
        (tmp_path / f"{split}.en-es.en").write_text("A dog.\n")
        (tmp_path / f"{split}.en-es.es").write_text("Un perro.\n")
    recipe["data"]["directory"] = str(tmp_path)
    with pytest.raises(WorkbenchError, match=r"The tokenizer of .* has no token for spa_Latn\. It"):
        train(recipe_from(recipe), tmp_path / "run")
