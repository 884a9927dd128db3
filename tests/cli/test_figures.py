"""`workbench figures`: the standard set as files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from tests.cli.conftest import Run
from workbench.figures.export import FORMATS

SET = ("usage", "similarity", "coactivation")


def test_the_set_is_written_in_every_form(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    place = tmp_path / "new" / "figures"
    common = ("figures", checkpoints["target"], "--corpus", "captions", "--limit", "3")
    result = run(*common, "--tasks", "en-de", "en-fr", "de-en", "-o", place)
    assert result.code == 0, result.err
    names = {f"{name}-{stack}-1" for name in SET for stack in ("encoder", "decoder")}
    # No map of sentences: those of one task are routed alike.
    names |= {"specialization", "tokens-encoder", "tokens-decoder"}
    wanted = {f"{name}.{form}" for name in names for form in FORMATS} | {"favourites.csv"}
    assert {path.name for path in place.iterdir()} == wanted
    assert set(result.out.splitlines()) == {str(place / name) for name in wanted}
    svg = (place / "similarity-decoder-1.svg").read_text(encoding="utf-8")
    assert "English → French" in svg and "captions: references of 3 sentences in each" in svg
    assert (place / "usage-encoder-1.pdf").read_bytes().startswith(b"%PDF")
    assert (place / "usage-encoder-1.png").read_bytes().startswith(b"\x89PNG")
    assert set(pd.read_csv(place / "usage-encoder-1.csv")["stack"]) == {"encoder"}
    chart = json.loads((place / "specialization.json").read_text(encoding="utf-8"))
    assert chart["$schema"].startswith("https://vega.github.io/schema/vega-lite/")


def test_one_form_of_one_task(checkpoints: dict[str, str], tmp_path: Path, run: Run) -> None:
    common = ("figures", checkpoints["token"], "--corpus", "captions", "--limit", "2", "--json")
    result = run(*common, "--tasks", "en-de", "--formats", "csv", "-o", tmp_path)
    names = sorted(Path(name).name for name in result.table["files"])
    parts = ("usage-{}-1", "coactivation-{}-1", "tokens-{}")
    wanted = [part.format(stack) for part in parts for stack in ("encoder", "decoder")]
    assert names == sorted(f"{name}.csv" for name in [*wanted, "favourites"])
    run("figures", checkpoints["dense"], *common[2:6], "-o", tmp_path).says("is dense")
    assert "from before" not in result.err
    (tmp_path / "specialization.csv").touch()  # of several tasks
    result = run(*common, "--tasks", "en-de", "--formats", "csv", "-o", tmp_path)
    assert f"{tmp_path} has 1 file from before: specialization.csv\n" in result.err
    file = Path(result.table["files"][0])
    run("figures", checkpoints["token"], *common[2:6], "-o", file).says("is a file")
    run("figures", checkpoints["token"], *common[2:6], "-o", checkpoints["dense"]).says(
        "holds a checkpoint: choose another place with -o"
    )
    result = run(*common, "--formats", "gif", "-o", tmp_path)
    assert result.code == 2 and "invalid choice: 'gif'" in result.err


def test_a_table_of_routes_is_as_good_as_the_network(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    common = ("--tasks", "en-de", "en-fr", "--json")
    saved, place = tmp_path / "routes.parquet", tmp_path / "figures"
    corpus = ("usage", checkpoints["token"], "--corpus", "captions", "--limit", "3")
    usage = run(*corpus, *common, "--save-routes", saved).table
    assert run("usage", saved, *common).table == usage
    part = run("usage", saved, "--tasks", "en-fr", "--json").table
    assert part["tasks"] == ["eng_Latn-fra_Latn"]
    formats = ("--formats", "svg", "-o", place)
    assert run("figures", saved, *common, *formats).code == 0
    svg = (place / "usage-encoder-1.svg").read_text(encoding="utf-8")
    assert "routes.parquet: routes of 3" in svg
    unnamed = tmp_path / "unnamed.csv"  # as a table that other software wrote
    pd.read_parquet(saved).to_csv(unnamed, index=False)
    assert run("figures", unnamed, *common, *formats).code == 0
    svg = (place / "usage-encoder-1.svg").read_text(encoding="utf-8")
    assert ">unnamed.csv: routes of 3" in svg and str(tmp_path) not in svg
    run("usage", saved, "--tasks", "de-en").says("has no routes of deu_Latn-eng_Latn")
    run("usage", saved, "--limit", "3").says("--limit is of a corpus")
    run("usage", checkpoints["token"]).says("give --corpus, or a table of routes")
    run(*corpus, "--save-routes", tmp_path / "routes.xls").says("must end in .parquet")
    run("usage", tmp_path / "none.csv").says("none.csv")
