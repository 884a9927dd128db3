"""The one look of every figure: colours that a colour-blind reader can tell apart, sizes, and axes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any, Final

import altair as alt

#: Okabe and Ito's palette without black, which a dark page would swallow; a grey stands for it.
#: Then eight more for layers of many experts, far from those before, though not to every colour-blind reader.
CATEGORIES = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#8C8C8C",
    "#7A3DE0",
    "#7A3B00",
    "#2F6B00",
    "#96005F",
    "#F0B0FF",
    "#8EDB3A",
    "#5FE0D0",
    "#FF3B5C",
)
#: For quantities: perceptually uniform, and good on light and on dark pages.
SEQUENTIAL: Final = "viridis"
#: Of what stands back: to be read on white and on black.
FAINT: Final = "#767676"
#: Pixels of a plot without cells across, where it is exported; the app stretches every figure to its page.
WIDTH: Final = 460
#: Cells across that may have numbers; with more there is no page wide enough, and drawing them takes long.
NUMBERED: Final = 48
_NUMBER = 30  # pixels that a number needs
_CELL, _NARROWEST, _WIDEST = 34, 300, 900
#: Characters of a line of a title, a subtitle and a legend of names or of systems, to fit the 330 pixels of a phone.
_TITLE_LINE, _SUBTITLE_LINE, _NAME_LINE, _SYSTEM_LINE = 52, 62, 34, 28
#: Columns of a legend: two, and one where a column of a page is narrow.
LEGEND_COLUMNS: Final = alt.ExprRef("width < 420 ? 1 : 2")
alt.data_transformers.disable_max_rows()  # 200 tasks are 40,000 pairs
#: All with an area: points are filled, and a mere stroke would not be seen.
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)


def category(index: int) -> str:
    """Colour of the category with this number. It repeats after sixteen: always show the number too."""
    return CATEGORIES[index % len(CATEGORIES)]


def on_white(colour: str, opacity: float) -> str:
    """What `colour`, a `#rrggbb`, looks like on white paper when it is no more than so opaque."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (c - 255) * opacity):02x}" for c in channels)


def ink(colour: str) -> str:
    """Black or white, whichever is easier to read on `colour`, a `#rrggbb` (WCAG relative luminance)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if luminance > 0.179 else "#ffffff"


def width_of(cells: int) -> int:
    """Pixels of a plot with so many cells across, each wide enough for a number as far as paper reaches."""
    return min(max(_CELL * cells, _NARROWEST), _WIDEST)


def expert_axis() -> alt.Axis:
    """Experts across: upright numbers, some left out where they would touch."""
    return alt.Axis(
        labelAngle=0, orient="bottom", labelFlush=False, labelOverlap=True, labelSeparation=4
    )


def row_axis() -> alt.Axis:
    """Names down, each at the middle of its row: Streamlit would move the first and the last to the edge."""
    return alt.Axis(labelFlush=False)


def expert_rows() -> alt.Axis:
    """Experts down, some numbers left out where they would touch."""
    return alt.Axis(labelFlush=False, labelOverlap=True, labelSeparation=2)


def corners(cells: int) -> int:
    """How round the corners of cells are, so many across, in pixels: none of those as small as dots."""
    return 2 if cells <= NUMBERED else 0


def gradient_legend(**more: Any) -> alt.Legend:
    """The legend of a colour scale, above the plot."""
    return alt.Legend(
        orient="top", gradientLength=130, gradientThickness=8, titleOrient="top", **more
    )


def system_colour(names: Sequence[str], **legend: Any) -> alt.Color:
    """Colour of each system, the same in every chart of a comparison; `system_shape` goes with it."""
    colours = [category(i) for i in range(len(names))]
    return alt.Color(
        "system:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=colours),
        legend=name_legend(names, 1, _SYSTEM_LINE, symbolSize=90, **legend),
    )


def system_shape(names: Sequence[str], **legend: Any) -> alt.Shape:
    """Shape of each system's points, so that colour is not alone in telling them apart; the legend is one with the
    colours' where it is told the same.
    """
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    return alt.Shape(
        "system:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=shapes),
        legend=name_legend(names, 1, _SYSTEM_LINE, symbolSize=90, **legend),
    )


def name_legend(
    names: Sequence[str],
    columns: int | alt.ExprRef = LEGEND_COLUMNS,
    longest: int = _NAME_LINE,
    **more: Any,
) -> alt.Legend:
    """A legend above the plot, its names in full: those of more characters than `longest` are broken into lines."""
    broken = {name: textwrap.wrap(name, longest) for name in names if len(name) > longest}
    label = f"{json.dumps(broken)}[datum.label] || datum.label" if broken else alt.Undefined
    return alt.Legend(
        orient="top", columns=columns, labelLimit=0, rowPadding=2, labelExpr=label, **more
    )


def share_colour(what: str) -> alt.Color:
    """Colour of a share, the same for every layer and network; the root shows what is near chance, too."""
    return alt.Color(
        "share:Q",
        title=what,
        scale=alt.Scale(type="sqrt", scheme=SEQUENTIAL, domain=[0, 1]),
        legend=gradient_legend(format="%", values=[0, 0.1, 0.3, 1]),
    )


def share_numbers(base: alt.Chart, cells: int) -> alt.Chart:
    """The share as a number in each of `base`'s cells, so many across, where they are wide enough for it."""
    fits = alt.ExprRef(f"width / {cells} >= {_NUMBER} ? 1 : 0")
    return base.mark_text(fontSize=11, opacity=fits).encode(  # type: ignore[no-any-return]
        text=alt.condition(
            "datum.share >= 0.005", alt.Text("share:Q", format=".0%"), alt.value("")
        ),
        color=alt.condition("datum.share > 0.2", alt.value("#000000"), alt.value("#ffffff")),
    )


def title(text: str, subtitle: str = "") -> dict[str, Any]:
    """A chart's title: what is shown over what, and below it how to read it; what is long is broken into lines."""
    found: dict[str, Any] = {
        "text": _lines(text, _TITLE_LINE),
        "anchor": "start",
        "fontSize": 14,
        "offset": 10,
    }
    if subtitle:
        found |= {
            "subtitle": _lines(subtitle, _SUBTITLE_LINE),
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "subtitleColor": FAINT,
        }
    return found


def _lines(text: str, longest: int) -> str | list[str]:
    lines = [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, longest, break_on_hyphens=False)
    ]
    return lines if len(lines) > 1 else text


def styled(chart: Any) -> Any:
    """`chart` with the sizes of the theme; the colours of text and page are left to where it is shown."""
    return (
        chart.configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=8,
            labelLimit=220,
            domain=False,
            ticks=False,
            labelPadding=6,
            labelFlush=False,
        )
        .configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_title(fontWeight=600, subtitleFontWeight="normal")
    )
