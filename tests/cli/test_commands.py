"""The other commands: what each writes and prints, and what it refuses."""

from __future__ import annotations

import json
import shutil
import socket
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import workbench as wb
from tests.browser import free_port
from tests.cli.conftest import Run
from tests.models import CAPTIONS, captions, long_captions
from workbench.cli import app
from workbench.cli.smaller import default_keep
from workbench.training.recipe import recipe_from

RECIPE = """
name = "tiny"
[data]
directory = "nowhere"
languages = ["en", "de"]
train = "captions"
valid = "captions"
vocabulary = 400
batch_tokens = 256
buckets = [32]
[model]
d_model = 16
heads = 2
feed_forward = 16
encoder_routing = "target"
decoder_routing = "target"
experts = 2
max_positions = 36
[run]
steps = 2
log_every = 1
valid_every = 2
save_every = 2
valid_sentences = 2
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    path = tmp_path / "sources.txt"
    path.write_text("\n".join(long_captions()[:5]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def references(tmp_path: Path) -> Path:
    path = tmp_path / "references.txt"
    path.write_text("\n".join(captions("deu_Latn")[:5]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("usage", "--corpus", "captions", "-o"),
            ("routes", "-s", "en", "-t", "de", "-i", "/dev/null", "-o"),
            ("compare", "-o"),
            ("figures", "--corpus", "captions", "-o"),
            ("extract", "--task", "en-de", "-o"),
            ("export", "--to", "ctranslate2", "-o"),
        ),
        *((name, "-o") for name in ("quantize", "convert", "prune", "merge")),
        *(("prune", "-o", "new", f"--save-{what}") for what in ("experts", "statistics")),
        ("merge", "-o", "new", "--save-statistics"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(
    arguments: tuple[str, ...], tmp_path: Path, run: Run
) -> None:
    (tmp_path / "file").touch()
    name, *options = arguments
    # There is not even a checkpoint.
    run(name, tmp_path / "none", *options, tmp_path / "file" / "x.csv").says(
        f"{tmp_path / 'file' / 'x.csv'}: ", "give another place"
    )


def test_a_corpus_without_text_is_refused(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    corpus, place = tmp_path / "corpus", tmp_path / "figures"
    corpus.mkdir()
    usage = ("usage", checkpoints["token"], "--corpus", corpus)
    for text, says in (("", f"{corpus} has no line of text"), (" \n\n", "en-de: there is nothing")):
        (corpus / "test.en").write_text(text, encoding="utf-8")
        (corpus / "test.de").write_text(text and "Ein Hund.\nEine Katze.\n", encoding="utf-8")
        says = says.replace("en-de", "eng_Latn-deu_Latn")
        run(*usage, "--tasks", "en-de").says(str(corpus), says)
        run("figures", *usage[1:], "--tasks", "en-de", "-o", place).says(str(corpus), says)
    (corpus / "test.en").write_text("\nA cat.\n", encoding="utf-8")
    assert run(*usage, "--tasks", "en-de").code == 0
    run(*usage, "--tasks", "en-de", "--limit", "1").says("In the first 1 line of")
    assert not place.exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_routes(
    suffix: str,
    checkpoints: dict[str, str],
    sources: Path,
    references: Path,
    tmp_path: Path,
    run: Run,
) -> None:
    output = tmp_path / f"routes.{suffix}"
    arguments = ("-s", "en", "-t", "de", "-i", sources, "-r", references, "-o", output, "--json")
    result = run("routes", checkpoints["token"], *arguments)
    assert result.code == 0
    read = {"parquet": pd.read_parquet, "csv": pd.read_csv, "jsonl": pd.read_json}[suffix]
    options = {"lines": True} if suffix == "jsonl" else {}
    frame = read(output, **options)  # type: ignore[operator]
    assert result.table["rows"] == len(frame) > 0
    assert list(frame.columns) == [
        *("sentence", "task", "stack", "layer", "position", "token", "rank", "expert", "gate")
    ]
    assert set(frame["sentence"]) == set(range(5))


def test_routes_refuses(
    checkpoints: dict[str, str], sources: Path, references: Path, run: Run
) -> None:
    common = ("-s", "en", "-t", "de", "-i", sources, "-o")
    run("routes", checkpoints["token"], *common, "x.xlsx").says("x.xlsx", ".parquet, .csv, .jsonl")
    run("routes", checkpoints["dense"], *common, "x.csv").says("is dense")
    references.write_text("one\n", encoding="utf-8")
    run("routes", checkpoints["token"], *common, "x.csv", "-r", references).says(
        f"{sources} has 5 lines but {references} has 1"
    )


def test_sentences_that_are_not_traced_whole_are_counted(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    corpus, sources = tmp_path / "long.tsv", tmp_path / "long.en"
    long = " ".join(["A dog runs."] * 60)
    corpus.write_text(f"eng_Latn\tdeu_Latn\n{long}\tEin Hund.\nA dog.\tEin Hund.\n", "utf-8")
    result = run("usage", checkpoints["token"], "--corpus", corpus, "--tasks", "en-de")
    assert result.code == 0
    assert "warning: eng_Latn-deu_Latn: 1 sentence was traced up to token 64 alone" in result.err
    sources.write_text(f"{long}\n{long}\n", "utf-8")
    common = ("routes", checkpoints["token"], "-s", "en", "-t", "de", "-o", tmp_path / "x.csv")
    result = run(*common, "-i", sources, "-r", sources)
    assert "2 sentences were traced up to token 64 alone" in result.err
    sources.write_text("A dog.\n", "utf-8")
    assert "warning" not in run(*common, "-i", sources, "-r", sources).err


def test_usage(checkpoints: dict[str, str], tmp_path: Path, run: Run) -> None:
    output = tmp_path / "usage.json"
    common = ("usage", checkpoints["target"], "--corpus", "captions", "--limit", "4")
    result = run(*common, "--tasks", "en-de", "en-fr", "-o", output)
    assert result.code == 0
    assert "decoder 1" in result.out
    usage = json.loads(output.read_text(encoding="utf-8"))
    assert usage["tasks"] == ["eng_Latn-deu_Latn", "eng_Latn-fra_Latn"]
    for layer in usage["layers"]:
        assert sum(layer["share"]["eng_Latn-deu_Latn"]) == pytest.approx(2)  # two experts a token
        assert layer["share"]["eng_Latn-deu_Latn"].count(0) == 2
    for layer in usage["specialization"]:
        (tokens,) = [x["tokens"] for x in usage["layers"] if x["stack"] == layer["stack"]]
        assert layer["choices"] == 2 * sum(tokens.values())
        assert 0 <= layer["information_chance"] < layer["information"] <= 1  # bit, of two tasks
    assert "bits about the task (by chance)" in result.out
    assert "(100%)" in result.out and "(0%)" not in result.out
    run(*common, "--tasks", "de-fr").says("does not translate")


def test_extract_proves_and_saves(
    checkpoints: dict[str, str], sources: Path, tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "en-de"
    common = ("--task", "en-de", "-o", output, "--proof", sources, "--layout", "m2m100")
    result = run("extract", checkpoints["target"], *common)
    assert result.code == 0
    assert result.out.startswith("proved: eng_Latn-deu_Latn, 5 of 5 sentences")
    record = json.loads((output / "provenance.json").read_text(encoding="utf-8"))
    assert record["proof"]["holds"] is True
    assert record["command"].startswith("workbench extract ")
    assert len(record["parents"][0]["headers_sha256"]) == 64
    assert record["proof"] == json.loads((output / "proof.json").read_text("utf-8"))[0]
    assert "* proved: eng_Latn-deu_Latn, 5 of 5" in (output / "README.md").read_text("utf-8")
    small, large = wb.load(output), wb.load(checkpoints["target"])
    assert small.config.is_dense
    found, wanted = (
        m.translate(long_captions()[:5], "en", "de", with_scores=False) for m in (small, large)
    )
    assert found == wanted
    run("extract", checkpoints["target"], *common).says("exists and is not empty")


def test_extract_refuses(checkpoints: dict[str, str], tmp_path: Path, run: Run) -> None:
    where = ("-o", tmp_path / "x")
    token, dense, target = (checkpoints[name] for name in ("token", "dense", "target"))
    run("extract", token, "--task", "en-de", *where, "--layout", "m2m100").says("routed by token")
    run("extract", dense, "--task", "en-de", *where).says("it is dense")
    run("extract", target, "--task", "de-fr", *where).says("does not translate")
    run("extract", target, "--task", "en", *where).says("'en' is not a task")
    assert not (tmp_path / "x").exists()


def test_extract_writes_nothing_without_a_proof(
    checkpoints: dict[str, str],
    sources: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from workbench.subnetworks import proof

    def differing(*arguments: object, **_: object) -> proof.Proof:
        return proof.Proof("en-de", "parent", 5, 4, 0, 1, 0.5, 10, 5, (), (3,))

    monkeypatch.setattr(proof, "prove", differing)
    output = tmp_path / "x"
    result = run(
        "extract", checkpoints["target"], "--task", "en-de", "-o", output, "--proof", sources
    )
    assert result.code == 1
    assert result.out.startswith("NOT PROVED")
    assert "number 3: nothing was written" in result.err
    assert not output.exists()


def test_extract_several_tasks(
    checkpoints: dict[str, str], sources: Path, tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "out-of-english"
    tasks = ("--task", "en-de", "--task", "en-cs")
    # The checkpoint of a run is called by its run.
    parent = shutil.copytree(checkpoints["target"], tmp_path / "target-run" / "checkpoint")
    result = run("extract", parent, *tasks, "-o", output, "--proof", sources, "--json")
    assert result.code == 0
    assert [proof["task"] for proof in result.table["proofs"]] == [
        "eng_Latn-deu_Latn",
        "eng_Latn-ces_Latn",
    ]
    assert all(proof["holds"] for proof in result.table["proofs"])
    assert {proof["parent"] for proof in result.table["proofs"]} == {"target-run"}
    assert "sub-network of `target-run`" in (output / "README.md").read_text("utf-8")
    assert len(json.loads((output / "proof.json").read_text("utf-8"))) == 2
    run("extract", checkpoints["target"], *tasks, "-o", tmp_path / "x", "--layout", "m2m100").says(
        "would not be dense"
    )


def test_prune_and_merge(
    checkpoints: dict[str, str], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, experts, statistics = (tmp_path / f"{n}.json" for n in ("usage", "experts", "stats"))
    tasks = ("--task", "en-de", "--task", "en-cs")
    corpus = ("--corpus", "captions", "--limit", "4", "--testset", "none")
    result = run(
        *("prune", checkpoints["token"], *tasks, "--keep", "0.5", *corpus, "--json"),
        *("--metric", "top1", "--granularity", "language", "--save-experts", experts),
        *("--save-statistics", statistics, "-o", tmp_path / "a"),
    )
    assert result.code == 0
    assert result.table["experts_by_layer"]["encoder 1"] == 2
    assert result.table["parameters_after"] < result.table["parameters_before"]
    small = wb.load(tmp_path / "a")
    assert small.provenance["method"]["granularity"] == "language"
    assert "statistics of references, gates softmax." in small.card
    assert small.provenance["command"].startswith("workbench prune ")
    # The same from the files that it wrote, and then the network itself is not needed.
    monkeypatch.setattr("workbench.cli.prune.load_model", _not_loaded)
    options = ("--metric", "top1", "--granularity", "language", "--keep", "0.5")
    for number, source in enumerate(
        (("--experts", experts), ("--statistics", statistics, *options))
    ):
        same = tmp_path / f"same-{number}"
        result = run(
            *("prune", checkpoints["token"], *tasks, *source, "--testset", "none", "-o", same)
        )
        assert result.code == 0
        again = wb.load(same)
        assert again.provenance["kept_experts"] == small.provenance["kept_experts"]
        assert again.provenance["parents"][0]["name"] == "token"
        assert again.card.startswith(small.card.partition("# a")[0])
        assert "pruned for `eng_Latn-deu_Latn`, `eng_Latn-ces_Latn`" in again.card
        assert again.config == small.config
    run("usage", checkpoints["token"], *corpus[:4], "--tasks", "en-de", "-o", usage)
    few = tmp_path / "few.tsv"
    rows = zip(captions()[:6], captions("deu_Latn")[:6], strict=True)
    few.write_text("en\tde\n" + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    result = run(
        *("merge", checkpoints["token"], "--statistics", usage, "--keep", "0.5"),
        *("--task", "en-de", "--testset", few, "--against", tmp_path / "a"),
        *("-o", tmp_path / "b"),
    )
    assert result.code == 0
    assert "experts encoder 1: 2, decoder 1: 2" in result.out
    assert "± half the 95 % interval" in result.out
    merged = wb.load(tmp_path / "b")
    assert merged.provenance["operation"] == "merge"
    assert len(merged.provenance["report"]["rows"]) == 3
    assert "What was lost" in merged.card


def _not_loaded(_: object) -> None:
    pytest.fail("it was loaded")


def test_prune_refuses(
    checkpoints: dict[str, str], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("prune", "merge"):  # before hours of work, not after
        monkeypatch.setattr(f"workbench.cli.{command}.load_model", _not_loaded)
    where = ("-o", tmp_path / "x", "--corpus", "captions", "--limit", "2", "--testset", "none")
    token, dense, target = (checkpoints[name] for name in ("token", "dense", "target"))
    run("prune", dense, *where).says("it is dense")
    run("prune", target, *where).says("routed by task: extract")
    run("prune", token, "--task", "de-fr", *where).says("does not translate")
    run("prune", token, "--keep", "1.5", *where).says("above 0 and up to 1")
    run("prune", token, "--keep", "0.2", "--task", "en-de", *where).says("chooses 2")
    run("prune", token, "--keep", "0.5", "-o", tmp_path / "x").says("--corpus", "--statistics")
    both = ("--algorithm", "global", "--encoder-keep", "0.5")
    run("prune", token, "--keep", "0.5", *both, *where).says("has one budget")
    run("prune", token, "--decoder-keep", "2", *where).says("decoder_keep is 2")
    run("merge", token, "--keep", "0.2", *where).says("chooses 2")
    half = ("--keep", "0.5", "--corpus", "captions", "-o", tmp_path / "x")
    run("prune", token, *half, "--testset", "nonsense").says("no test set 'nonsense'")
    run("merge", token, *half, "--testset", "wmt17/improved").says("has none of the directions")
    run("prune", token, *half, "--against", tmp_path / "gone").says(f"{tmp_path / 'gone'}")
    run("prune", "no/such", *half).says("not in the hub's cache")
    run("merge", token, "--keep", "0", *where).says("above 0 and up to 1")
    listed = ("--experts", "experts.json", "--keep", "0.5", "--algorithm", "fixed")
    run("prune", token, *listed, "-o", tmp_path / "x").says("leave --keep, --algorithm out")
    # By default as many remain as the routers choose.
    assert default_keep(wb.load(token).config) == 0.5
    assert default_keep(wb.load(dense).config) == 0.2
    nothing = tmp_path / "nothing.json"
    nothing.write_text("{", encoding="utf-8")
    run("prune", token, "--statistics", nothing, "-o", tmp_path / "x").says("not valid JSON")
    for option in (("--limit", "3"), ("--of", "references"), ("--save-statistics", "y")):
        result = run("prune", token, "--statistics", nothing, *option, "-o", tmp_path / "x")
        result.says(f"{option[0]} belongs to --corpus")
    result = run("merge", token, "--method", "mc-smoe", "--statistics", nothing, *where[:2])
    result.says("give --corpus instead")
    assert not (tmp_path / "x").exists()


def test_compare(
    checkpoints: dict[str, str],
    sources: Path,
    references: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = ("compare", checkpoints["dense"], checkpoints["target"], "-s", "en", "-t", "de")
    files = ("-i", sources, "-r", references, "--max-length", "6")
    result = run(*both, *files, "--no-speed", "--json")
    assert result.code == 0
    assert [row["system"] for row in result.table["scores"]] == [
        "dense",
        "dense",
        "target",
        "target",
    ]
    assert result.table["scores"][0]["testset"] == "sources.txt"
    latex = run(*both, *files, "--no-speed", "-f", "latex", "--metrics", "bleu")
    assert "\\begin{tabular}" in latex.out and "chrF" not in latex.out

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.evaluation.comparison.benchmark", stop)
    cut = run(*both, *files, "--json")
    assert cut.code == 130 and "2 of 2 systems scored, and none timed." in cut.err
    assert cut.table["scores"] == result.table["scores"] and "speeds" not in cut.table


def test_compare_refuses(checkpoints: dict[str, str], sources: Path, run: Run) -> None:
    common = ("compare", checkpoints["dense"])
    run(*common, "-s", "en", "-t", "is").says(f"error: {checkpoints['dense']}: ", "isl_Latn")
    run(*common, "-i", sources).says("-i and -r")
    run(*common, "-s", "en").says("-s and -t")
    run(*common, "--metrics", "comet", "--limit", "2").says("Unknown metric 'comet'")
    run(*common, "--testset", "wmt", "-s", "en", "-t", "de").says("There is no test set 'wmt'")
    # A name of sacreBLEU's means all directions that it and the checkpoints have.
    run(*common, "--testset", "wmt17/improved").says("wmt17/improved has no direction that all")


def test_bench(checkpoints: dict[str, str], run: Run) -> None:
    common = ("bench", checkpoints["dense"], "-s", "en", "-t", "de", "--max-length", "6")
    result = run(*common, "--batch-sizes", "1", "4", "--batches", "2", "--json")
    assert [row["batch_size"] for row in result.table] == [1, 4]
    text = run(*common, "--batch-sizes", "4,1", "--batches", "2").out
    assert "p95 ms" in text and "2 batches each" in text
    run(*common, "--beam", "99").says("beam_size is 99: it must be from 1 to 32")
    run("bench", "no/such", "-s", "en").says("give -s and -t, or neither")


def test_train_writes_a_whole_checkpoint(tmp_path: Path, run: Run) -> None:
    recipe, output = tmp_path / "tiny.toml", tmp_path / "run"
    (tmp_path / "base.toml").write_text(RECIPE, encoding="utf-8")
    text = 'extends = "base.toml"\n[objective]\ncapacity_factor = 0.5\n'
    recipe.write_text(text, encoding="utf-8")
    run("train", recipe, "-o", output).says("nowhere is not a directory")
    common = ("train", recipe, "-o", output, "--data", CAPTIONS, "--set", "run.seed=3")
    result = run(*common)
    assert result.code == 0
    assert "step 2 of 2" in result.err
    assert "workbench: training on 402 pairs in 2 directions; left out: 38 long.\n" in result.err
    place = output / "checkpoint"
    assert result.out == f"{place}\n"
    record = json.loads((place / "provenance.json").read_text(encoding="utf-8"))
    assert record["recipe"]["run"]["steps"] == 2
    assert record["seconds"] > 0
    assert record["valid_bleu"]["average"] >= 0
    card = (place / "README.md").read_text(encoding="utf-8")
    followed = recipe_from(tomllib.loads(card.split("```")[3]))
    assert followed == recipe_from(record["recipe"])
    assert (followed.name, followed.objective.capacity_factor) == ("tiny", 0.5)
    assert (followed.run.seed, followed.data.directory) == (3, str(CAPTIONS))
    lines = [json.loads(x) for x in (output / "metrics.jsonl").read_text().splitlines()]
    # Both experts are every token's choice, and have places for half of them.
    assert all(0.4 < line["dropped.decoder.0"] <= 0.5 for line in lines if "nats" in line)
    assert wb.load(place).translate("A dog.", "en", "de", max_length=3)
    again = run(*common)
    assert again.code == 0 and "finished already" in again.err
    recipe.write_text(text + "[run]\nsteps = 3\n", encoding="utf-8")
    run(*common).says("another recipe")


def test_app_becomes_streamlit(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: called.append(command))
    monkeypatch.setenv(app.CHECKPOINTS, "")
    port = str(free_port())
    assert run("app", "--port", port, "--checkpoints", tmp_path).code == 0
    [command] = called
    assert Path(command[4]).name == "main.py"
    assert command[-6:] == [
        *(
            "--server.port",
            port,
            "--server.headless",
            "true",
            "--browser.gatherUsageStats",
            "false",
        )
    ]
    assert command[5:7] == ["--server.address", "localhost"]
    assert run("app", "--port", port, "--address", "0.0.0.0").code == 0
    assert called[1][5:7] == ["--server.address", "0.0.0.0"]
    run("app", "--checkpoints", tmp_path / "none").says("There is no directory")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run("app").says("pip install 'task-moe-workbench[app]'")


def test_app_says_in_a_line_where_it_cannot_listen(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.execv", lambda _, command: pytest.fail("it was started"))
    run("app", "--port", "99999").says("There is no port 99999", "1 to 65535")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run("app", "--port", port).says(f"Port {port} of localhost is taken", "--port")
    run("app", "--address", "no host", "--port", port).says("There is no address 'no host'")
    # Of the addresses for documentation, RFC 5737: no machine has it.
    run("app", "--address", "192.0.2.1", "--port", port).says("Cannot listen on port", "--address")
