"""Co-activation: which experts of a layer the same tokens choose."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table

_GAP = 0.05  # between cells, of a cell


def coactivation_map(table: pd.DataFrame, stack: str, layer: int, top_k: int) -> alt.LayerChart:
    """Of the tokens that choose one expert (down), the share that also choose another (across).

    table: as `workbench.routing.affinity.coactivation` gives it. top_k: experts a token chooses, for the chance level.
    Experts that no token chose have empty rows.

    Raises:
        WorkbenchError: the table has no such layer, or is another.
    """
    table = as_table(table, "table", "coactivation", "stack", "layer", "expert", "other", "share")
    frame = table[(table["stack"] == stack) & (table["layer"] == layer)]
    if frame.empty:
        raise WorkbenchError(
            f"There is no {stack} layer {layer} in this table: only tokens that choose several experts have pairs."
        )
    experts = int(frame["expert"].max()) + 1
    places = alt.Scale(domain=list(range(experts)), paddingInner=_GAP)
    unused = len(frame.loc[frame["share"].isna(), "expert"].unique())
    shown = frame[(frame["expert"] != frame["other"]) & frame["share"].notna()]
    base = alt.Chart(shown).encode(
        x=alt.X("other:O", title="Also chosen", axis=theme.expert_axis(), scale=places),
        y=alt.Y("expert:O", title="Expert", axis=theme.expert_rows(), scale=places),
        tooltip=[
            alt.Tooltip("expert:O", title="Expert"),
            alt.Tooltip("other:O", title="Also chosen"),
            alt.Tooltip("share:Q", title="Share of its tokens", format=".1%"),
            alt.Tooltip("tokens:Q", title="Tokens with both", format=","),
        ],
    )
    cells = base.mark_rect(cornerRadius=theme.corners(experts)).encode(
        color=theme.share_colour("Share of the expert's tokens")
    )
    numbers = theme.share_numbers(base, experts)
    chance = (top_k - 1) / max(experts - 1, 1)
    return theme.styled(
        alt.layer(*((cells, numbers) if experts <= theme.NUMBERED else (cells,))).properties(
            title=theme.title(
                f"{stack.capitalize()} layer {layer}: experts chosen together",
                f"Of the tokens that choose one, the share that choose the other: by chance {chance:.1%}"
                + ("; empty rows: chosen by none" if unused else ""),
            ),
            width=theme.width_of(experts),
            height=alt.Step(26 if experts <= 40 else 8),
        )
    )
