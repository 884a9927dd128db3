"""The Runs page, run by Streamlit's own tester on runs that the trainer's own writer wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from workbench.training.metrics import MetricsLog

PAGE = Path(__file__).resolve().parents[2] / "app" / "views" / "runs.py"
RECIPE = {
    "run": {"steps": 40, "log_every": 10, "valid_every": 20, "patience": 0},
    "model": {"sparse_step": 2},
}


def opened() -> AppTest:
    test = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not test.exception, test.exception
    return test


def charts(test: AppTest) -> int:
    return len(test.get("arrow_vega_lite_chart") or test.get("vega_lite_chart"))


def train(path: Path, upto: int, experts: bool = False) -> None:
    path.mkdir(parents=True)
    log = MetricsLog(path / "metrics.jsonl", 0, 40, lambda progress: None)
    log.write(0, {"recipe": RECIPE, "pairs": {}})
    for step in range(10, upto + 1, 10):
        load = {"load.decoder.0": [0.7, 0.3], "entropy.decoder.0": 0.6} if experts else {}
        log.write(step, {"nats": 30 / step, "tokens": 90.0, "seconds": 1.0, **load})
        if step % 20 == 0:
            scores = {"average": step / 2, "eng_Latn-deu_Latn": step / 2}
            log.write(step, {"valid_nats": scores, "valid_bleu": scores})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs` in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_folder_without_runs_says_how_to_make_one(folder: Path) -> None:
    test = opened()
    assert not test.error
    assert test.info[0].value.startswith("There is no directory runs. Begin a run with `workbench")
    folder.mkdir()
    assert opened().info[0].value.startswith("There are no training runs in `runs`.")


def test_runs_are_listed_compared_and_followed(folder: Path) -> None:
    train(folder / "dense", 40)
    train(folder / "grid" / "token", 20, experts=True)
    with (folder / "grid" / "token" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "na')
    test = opened()
    table = test.dataframe[0].value
    assert list(table["Run"]) == ["dense", "grid/token"]
    assert list(table["State"]) == ["finished", "running"]
    assert list(table["Best BLEU"]) == [20.0, 10.0]
    assert test.session_state["live"]
    test.multiselect(key="run").set_value(["dense"]).run()
    assert charts(test) == 3, "loss, BLEU, and BLEU of each direction"
    assert not test.caption
    test.multiselect(key="run").set_value(["dense", "grid/token"]).run()
    test.selectbox(key="of").set_value("grid/token").run()
    test.selectbox(key="bleu").set_value("eng_Latn-deu_Latn").run()
    assert not test.exception, test.exception
    assert charts(test) == 5
    assert (
        test.caption[0].value == "grid/token: 1 line of its metrics cannot be read, and left out."
    )
    assert test.query_params["run"] == ["dense", "grid/token"]
    assert test.query_params["bleu"] == "eng_Latn-deu_Latn"
    log = MetricsLog(folder / "grid" / "token" / "metrics.jsonl", 20, 40, lambda progress: None)
    log.write(30, {"nats": 0.5})
    assert list(test.run().dataframe[0].value["Loss"]) == [0.75, 0.5]
    test.multiselect(key="run").set_value([]).run()
    assert not test.exception and charts(test) == 0
