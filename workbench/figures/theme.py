"""The one look of every figure: colours that a colour-blind reader can tell apart, sizes, and axes."""

from __future__ import annotations

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
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke", "wedge")


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


def gradient_legend(**more: Any) -> alt.Legend:
    """The legend of a colour scale, above the plot."""
    return alt.Legend(
        orient="top", gradientLength=150, gradientThickness=8, titleOrient="top", **more
    )


def system_colour(names: Sequence[str], **legend: Any) -> alt.Color:
    """Colour of each system, the same in every chart of a comparison; `system_shape` goes with it."""
    colours = [category(i) for i in range(len(names))]
    return alt.Color(
        "system:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=colours),
        legend=_system_legend(legend),
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
        legend=_system_legend(legend),
    )


def _system_legend(more: dict[str, Any]) -> alt.Legend:
    return alt.Legend(orient="top", columns=1, labelLimit=260, symbolSize=90, **more)


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
    """A chart's title: what is shown over what, and below it, in one line or several, how to read it."""
    found: dict[str, Any] = {"text": text, "anchor": "start", "fontSize": 14, "offset": 10}
    if subtitle:
        found |= {
            "subtitle": subtitle.split("\n") if "\n" in subtitle else subtitle,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "subtitleColor": FAINT,
        }
    return found


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
        )
        .configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_title(fontWeight=600, subtitleFontWeight="normal")
    )
