"""Charts: each draws its tidy table, in every renderer."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
import vl_convert

import workbench as wb
from tests.models import config, translator
from workbench.checkpoint.components import COMPONENTS, stored_by_component
from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.differences import difference_chart
from workbench.figures.expert_overview import MOST_CELLS, REGION, expert_overview
from workbench.figures.export import export
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.kept_experts import AVERAGED, GONE, KEPT, kept_experts_map
from workbench.figures.sizes import FULL, PART, before_and_after, component_bars, component_sizes
from workbench.figures.throughput import throughput_chart
from workbench.figures.token_strip import token_strip
from workbench.figures.trade_off import front, quality_against_latency

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
        (
            0,
            "eng_Latn-deu_Latn",
            "encoder",
            1,
            position,
            token,
            rank,
            (position + rank) % 4,
            0.7 - 0.4 * rank,
        )
        for position, token in enumerate(("eng_Latn", "▁A", '▁"x', "</s>"))
        for rank in (0, 1)
    ],
    columns=["sentence", "task", "stack", "layer", "position", "token", "rank", "expert", "gate"],
)
SIZES = pd.DataFrame(
    {
        "network": ["full", "small"] * 2,
        "component": ["a", "a", "b", "b"],
        "parameters": [9, 4, 5, 5],
    }
)
POINTS = pd.DataFrame({"system": ["a", "b"], "score": [30.0, 31.0], "p50_ms": [4.0, 9.0]})

DIFFERENCES = pd.DataFrame(
    [("b", task, "chrF2++", -1.0, 0.5, 0.01) for task in ("eng_Latn-deu_Latn", "mean")],
    columns=["system", "task", "metric", "delta", "ci", "p_value"],
)
FATES = (KEPT, GONE, AVERAGED)
SPEEDS = pd.DataFrame(
    [(name, size, 9.0, 80.0 * size, 5.0, 6.0) for name in ("a", "b") for size in (1, 32)],
    columns=[
        "system",
        "batch_size",
        "sentences_per_second",
        "tokens_per_second",
        "p50_ms",
        "p95_ms",
    ],
)


@pytest.mark.parametrize(
    "chart",
    [
        expert_heat_map(USAGE, "decoder", 1, 2),
        token_strip(ROUTES, "encoder"),
        component_bars(SIZES),
        quality_against_latency(POINTS, "BLEU", "batch 1"),
        throughput_chart(SPEEDS, "cpu"),
    ],
    ids=["heat map", "token strip", "sizes", "trade-off", "throughput"],
)
def test_a_chart_is_drawn_with_its_marks(chart: alt.LayerChart) -> None:
    specification = chart.to_dict()
    for axis in ("x", "y"):  # Streamlit's default moves the first and the last label off the middle
        label = specification.get("layer", [specification])[0]["encoding"][axis]
        assert label["type"] == "quantitative" or label["axis"]["labelFlush"] is False
    assert "<path" in vl_convert.vegalite_to_svg(specification)
    assert specification["title"]["text"]


def test_sizes_before_and_after_are_of_parameters_and_of_bytes(tmp_path: Path) -> None:
    before, after = config("target", "target"), config("dense", "dense")
    translator("target", "target").save(tmp_path / "whole", dtype="bfloat16")
    stored = stored_by_component(tmp_path / "whole", before)
    sizes = component_sizes(before, after, {FULL: stored})
    assert "<path" in vl_convert.vegalite_to_svg(component_bars(sizes).to_dict())
    table = before_and_after(sizes).set_index("component")
    assert list(table.index) == [*COMPONENTS, "all"]
    assert (table["bytes"] == 4 * table["parameters"]).all(axis=None)
    assert table["stored", FULL]["experts"] == 2 * table["parameters", FULL]["experts"]
    assert table["stored", PART].isna().all() and table["parameters", PART]["experts"] == 0
    assert table["stored", FULL]["all"] == sum(stored.values())
    file = tmp_path / "whole" / "model.safetensors"
    assert 0 < file.stat().st_size - sum(stored.values()) < 20_000  # its header
    with pytest.raises(WorkbenchError, match="no checkpoint directory"):
        stored_by_component(tmp_path / "nowhere", before)


def test_the_front_is_of_the_systems_that_none_beats() -> None:
    points = pd.DataFrame(
        {
            "system": ["slow and good", "fast", "beaten", "as good as fast", "beaten by the first"],
            "score": [31.0, 30.0, 29.0, 30.0, 30.5],
            "p50_ms": [9.0, 4.0, 5.0, 6.0, 10.0],
        }
    )
    assert list(front(points)["system"]) == ["fast", "slow and good"]
    drawn = quality_against_latency(points, "BLEU", "batch 1").to_dict()
    assert drawn["layer"][0]["transform"][0]["filter"]["oneOf"] == ["fast", "slow and good"]
    assert drawn["title"]["subtitle"][0] == "batch 1"
    best = quality_against_latency(points[:1], "BLEU", "batch 1").to_dict()
    assert len(best["layer"]) == 1  # a front of one system is no line


def test_differences_are_drawn_by_direction_with_the_mean_last() -> None:
    chart = difference_chart(DIFFERENCES, "chrF2++", ["a", "b"]).to_dict()
    svg = vl_convert.vegalite_to_svg(chart)
    assert svg.index("English → German") < svg.index("Mean")
    assert "chrF++ against a" in svg
    assert ">0</text>" in svg and ">+0</text>" not in svg
    # The baseline keeps its colour, and has no place in the legend.
    assert chart["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["a", "b"]
    assert chart["layer"][1]["encoding"]["color"]["legend"]["values"] == ["b"]
    with pytest.raises(WorkbenchError, match="no difference in BLEU"):
        difference_chart(DIFFERENCES, "BLEU", ["a", "b"])


def test_long_words_are_broken_into_lines_that_a_phone_has_room_for() -> None:
    name = "captions-task-moe-extracted-eng_Latn-deu_Latn@ctranslate2-int8"
    conditions = "English → German, 220 sentences, batch 8, beam 4, float32, cpu (2 threads)"
    chart = quality_against_latency(
        POINTS.assign(system=["a", name]), "BLEU", f"{conditions}\nnext"
    )
    specification = chart.to_dict()
    subtitle = specification["title"]["subtitle"]
    assert " ".join(subtitle).startswith(f"{conditions} next Dashed")
    assert max(map(len, subtitle)) <= 62 and "next" in subtitle
    svg = vl_convert.vegalite_to_svg(specification)
    shown = re.findall(r">([^<>]*)</t(?:ext|span)>", svg)
    assert "captions-task-moe-extracted-" in shown and "…" not in svg
    title = token_strip(ROUTES.assign(task="eng_Latn-knc_Arab"), "encoder").to_dict()["title"]
    assert len(title["text"]) == 2


def test_equal_scores_have_room_around_them() -> None:
    chart = quality_against_latency(POINTS.assign(score=25.0), "BLEU", "").to_dict()
    assert chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [24.0, 26.0]


def test_every_one_of_eight_systems_is_seen() -> None:
    names = [f"system {number}" for number in range(8)]
    points = pd.DataFrame({"system": names, "score": range(8), "p50_ms": range(1, 9)})
    svg = vl_convert.vegalite_to_svg(quality_against_latency(points, "BLEU", "").to_dict())
    drawn = re.findall(r'="point" transform="[^"]*" d="([^"]*)"', svg)
    assert len(set(drawn)) == 8 and all({"A", "Z"} & set(path) for path in drawn)  # with an area


def test_there_is_no_room_for_latency_below_zero() -> None:
    chart = quality_against_latency(POINTS.assign(p50_ms=[1.0, 100.0]), "BLEU", "").to_dict()
    chart["width"] = 300
    assert "−" not in vl_convert.vegalite_to_svg(chart)


def test_the_heat_map_names_the_level_of_chance() -> None:
    assert "50%" in expert_heat_map(USAGE, "decoder", 1, 2).to_dict()["title"]["subtitle"]


def test_the_heat_map_is_in_the_order_that_is_asked_for() -> None:
    chart = expert_heat_map(USAGE, "decoder", 1, 2, tasks="target", experts="use", most=3)
    specification = chart.to_dict()
    x, y = (specification["layer"][0]["encoding"][axis]["sort"] for axis in ("x", "y"))
    assert x == [0, 1, 2]
    assert y == ["English → German", "English → French"]
    assert " ".join(specification["title"]["subtitle"]).endswith(
        "by chance 50% per expert; the 3 most used are shown"
    )
    (rows,) = specification["datasets"].values()
    assert {row["expert"] for row in rows} == {0, 1, 2}


LAYERS = pd.concat([USAGE, USAGE.assign(layer=3, share=USAGE["share"][::-1].to_numpy())])


def names_across(view: dict[str, Any]) -> list[str]:
    """The labels that the axis of a map has from left to right, gaps among them."""
    return json.loads(view["encoding"]["x"]["axis"]["labelExpr"].split("[floor")[0])


def test_an_overview_has_every_layer_in_one_map_with_a_gap_between_them() -> None:
    chart = expert_overview(LAYERS, "decoder", 2, experts="use").to_dict()
    assert names_across(chart["layer"][0]) == ["0", "1", "2", "3", "", "3", "2", "1", "0"]
    cells = next(rows for rows in chart["datasets"].values() if "share" in rows[0])
    assert len(cells) == 2 * 8 and {row["y"] for row in cells} == {0, 1}
    places = {(row["layer"], row["expert"]): (row["x"], row["share"]) for row in cells}
    assert places[1, 1] == (1, 0.75) and places[3, 3] == (5, 1.0) and places[3, 0] == (8, 0.0)
    assert chart["title"]["subtitle"] == "Each token chooses 2 of 4: by chance 50% per expert"
    svg = vl_convert.vegalite_to_svg(chart)
    assert "Layer 1" in svg and ">3</text>" in svg and "English → French" in svg
    one = expert_overview(LAYERS, "decoder", 2, layers=[3], most=2).to_dict()
    assert names_across(one["layer"][0]) == ["2", "3"]
    assert "the 2 most used are shown" in " ".join(one["title"]["subtitle"])
    with pytest.raises(WorkbenchError, match=r"no decoder layer 2 .*: decoder 1, decoder 3\."):
        expert_overview(LAYERS, "decoder", 2, layers=[1, 2])
    with pytest.raises(WorkbenchError, match=r"no encoder layer .*: decoder 1, decoder 3\."):
        expert_overview(LAYERS, "encoder", 2)


def test_a_part_of_an_overview_is_enlarged_below_it() -> None:
    chart = expert_overview(LAYERS, "decoder", 2, enlarge=True)
    specification = chart.to_dict()
    (region,) = specification["params"]
    assert region["name"] == REGION and region["value"] == {"x": [0, 9], "y": [0, 2]}
    whole, part = specification["vconcat"]  # single views, which Streamlit fits to its page
    assert whole["mark"]["type"] == part["mark"]["type"] == "rect"
    assert part["encoding"]["x"]["scale"]["domain"] == {"param": REGION, "encoding": "x"}
    assert names_across(part)[3:6] == ["1 · 3", "", "3 · 0"]
    region["value"] = {"x": [1, 3], "y": [0, 1]}
    svg = vl_convert.vegalite_to_svg(specification)
    assert "1 · 2" in svg and "1 · 3" not in svg
    assert ">English → German<" in svg and ">English → French<" not in svg
    written = export(chart, LAYERS, "where it is from", "json")
    assert isinstance(alt.Chart.from_json(written.decode()), alt.ConcatChart)
    assert ">English → French<" in export(chart, LAYERS, "", "svg").decode()


def test_an_overview_of_very_many_cells_shows_the_experts_that_are_used_most() -> None:
    experts = MOST_CELLS // 4 + 10
    rows = [
        (task, "decoder", layer, expert, expert, expert / experts, 0.1)
        for task in ("eng_Latn-deu_Latn", "eng_Latn-fra_Latn")
        for layer in (1, 3)
        for expert in range(experts)
    ]
    chart = expert_overview(pd.DataFrame(rows, columns=USAGE.columns), "decoder", 2)
    specification = chart.to_dict()  # which Altair by itself refuses beyond 5,000 rows
    assert f"the {MOST_CELLS // 4} most used of each are shown" in " ".join(
        specification["title"]["subtitle"]
    )
    cells = next(rows for rows in specification["datasets"].values() if "share" in rows[0])
    assert len(cells) == MOST_CELLS and min(row["expert"] for row in cells) == 10


def test_what_becomes_of_experts_looks_in_the_legend_as_in_the_map() -> None:
    fates = [(f"decoder {layer}", e, f, e) for layer in (1, 3) for e, f in enumerate(FATES)]
    chart = kept_experts_map(pd.DataFrame(fates, columns=["layer", "expert", "fate", "into"]))
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    paths = [path for path in re.findall(r"<path[^>]*>", svg) if "#8C8C8C" in path]
    assert len(paths) == 3 and all(path.endswith(' opacity="0.35"/>') for path in paths)
    assert svg.count(' opacity="0.35"') == 3


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


@pytest.mark.parametrize("experts", [4, 16, 128])
def test_an_exported_map_of_experts_has_its_title_whole_and_labels_apart(experts: int) -> None:
    usage = pd.DataFrame(
        [("eng_Latn-deu_Latn", "decoder", 1, expert, 1, 0.1, 0.1) for expert in range(experts)],
        columns=USAGE.columns,
    )
    kept = pd.DataFrame(
        [("decoder 1", expert, KEPT, expert) for expert in range(experts)],
        columns=["layer", "expert", "fate", "into"],
    )
    for chart in (expert_heat_map(usage, "decoder", 1, 2), kept_experts_map(kept)):
        specification = chart.to_dict()
        svg = vl_convert.vegalite_to_svg(specification)
        whole = float(re.findall(r'<svg[^>]* width="([\d.]+)"', svg)[0])
        assert whole > specification["width"] >= 300
        assert whole > 6.5 * len(specification["title"]["text"])
        group = svg[svg.index("role-axis-label") :]
        labels = re.findall(
            r'translate\(([\d.]+),[^>]*opacity="1"[^>]*>(\d+)<', group[: group.index("</g>")]
        )
        places = [float(place) for place, _ in labels]
        gaps = [after - before for before, after in pairwise(places)]
        assert len(places) >= 4
        assert min(gaps) > 8 * len(labels[-1][1])


@pytest.mark.parametrize(("stack", "layer"), [("decoder", 0), ("nope", 1), ("encoder", 9)])
def test_a_layer_that_the_usage_lacks_is_told_those_there_are(stack: str, layer: int) -> None:
    with pytest.raises(WorkbenchError, match=f"no {stack} layer {layer} .*: decoder 1\\."):
        expert_heat_map(USAGE, stack, layer, 2)


@pytest.mark.parametrize(
    ("task", "stack", "leftwards"),
    [
        ("eng_Latn-arb_Arab", "encoder", False),
        ("eng_Latn-arb_Arab", "decoder", True),
        ("heb_Hebr-eng_Latn", "encoder", True),
        ("heb_Hebr-eng_Latn", "decoder", False),
    ],
)
def test_a_token_strip_runs_as_its_script_does(task: str, stack: str, leftwards: bool) -> None:
    strip = token_strip(ROUTES.assign(task=task, stack=stack), stack).to_dict()
    for layer in strip["layer"]:
        assert layer["encoding"]["x"]["scale"]["reverse"] is leftwards


def test_a_token_strip_is_of_one_sentence_and_of_a_stack_that_is_there() -> None:
    title = token_strip(ROUTES, "encoder").to_dict()["title"]["text"]
    assert title == "Encoder, English → German: expert of each token"
    with pytest.raises(WorkbenchError, match="one sentence, and these rows are of 2"):
        token_strip(pd.concat([ROUTES, ROUTES.assign(sentence=1)]), "encoder")
    with pytest.raises(WorkbenchError, match=r"'decoder'\. Stacks in them: encoder"):
        token_strip(ROUTES, "decoder")


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: expert_heat_map(ROUTES, "encoder", 1, 2), "usage has no column 'share': give the"),
        (lambda: expert_heat_map(USAGE, "decoder", 1, 2, most=0), "most is 0: it must be"),
        (lambda: expert_overview(USAGE, "decoder", 2, most=-1), "most is -1: it must be"),
        (lambda: expert_overview(USAGE, "decoder", 2, layers=[]), "needs one layer or more"),
        (lambda: wb.task_similarity_map(USAGE, "decoder", 1), "table that similarity gives"),
        (lambda: wb.specialization_chart(USAGE, 2), "table that specialization gives"),
        (lambda: wb.coactivation_map(USAGE, "decoder", 1, 2), "table that coactivation gives"),
        (lambda: wb.flow_chart(USAGE, "decoder"), "table that layer_flow gives"),
        (lambda: wb.sentence_map(None, "decoder", 1), "points is None: give the table that sen"),
        (lambda: token_strip(USAGE, "decoder"), "table that trace_routes gives"),
        (lambda: throughput_chart(USAGE, ""), "table that benchmark gives"),
        (lambda: quality_against_latency(USAGE, "BLEU", ""), "table that a comparison gives"),
        (lambda: difference_chart(USAGE, "BLEU", ["a"]), "table that from_baseline gives"),
        (lambda: kept_experts_map(USAGE), "table that fates gives"),
        (lambda: component_bars(USAGE), "Its columns: task, stack, layer, expert, tokens, share"),
    ],
)
def test_another_table_is_refused_with_what_gives_the_right_one(draw: Any, says: str) -> None:
    with pytest.raises(WorkbenchError, match=says):
        draw()


def test_what_becomes_a_table_is_drawn_as_one() -> None:
    class Speeds:
        def to_frame(self) -> pd.DataFrame:
            return SPEEDS

    whole = throughput_chart(Speeds(), "cpu").to_dict()  # type: ignore[arg-type]
    assert whole == throughput_chart(SPEEDS, "cpu").to_dict()
