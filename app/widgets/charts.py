"""A chart and its menu: the files that it can be had as."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from workbench.figures.export import FORMATS, export, provenance_line

_TYPES = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "csv": "text/csv",
    "json": "application/json",
}
_NAMES = {"csv": "CSV, the numbers", "json": "Vega-Lite JSON"}


#: Pixels of title and legend, which Streamlit takes from a height that is given as a number.
AROUND = 110


def show_chart(chart: Any, data: pd.DataFrame, name: str, of: str) -> None:
    """Draw a chart, and below it the menu. name: of the files. of: what its line of provenance says it shows."""
    draw(chart)
    show_menu(chart, data, name, of)


def draw(chart: Any, around: int = AROUND, **more: Any) -> Any:
    """Draw a chart as wide as the page, its plot as high as on paper. around: pixels of title and legend."""
    height = getattr(chart, "height", None)  # one chart above another has none of its own
    if isinstance(height, int | float):
        more["height"] = int(height) + around
    return st.altair_chart(chart, width="stretch", **more)


def show_menu(chart: Any, data: pd.DataFrame, name: str, of: str) -> None:
    """A menu that gives the chart in every form; a file is made when it is asked for."""
    with st.popover("Export", icon=":material/download:", key=f"menu-{name}"):
        for form in FORMATS:
            st.download_button(
                _NAMES.get(form, form.upper()),
                partial(export, chart, data, provenance_line(of), form),
                f"{name}.{form}",
                _TYPES[form],
                key=f"{name}.{form}",
                on_click="ignore",
                type="tertiary",
            )
