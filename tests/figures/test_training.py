"""Charts of training runs: each draws its tidy table, and long runs with as many marks as can be told apart."""

from __future__ import annotations

import pandas as pd
import pytest
import vl_convert

from workbench.errors import WorkbenchError
from workbench.figures.training import (
    bleu_chart,
    bleu_map,
    expert_load_chart,
    loss_chart,
    routing_chart,
)

STEPS = (10, 20, 30)
LOSSES = pd.DataFrame(
    [
        (run, step, text, 5 - step / 20)
        for run in ("a", "b")
        for text in ("training", "validation")
        for step in STEPS
    ],
    columns=["run", "step", "text", "nats"],
)
SCORES = pd.DataFrame(
    [
        ("a", step, task, 3.0, step + number)
        for step in STEPS
        for number, task in enumerate(("average", "eng_Latn-deu_Latn", "deu_Latn-eng_Latn"))
    ],
    columns=["run", "step", "task", "nats", "bleu"],
)
LOAD = pd.DataFrame(
    [
        (step, "encoder", 1, expert, share)
        for step in STEPS
        for expert, share in enumerate((0.75, 0.25, 0.75, 0.25))
    ],
    columns=["step", "stack", "layer", "expert", "share"],
)
ROUTING = pd.DataFrame(
    [(step, stack, 1, 1 / step, None) for step in STEPS for stack in ("encoder", "decoder")],
    columns=["step", "stack", "layer", "entropy", "dropped"],
)


@pytest.mark.parametrize(
    "chart",
    [
        loss_chart(LOSSES),
        bleu_chart(SCORES, "eng_Latn-deu_Latn"),
        bleu_map(SCORES),
        expert_load_chart(LOAD, "encoder", 1),
        routing_chart(ROUTING),
    ],
    ids=["loss", "BLEU", "BLEU of directions", "expert load", "entropy"],
)
def test_a_chart_is_drawn_and_says_what_it_shows_over_what(chart) -> None:
    specification = chart.to_dict()
    assert "over steps" in specification["title"]["text"]
    for layer in specification.get("layer", [specification]):
        for axis in (
            "x",
            "y",
        ):  # Streamlit's default moves the first and the last label off the middle
            label = layer["encoding"][axis]
            assert label["type"] == "quantitative" or label["axis"]["labelFlush"] is False
    assert "<path" in vl_convert.vegalite_to_svg(specification)


@pytest.mark.parametrize("chart", [loss_chart(LOSSES), routing_chart(ROUTING)])
def test_lines_differ_in_more_than_colour(chart) -> None:
    channels = {name for layer in chart.to_dict()["layer"] for name in layer["encoding"]}
    assert {"color", "strokeDash", "shape"} <= channels


def test_the_encoder_comes_before_the_decoder() -> None:
    both = pd.concat([ROUTING.assign(stack=stack, layer=1) for stack in ("decoder", "encoder")])
    encoding = routing_chart(both).to_dict()["layer"][0]["encoding"]
    assert encoding["color"]["scale"]["domain"] == ["Encoder layer 1", "Decoder layer 1"]


def test_a_run_with_one_training_loss_has_a_dash_where_others_have_a_line() -> None:
    losses = LOSSES[(LOSSES["run"] == "a") | (LOSSES["step"] == 10)]
    chart = loss_chart(losses).to_dict()
    [dashes] = [x for x in chart["layer"] if x["mark"].get("shape") == "stroke"]
    assert [(row["run"], row["step"]) for row in chart["datasets"][dashes["data"]["name"]]] == [
        ("b", 10)
    ]


def test_expert_load_names_the_even_share_and_spans_the_steps_that_a_line_is_of() -> None:
    specification = expert_load_chart(LOAD, "encoder", 1).to_dict()
    assert "chooses 2 of 4: evenly 50%" in specification["title"]["subtitle"]
    (rows,) = specification["datasets"].values()
    spans = [(row["from"], row["step"]) for row in rows if row["expert"] == 0]
    assert spans == [(0, 10), (10, 20), (20, 30)]


def test_of_a_long_run_neighbouring_rows_become_one_with_their_mean() -> None:
    long = pd.concat([LOAD[LOAD["step"] == 10].assign(step=step) for step in range(1, 1001)])
    (rows,) = expert_load_chart(long, "encoder", 1).to_dict()["datasets"].values()
    assert len(rows) == 4 * 150
    assert rows[-1]["step"] == 1000
    assert {row["share"] for row in rows if row["expert"] == 1} == {0.25}


def test_a_map_of_no_bleu_at_all_has_the_lowest_colour() -> None:
    [cells, _] = bleu_map(SCORES.assign(bleu=0.0)).to_dict()["layer"]
    assert cells["encoding"]["color"]["scale"]["domain"] == [0, 1]


def test_bleu_of_what_is_no_direction_keeps_its_name() -> None:
    scores = SCORES.replace("deu_Latn-eng_Latn", "news")
    assert "news, greedy" in str(bleu_chart(scores, "news").to_dict()["title"])
    assert "news" in str(bleu_map(scores).to_dict()["datasets"])


def test_bleu_of_a_direction_that_is_not_there_is_told_those_there_are() -> None:
    with pytest.raises(WorkbenchError, match="Tasks: average, eng_Latn-deu_Latn"):
        bleu_chart(SCORES, "eng_Latn-fra_Latn")


def test_a_map_of_bleu_is_of_one_run() -> None:
    with pytest.raises(WorkbenchError, match="one run, and these rows are of 2"):
        bleu_map(pd.concat([SCORES, SCORES.assign(run="b")]))


def test_a_layer_or_figure_that_is_not_there_is_named() -> None:
    with pytest.raises(WorkbenchError, match=r"no decoder layer 1 .*: encoder 1\."):
        expert_load_chart(LOAD, "decoder", 1)
    with pytest.raises(WorkbenchError, match="dropped"):
        routing_chart(ROUTING, "dropped")
