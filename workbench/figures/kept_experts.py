"""Kept experts: what becomes of every expert of each layer when a network is pruned or merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from workbench.config import ModelConfig, StackName
from workbench.figures import theme
from workbench.figures.tables import as_table

_NUMBERED = 32  # experts; with more, the numbers no longer fit into their cells
_GAP = 0.08  # between cells, of a cell
_FAINT = 0.35  # opacity of what is left out
KEPT, GONE, AVERAGED = "kept", "left out", "averaged into the expert named"


def fates(
    config: ModelConfig, groups: Mapping[tuple[StackName, int], Sequence[Sequence[int]]]
) -> pd.DataFrame:
    """What becomes of each expert: columns layer, expert, fate and into (whose place it takes, -1 for none).

    groups: of each layer, the experts that become one, the first of which gives it its place; in pruning, groups
    of one. Layers that are not named stay as they are and are left out here.
    """
    rows = []
    for (stack, layer), parts in groups.items():
        into = {expert: part[0] for part in parts for expert in part}
        for expert in range(getattr(config, stack).experts_in(layer)):
            place = into.get(expert, -1)
            fate = KEPT if place == expert else GONE if place < 0 else AVERAGED
            rows.append((f"{stack} {layer}", expert, fate, place))
    return pd.DataFrame(rows, columns=["layer", "expert", "fate", "into"])


def kept_experts_map(frame: pd.DataFrame) -> alt.LayerChart:
    """Layer down, expert across: which are kept; of those averaged, into which.

    frame: as `workbench.figures.kept_experts.fates` gives it.
    """
    frame = as_table(frame, "frame", "fates", "layer", "expert", "fate", "into")
    present = [fate for fate in (KEPT, AVERAGED, GONE) if (frame["fate"] == fate).any()]
    colours = {KEPT: theme.category(0), AVERAGED: theme.category(1), GONE: theme.category(7)}
    shown = frame.assign(text=frame["into"].where(frame["into"] >= 0, frame["expert"]).astype(str))
    experts = int(frame["expert"].max()) + 1
    apart = alt.Scale(paddingInner=_GAP)
    legend = alt.Legend(orient="top", labelLimit=320, columns=2)
    base = alt.Chart(shown).encode(
        x=alt.X("expert:O", title="Expert", axis=theme.expert_axis(), scale=apart),
        y=alt.Y("layer:N", title=None, sort=None, axis=theme.row_axis(), scale=apart),
    )
    cells = base.mark_rect(cornerRadius=theme.corners(experts)).encode(
        color=alt.Color(
            "fate:N",
            title=None,
            sort=present,
            scale=alt.Scale(domain=present, range=[colours[fate] for fate in present]),
            legend=legend,
        ),
        opacity=alt.Opacity(
            "fate:N",
            title=None,
            sort=present,
            scale=alt.Scale(
                type="ordinal", domain=present, range=[_FAINT if f == GONE else 1 for f in present]
            ),
            legend=legend,
        ),
        tooltip=[
            alt.Tooltip("layer:N", title="Layer"),
            alt.Tooltip("expert:O", title="Expert"),
            alt.Tooltip("fate:N", title="Fate"),
        ],
    )
    numbers = (
        base.transform_filter(alt.FieldOneOfPredicate(field="fate", oneOf=[KEPT, AVERAGED]))
        .mark_text(fontSize=12)
        .encode(
            text="text:N",
            color=alt.condition(
                alt.FieldEqualPredicate(field="fate", equal=KEPT),
                alt.value(theme.ink(colours[KEPT])),
                alt.value(theme.ink(colours[AVERAGED])),
            ),
        )
    )
    return theme.styled(  # type: ignore[no-any-return]
        (alt.layer(cells, numbers) if experts <= _NUMBERED else alt.layer(cells)).properties(
            title=theme.title("Experts of each layer that are kept"),
            width=theme.width_of(experts),
            height=alt.Step(30),
        )
    )
