"""Figures as files: SVG, PDF, PNG, the numbers as CSV and the chart as Vega-Lite JSON, with a line of provenance."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme

#: What a figure can be written as.
FORMATS = ("svg", "pdf", "png", "csv", "json")
_LINE = 104  # characters of a line of provenance: as wide as a figure without cells across
_PPI = 144  # of a PNG, which says so: two pixels for one of the figure


def export(chart: Any, data: pd.DataFrame, provenance: str, form: str) -> bytes:
    """The bytes of one file.

    chart: an Altair chart. data: the numbers that it shows, for CSV. provenance: one line, below the figure in every
    form but CSV. form: one of `FORMATS`; pictures are drawn without a browser, on white.

    Raises:
        WorkbenchError: there is no such form.
    """
    if form not in FORMATS:
        raise WorkbenchError(f"A figure is written as {', '.join(FORMATS)}, not as {form!r}.")
    if form == "csv":
        return data.to_csv(index=False).encode()
    specification = with_provenance(chart.to_dict(), provenance)
    if form == "json":
        return json.dumps(specification, ensure_ascii=False, indent=1).encode()
    import vl_convert

    if form == "png":
        return bytes(vl_convert.vegalite_to_png(specification, ppi=_PPI))
    if form == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(specification))
    return str(vl_convert.vegalite_to_svg(specification)).encode()


def with_provenance(specification: dict[str, Any], provenance: str) -> dict[str, Any]:
    """A Vega-Lite specification with this line below its figure."""
    outer: dict[str, Any] = {
        key: specification[key] for key in ("$schema", "config", "datasets") if key in specification
    }
    inner = {key: value for key, value in specification.items() if key not in outer}
    if (
        "mark" not in inner and "params" in inner
    ):  # selections of views inside it belong to the whole
        outer["params"] = inner.pop("params")
    if "title" in inner:  # else it would stand between a legend and the plot
        outer["title"] = inner.pop("title") | {"frame": "bounds"}
    if "width" in inner:  # inside another figure no expression knows its own as `width`
        known = re.sub(r'("expr": ")width\b', rf"\g<1>{inner['width']}", json.dumps(inner))
        inner = json.loads(known)
    lines = _between_parts(provenance)
    line = {
        "data": {"values": [{}]},
        "mark": {
            "type": "text",
            "align": "left",
            "baseline": "top",
            "x": 0,
            "y": 0,
            "text": lines if len(lines) > 1 else provenance,
            "fontSize": 9,
            "color": theme.FAINT,
        },
        "width": 1,
        "height": 12 * max(1, len(lines)),
    }
    return {
        **outer,
        "background": "white",
        "concat": [inner, line],
        "columns": 1,
        "align": "none",
        "spacing": 14,
    }


def _between_parts(provenance: str) -> list[str]:
    """Lines that a figure is wide enough for, broken after a part where that is possible."""
    whole = provenance.replace(" ", "\N{NO-BREAK SPACE}").replace("·\N{NO-BREAK SPACE}", "· ")
    lines = textwrap.wrap(whole, _LINE, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def provenance_line(*parts: str) -> str:
    """What stands below a figure: what it is of, and the version that made it and the day."""
    try:
        made = f"Task-MoE workbench {version('task-moe-workbench')}"
    except PackageNotFoundError:
        made = "Task-MoE workbench"
    return " · ".join((*parts, made, date.today().isoformat()))
