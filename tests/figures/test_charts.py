"""Charts: each draws its tidy table, in every renderer."""

from __future__ import annotations

import altair as alt
import pandas as pd
import pytest
import vl_convert

from workbench.figures import theme
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.sizes import component_bars
from workbench.figures.token_strip import token_strip
from workbench.figures.trade_off import quality_against_latency

USAGE = pd.DataFrame(
    [
        (task, "decoder", 1, expert, 10, share, share / 2)
        for task in ("eng_Latn-deu_Latn", "eng_Latn-fra_Latn")
        for expert, share in enumerate((1.0, 0.75, 0.25, 0.0))
    ],
    columns=["task", "stack", "layer", "expert", "tokens", "share", "gate"],
)
ROUTES = pd.DataFrame(
    [
        (0, "encoder", 1, position, token, rank, (position + rank) % 4, 0.7 - 0.4 * rank)
        for position, token in enumerate(("eng_Latn", "▁A", '▁"x', "</s>"))
        for rank in (0, 1)
    ],
    columns=["sentence", "stack", "layer", "position", "token", "rank", "expert", "gate"],
)
SIZES = pd.DataFrame(
    {
        "network": ["full", "small"] * 2,
        "component": ["a", "a", "b", "b"],
        "parameters": [9, 4, 5, 5],
    }
)
POINTS = pd.DataFrame({"system": ["a", "b"], "score": [30.0, 31.0], "p50_ms": [4.0, 9.0]})


@pytest.mark.parametrize(
    "chart",
    [
        expert_heat_map(USAGE, "decoder", 1, 2),
        token_strip(ROUTES, "encoder"),
        component_bars(SIZES),
        quality_against_latency(POINTS, "BLEU", "batch 1"),
    ],
    ids=["heat map", "token strip", "sizes", "trade-off"],
)
def test_a_chart_is_drawn_with_its_marks(chart: alt.LayerChart) -> None:
    specification = chart.to_dict()
    specification.pop("width", None)
    assert "<path" in vl_convert.vegalite_to_svg(specification)
    assert specification["title"]["text"]


def test_equal_scores_have_room_around_them() -> None:
    chart = quality_against_latency(POINTS.assign(score=25.0), "BLEU", "").to_dict()
    assert chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [24.0, 26.0]


def test_there_is_no_room_for_latency_below_zero() -> None:
    chart = quality_against_latency(POINTS.assign(p50_ms=[1.0, 100.0]), "BLEU", "").to_dict()
    chart["width"] = 300
    assert "−" not in vl_convert.vegalite_to_svg(chart)


def test_the_heat_map_names_the_level_of_chance() -> None:
    assert "50%" in expert_heat_map(USAGE, "decoder", 1, 2).to_dict()["title"]["subtitle"]


def test_text_on_a_colour_is_the_more_readable_of_black_and_white() -> None:
    assert theme.ink("#F0E442") == "#000000"
    assert theme.ink("#0072B2") == "#ffffff"


def test_numbers_of_a_token_strip_are_readable_on_the_colour_that_is_seen() -> None:
    (rows,) = token_strip(ROUTES, "encoder").to_dict()["datasets"].values()
    seen = {(row["expert"], row["rank"]): (row["colour"], row["ink"]) for row in rows}
    assert seen[0, 0] == (theme.on_white("#0072B2", 0.805), "#000000")
    assert seen[0, 1] == (theme.on_white("#0072B2", 0.545), "#000000")
    assert theme.on_white("#0072B2", 0.5) == "#80b8d8"


def test_sixteen_experts_have_sixteen_colours() -> None:
    assert len({theme.category(number) for number in range(16)}) == 16
