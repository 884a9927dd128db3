"""`workbench data`: fetches, or says what it would fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from workbench.text import mtdata

RECIPES = Path(__file__).parents[2] / "recipes/wmt/mtdata.recipes.wmt-paper.yml"


def test_without_mtdata_or_a_network_it_says_what_it_would_fetch(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mtdata, "_program", lambda: None)
    result = run("data", RECIPES, "-o", tmp_path)
    result.says("mtdata is not installed", "pip install mtdata")
    assert result.out.count("mtdata get-recipe -ri wmt-paper-") == 15
    assert "  train  Statmt-wiki_titles-1-guj-eng\n" in result.out

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(mtdata, "_program", lambda: "mtdata")
    monkeypatch.setattr("socket.create_connection", unreachable)
    result = run("data", RECIPES, "-o", tmp_path, "--pair", "en-kk", "--json")
    result.says("Cannot reach data.statmt.org (Network is unreachable)")
    assert result.table[0]["pair"] == "kaz-eng"
    assert result.table[0]["train"] == [
        *("Statmt-news_commentary-14-eng-kaz", "Statmt-wiki_titles-1-kaz-eng")
    ]
    assert not any(tmp_path.iterdir())


def test_list_only_lists(run: Run, tmp_path: Path) -> None:
    result = run("data", RECIPES, "-o", tmp_path, "--list", "--pair", "fr-en")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == "fra-eng"
    run("data", RECIPES, "-o", tmp_path, "--list", "--pair", "fr-xx").says("'xx'")


def test_what_was_fetched_is_not_fetched_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(mtdata, "check_can_fetch", lambda: None)
    monkeypatch.setattr(mtdata, "fetch", lambda recipe, _: fetched.append(recipe.name))
    result = run("data", RECIPES, "-o", tmp_path, "--pair", "cs-en", "--pair", "de-en")
    assert (result.code, result.out) == (0, f"{tmp_path}\n")
    assert fetched == ["wmt-paper-ces-eng", "wmt-paper-deu-eng"]
    for split in ("train", "val"):
        for code in ("ces", "eng"):
            (tmp_path / f"{split}.ces-eng.{code}").touch()
    run("data", RECIPES, "-o", tmp_path, "--pair", "cs-en", "--pair", "de-en")
    assert fetched[2:] == ["wmt-paper-deu-eng"]
