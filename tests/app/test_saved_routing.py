"""The Experts page on tables that were saved elsewhere: of routes, bare or whole, and of usage with many layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from workbench.routing.files import read_routes, write_routes
from workbench.routing.trace import TYPES, Routes
from workbench.routing.usage import Usage, expert_usage
from workbench.tasks import parse_task

PAGE = Path(__file__).resolve().parents[2] / "app" / "views" / "experts.py"
TASKS = ("eng_Latn-deu_Latn", "eng_Latn-fra_Latn", "eng_Latn-ces_Latn")


def table(tasks: tuple[str, ...], layers: int, sentences: int = 4, experts: int = 8) -> Routes:
    """Routes of a network that is in no directory: each sentence of five tokens, two experts each."""
    random = np.random.default_rng(0)
    places = [
        (sentence, tasks[sentence % len(tasks)], stack, layer, position, "▁a", rank)
        for sentence in range(sentences * len(tasks))
        for stack in ("encoder", "decoder")
        for layer in range(layers)
        for position in range(5)
        for rank in range(2)
    ]
    frame = pd.DataFrame(places, columns=list(TYPES)[:7])
    firsts = random.integers(0, experts, len(frame) // 2)
    frame["expert"] = np.stack([firsts, (firsts + 1) % experts], 1).reshape(-1)
    frame["gate"] = 0.5
    texts = tuple(f"Text {i}" for i in range(sentences * len(tasks)))
    return Routes(
        frame.astype(TYPES),
        tuple(map(parse_task, tasks)),
        texts,
        texts,
        dict.fromkeys(("encoder", "decoder"), tuple(range(layers))),
        dict.fromkeys(("encoder", "decoder"), experts),
        model="far-away",
    )


def opened(address: dict[str, list[str]]) -> AppTest:
    test = AppTest.from_file(str(PAGE), default_timeout=120)
    test.query_params.update(address)
    test.run()
    assert not test.exception, test.exception
    return test


def titles(test: AppTest) -> list[str]:
    """Titles of the charts, their lines joined."""
    found = [json.loads(chart.proto.spec)["title"]["text"] for chart in test.get("vega_lite_chart")]
    return [text if isinstance(text, str) else " ".join(text) for text in found]


def test_routes_of_a_network_that_is_not_here_are_seen_and_found_again(tmp_path: Path) -> None:
    routes = table(TASKS, layers=1)
    write_routes(routes, tmp_path / "r.parquet")
    test = opened({"whose-text": ["file"]})
    test.file_uploader[0].upload("r.parquet", (tmp_path / "r.parquet").read_bytes()).run()
    assert not test.exception and not test.error
    assert test.subheader[0].value == "far-away: 4 sentences in each of 3 tasks"
    assert sum("share of tokens" in title for title in titles(test)) == 2
    again = opened(test.query_params)
    assert again.subheader[0].value == test.subheader[0].value
    again.multiselect[0].set_value(list(TASKS[:1])).run()
    assert again.subheader[0].value == "far-away: 4 sentences in 1 task"
    # A reader of its own kind: the table alone, one task a file.
    for number, task in enumerate(TASKS[:2]):
        one = routes.frame[routes.frame["task"] == task]
        one.to_csv(tmp_path / f"{number}.csv", index=False)
    files = [(f"{n}.csv", (tmp_path / f"{n}.csv").read_bytes(), "text/csv") for n in range(2)]
    again.file_uploader[0].set_value(files).run()
    assert not again.exception and not again.error
    assert again.subheader[0].value == "0.csv, 1.csv: 4 sentences in each of 2 tasks"
    (saved,) = [button for button in again.get("download_button") if "All routes" in button.label]
    assert saved is not None
    assert (
        read_routes([tmp_path / "0.csv", tmp_path / "1.csv"]).translations.count("a a a a a") == 8
    )


def test_usage_of_many_tasks_and_layers_is_seen_some_at_a_time() -> None:
    tasks = tuple(f"eng_Latn-{code}_Latn" for code in ("deu", "fra", "ces", "ita", "spa", "por"))
    usage = expert_usage(table(tasks, layers=4, sentences=1))
    data = json.loads(usage.to_json())
    test = opened({"whose-text": ["file"]})
    test.file_uploader[0].upload("usage.json", json.dumps(data).encode()).run()
    assert not test.exception and not test.error
    assert test.subheader[0].value == "far-away: 6 tasks"
    assert test.segmented_control(key="view").options == ["Usage", "Similarity"]
    whole = ["Encoder layers 0, 1, 2, 3", "Decoder layers 0, 1, 2, 3"]
    assert [title.split(":")[0] for title in titles(test)] == whole
    test.selectbox(key="maps").set_value("layer").run()
    names = ["Encoder layer 0", "Encoder layer 3", "Decoder layer 0", "Decoder layer 3"]
    assert [title.split(":")[0] for title in titles(test)] == names
    test.multiselect(key="layers").set_value(["decoder-2"]).run()
    test.segmented_control(key="view").set_value("Similarity").run()
    assert [title.split(":")[0] for title in titles(test)] == ["Decoder layer 2"]
    assert test.query_params["layers"] == "decoder-2"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.csv", b"a,b\n1,2\n", "r.csv is no table of routes: it has no column sentence, task"),
        ("r.parquet", b"PAR1", "Cannot read r.parquet"),
        ("usage.json", b"[" * 100_000, "usage.json is not valid JSON"),
        ("usage.json", b"{}", "usage.json is no usage table"),
    ],
)
def test_another_file_is_refused_in_a_line(name: str, data: bytes, message: str) -> None:
    test = opened({"whose-text": ["file"]})
    test.file_uploader[0].upload(name, data).run()
    assert not test.exception
    assert message in test.error[0].value and "\n" not in test.error[0].value


def test_a_usage_is_cut_to_some_tasks_and_layers() -> None:
    usage = expert_usage(table(TASKS, layers=2))
    part = usage.only([TASKS[2], TASKS[0]], [("decoder", 1)])
    assert isinstance(part, Usage)
    assert (part.tasks, part.layers) == ((TASKS[2], TASKS[0]), (("decoder", 1),))
    assert part.top_k("decoder", 1) == 2
    whole = usage.to_frame()
    rows = whole[(whole["stack"] == "decoder") & (whole["layer"] == 1)]
    for task in part.tasks:
        expected = rows[rows["task"] == task].reset_index(drop=True)
        found = part.to_frame()
        found = found[found["task"] == task].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
