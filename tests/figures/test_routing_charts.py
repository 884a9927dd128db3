"""Charts of how tasks, sentences and tokens are routed, and the files of any chart."""

from __future__ import annotations

import json
import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.figures.coactivation import coactivation_map
from workbench.figures.export import FORMATS, export, provenance_line
from workbench.figures.flow import MOST, flow_chart
from workbench.figures.sentence_map import BRUSH, sentence_map
from workbench.figures.specialization import specialization_chart
from workbench.figures.standard import standard_figures
from workbench.figures.task_similarity import task_similarity_map
from workbench.languages import LANGUAGES
from workbench.routing.trace import Routes
from workbench.tasks import parse_task

TASKS = ("eng_Latn-deu_Latn", "deu_Latn-eng_Latn", "eng_Latn-fra_Latn", "fra_Latn-eng_Latn")


def pairs(divergence: np.ndarray, tasks: tuple[str, ...] = TASKS) -> pd.DataFrame:
    """A table of similarity as the workbench gives it."""
    count = len(tasks)
    return pd.DataFrame(
        {
            "stack": "decoder",
            "layer": 1,
            "task": np.repeat(tasks, count),
            "other": np.tile(tasks, count),
            "divergence": divergence.reshape(-1),
            "similarity": 1 - divergence.reshape(-1),
        }
    )


BY_TARGET = np.array(
    [[0, 0.8, 0.1, 0.9], [0.8, 0, 0.9, 0.2], [0.1, 0.9, 0, 0.8], [0.9, 0.2, 0.8, 0]]
)
SPECIALIZATION = pd.DataFrame(
    {
        "stack": ["encoder", "decoder"],
        "layer": [1, 1],
        "information": [0.1, 1.5],
        "information_chance": [0.01, 0.02],
        "information_p": [0.2, 0.005],
        "divergence": [0.05, 0.8],
        "divergence_chance": [0.01, 0.01],
        "load_entropy": [0.99, 0.7],
    }
)
TOGETHER = pd.DataFrame(
    [("encoder", 1, i, j, 5 * (i != j), 0.5 * (i != j)) for i in range(3) for j in range(3)],
    columns=["stack", "layer", "expert", "other", "tokens", "share"],
)
POINTS = pd.DataFrame(
    {
        "sentence": range(4),
        "task": TASKS,
        "x": [0.0, 1.0, 0.5, 2.0],
        "y": [1.0, 1.5, 0.0, 0.2],
        "source": ["A", "Ein", "A", "Un"],
        "translation": ["Ein", "A", "Un", "رجل"],
    }
)


def drawn(chart: Any) -> str:
    """The chart as SVG."""
    return export(chart, pd.DataFrame(), "where it is from", "svg").decode()


def test_tasks_that_are_alike_stand_side_by_side() -> None:
    table = pairs(BY_TARGET)
    specification = task_similarity_map(table, "decoder", 1).to_dict()
    cells = next(iter(specification["datasets"].values()))
    order = dict(sorted((row["y"], row["one"]) for row in cells))
    # Either group may come first, and either of its tasks.
    names = list(order.values())
    assert {frozenset(names[:2]), frozenset(names[2:])} == {
        frozenset({"English → German", "English → French"}),
        frozenset({"German → English", "French → English"}),
    }
    picture = drawn(task_similarity_map(table, "decoder", 1))
    assert "0.90" in picture and "where it is from" in picture
    with pytest.raises(WorkbenchError, match="no encoder layer 1"):
        task_similarity_map(table, "encoder", 1)
    with pytest.raises(WorkbenchError, match="two or more"):
        task_similarity_map(table[:1], "decoder", 1)


def test_a_task_without_routes_is_left_out() -> None:
    divergence = BY_TARGET.copy()
    divergence[3] = divergence[:, 3] = np.nan
    cells = task_similarity_map(pairs(divergence), "decoder", 1).to_dict()["datasets"]
    assert len(next(iter(cells.values()))) == 9


def test_specialisation_shows_what_was_told_and_the_chance_of_it() -> None:
    chart = specialization_chart(SPECIALIZATION, 4)
    picture = drawn(chart)
    assert "1.50" in picture and "at most 2.00 bits for 4 tasks" in picture
    by_chance = SPECIALIZATION.assign(information_chance=1.9)  # its marks are beyond the bars
    places = [
        float(re.findall(r"translate\(([\d.]+),[^>]*>1\.50<", each)[0])
        for each in (picture, drawn(specialization_chart(by_chance, 4)))
    ]
    assert places[1] > places[0] + 80
    with pytest.raises(WorkbenchError, match="two tasks"):
        specialization_chart(SPECIALIZATION.assign(information=np.nan), 1)


def test_experts_chosen_together_and_their_chance() -> None:
    assert "by chance 50.0%" in drawn(coactivation_map(TOGETHER, "encoder", 1, 2))
    assert "chosen by none" not in drawn(coactivation_map(TOGETHER, "encoder", 1, 2))
    unused = TOGETHER.assign(share=TOGETHER["share"].where(TOGETHER["expert"] != 2))
    chart = coactivation_map(unused, "encoder", 1, 2)
    assert "empty rows: chosen by none" in drawn(chart)
    (rows,) = chart.to_dict()["datasets"].values()
    assert {row["expert"] for row in rows} == {0, 1}
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["axis"]["labelOverlap"] is True
    with pytest.raises(WorkbenchError, match="several experts"):
        coactivation_map(TOGETHER, "decoder", 1, 2)


def test_a_map_of_sentences_can_be_selected_from() -> None:
    still, chosen = (sentence_map(POINTS, "encoder", 1, s).to_dict() for s in (False, True))
    assert "params" not in still and chosen["params"][0]["name"] == BRUSH
    assert "French → English" in drawn(sentence_map(POINTS, "encoder", 1))
    (rows,) = sentence_map(POINTS, "encoder", 1).to_dict()["datasets"].values()
    order = [row["sentence"] for row in rows]  # no task lies above all others
    assert sorted(order) == sorted(POINTS["sentence"]) != order
    with pytest.raises(WorkbenchError, match="no sentences"):
        sentence_map(POINTS[:0], "encoder", 1)


@pytest.mark.parametrize("form", FORMATS)
def test_a_figure_is_written_in_every_form(form: str) -> None:
    line = provenance_line("captions-token-moe", "60 captions")
    written = export(sentence_map(POINTS, "encoder", 1), POINTS, line, form)
    start = {
        "svg": b"<svg",
        "pdf": b"%PDF",
        "png": b"\x89PNG",
        "csv": b"sentence,task,",
        "json": b"{",
    }
    assert written.startswith(start[form])
    if form == "png":  # 144 pixels an inch, in pixels a metre
        assert int.from_bytes(written[written.index(b"pHYs") + 4 :][:4]) == 5669
    if form == "json":
        assert json.loads(written)["concat"][1]["mark"]["text"] == line
        assert isinstance(alt.Chart.from_json(written.decode()), alt.ConcatChart)  # valid
    if form == "csv":
        assert "رجل" in written.decode()


CODES = [language.code for language in LANGUAGES if language.code != "eng_Latn"][:100]
MANY = tuple(f"eng_Latn-{code}" for code in CODES) + tuple(f"{c}-eng_Latn" for c in CODES)


def test_more_tasks_than_a_legend_names_have_none() -> None:
    points = pd.DataFrame({"sentence": range(200), "task": MANY, "x": 0.0, "y": 0.0})
    chart = sentence_map(points.assign(source="", translation=""), "encoder", 1).to_dict()
    assert chart["encoding"]["color"]["legend"] is chart["encoding"]["shape"]["legend"] is None
    assert chart["title"]["subtitle"][-1].startswith("200 tasks, too many for a legend")


def test_two_hundred_tasks_are_drawn_whole() -> None:
    tasks = MANY
    made = np.random.default_rng(0).random((200, 200))
    divergence = (made + made.T) / 2
    np.fill_diagonal(divergence, 0)
    table = pairs(divergence, tasks)
    written = json.loads(export(task_similarity_map(table, "decoder", 1), table, "", "json"))
    assert max(map(len, written["datasets"].values())) == 40_000


def test_a_long_line_of_provenance_is_broken() -> None:
    line = provenance_line(
        "a-name-" * 6, "captions: references of 220 sentences in each of 14 tasks"
    )
    written = json.loads(export(sentence_map(POINTS, "encoder", 1), POINTS, line, "json"))
    below = written["concat"][1]
    assert " ".join(below["mark"]["text"]) == line and below["height"] == 24
    assert max(map(len, below["mark"]["text"])) <= 104
    assert below["mark"]["text"][1].startswith("Task-MoE workbench ")  # between parts


def test_no_expression_of_an_exported_figure_asks_for_a_width_that_it_does_not_know() -> None:
    written = export(sentence_map(POINTS, "encoder", 1), POINTS, "", "json").decode()
    assert '"460 < 420 ? 1 : 2"' in written and "width <" not in written


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(WorkbenchError, match="svg, pdf, png, csv, json, not as 'gif'"):
        export(alt.Chart(), POINTS, "", "gif")


def flow(experts: int) -> pd.DataFrame:
    """Every expert of layer 1 sends a token or more to every one of layer 3."""
    rows = [
        ("encoder", 1, i, 3, j, 1 + (i == j), 0.5, 0.3, 0.7, 0.01)
        for i in range(experts)
        for j in range(experts)
    ]
    names = ["stack", "layer", "expert", "next_layer", "next_expert", "tokens", "share"]
    return pd.DataFrame(rows, columns=[*names, "by_chance", "information", "information_chance"])


def test_ribbons_of_a_flow_begin_and_end_where_their_experts_are() -> None:
    specification = flow_chart(flow(3), "encoder").to_dict()
    ribbons, bars = (
        pd.DataFrame(rows)
        for rows in sorted(specification["datasets"].values(), key=lambda r: "ribbon" not in r[0])
    )
    for _, points in ribbons.groupby("ribbon"):
        for end, layer in ((0, 1), (-1, 3)):
            point = points.iloc[end]
            expert = int(point["from" if end == 0 else "to"].rsplit(" ", 1)[1])
            bar = bars[(bars["layer"] == layer) & (bars["expert"] == expert)].iloc[0]
            assert bar["y"] - 1e-9 <= point["y"] < point["y2"] <= bar["y2"] + 1e-9
    heights = (ribbons["y2"] - ribbons["y"]).groupby(ribbons["ribbon"]).first()
    assert heights.sum() == pytest.approx(1)
    subtitle = " ".join(specification["title"]["subtitle"])
    assert subtitle == "First choices. A choice tells 0.70 bits of the next; shuffled 0.01"
    assert drawn(flow_chart(flow(3), "encoder")).count("<path") >= 9 + 6


def test_of_very_many_ribbons_the_widest_are_drawn() -> None:
    specification = flow_chart(flow(20), "encoder").to_dict()
    (ribbons,) = (rows for rows in specification["datasets"].values() if "ribbon" in rows[0])
    names = {row["ribbon"] for row in ribbons}
    assert len(names) == MOST and all(f"1 {i} {i}" in names for i in range(20))
    assert f"{MOST} widest" in specification["title"]["subtitle"][-1]
    with pytest.raises(WorkbenchError, match="the decoder has fewer"):
        flow_chart(flow(3), "decoder")


def test_the_standard_set_has_the_layers_of_a_stack_side_by_side_too() -> None:
    rows = [
        (0, TASKS[0], "encoder", layer, position, "x", rank, (position + rank) % 3, 0.5)
        for layer in (1, 3)
        for position in range(3)
        for rank in (0, 1)
    ]
    names = ["sentence", "task", "stack", "layer", "position", "token", "rank", "expert", "gate"]
    frame, task = pd.DataFrame(rows, columns=names), parse_task(TASKS[0])
    routes = Routes(frame, (task,), ("a",), ("b",), {"encoder": (1, 3)}, {"encoder": 3})
    found = {figure.name: figure for figure in standard_figures(routes)}
    assert [name for name in found if name.startswith("usage")] == [
        "usage-encoder-1",
        "usage-encoder-3",
        "usage-encoder",
    ]
    assert "Encoder layers 1, 3" in drawn(found["usage-encoder"].chart)
    assert set(found["usage-encoder"].data["layer"]) == {1, 3}
