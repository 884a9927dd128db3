"""Flow: how tokens move from the experts of one layer to those of the next."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table

#: Between experts, of the tokens of a layer, and all of these of one layer together at most.
_GAP, _GAPS = 0.012, 0.3
_WIDTH = 0.03  # of an expert's bar, of the way from layer to layer
_STEPS = 12  # points along a ribbon
_NAMED = 0.03  # of the tokens, what a bar needs for its number
_COLUMN, _HEIGHT = 190, 360  # pixels from layer to layer, and of all tokens
#: Ribbons between two layers, at most: the widest.
MOST = 200


def flow_chart(table: pd.DataFrame, stack: str) -> alt.LayerChart:
    """The experts of each layer of a stack as bars as high as their tokens are many, and ribbons between those of
    neighbouring layers with experts.

    table: as `workbench.routing.flow.layer_flow` gives it.

    Raises:
        WorkbenchError: the table has no two layers of this stack.
    """
    table = as_table(table, "table", "layer_flow", "stack", "layer", "next_expert", "information")
    frame = table[table["stack"] == stack]
    if frame.empty:
        raise WorkbenchError(f"Flow needs two layers with experts: the {stack} has fewer.")
    layers = [*dict.fromkeys(frame["layer"]), int(frame["next_layer"].iloc[-1])]
    bars, ribbons, thin = _geometry(frame, layers)
    x = alt.X(
        "x:Q",
        title="Layer",
        scale=alt.Scale(domain=[-_WIDTH, len(layers) - 1 + _WIDTH], nice=False),
        axis=alt.Axis(
            values=list(range(len(layers))),
            labelExpr=f"{layers}[datum.value]",
            labelFlush=False,
            grid=False,
        ),
    )
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(reverse=True, nice=False, zero=False))
    experts = sorted(bars["expert"].unique())
    colour = alt.Color(
        "expert:N",
        scale=alt.Scale(domain=experts, range=[theme.category(e) for e in experts]),
        legend=None,  # every bar has its number
    )
    flows = (
        alt.Chart(ribbons)
        .mark_area(opacity=0.45, orient="vertical")
        .encode(
            x=x,
            y=y,
            y2="y2:Q",
            detail="ribbon:N",
            color=colour,
            tooltip=[
                alt.Tooltip("from:N", title="From"),
                alt.Tooltip("to:N", title="To"),
                alt.Tooltip("tokens:Q", title="Tokens", format=","),
                alt.Tooltip("share:Q", title="Share of the expert's tokens", format=".1%"),
                alt.Tooltip("by_chance:Q", title="By chance", format=".1%"),
            ],
        )
    )
    base = alt.Chart(bars)
    blocks = base.mark_rect().encode(
        x=x,
        x2="x2:Q",
        y=y,
        y2="y2:Q",
        color=colour,
        tooltip=[
            alt.Tooltip("layer:N", title="Layer"),
            alt.Tooltip("expert:N", title="Expert"),
            alt.Tooltip("tokens:Q", title="Tokens", format=","),
        ],
    )
    numbers = (
        base.transform_filter("datum.named")
        .transform_calculate(x="(datum.x + datum.x2) / 2", y="(datum.y + datum.y2) / 2")
        .mark_text(fontSize=11)
        .encode(x=x, y=y, text="expert:N", color=alt.Color("ink:N", scale=None))
    )
    told = frame.drop_duplicates("layer")
    bits, chance = told["information"].mean(), told["information_chance"].mean()
    each = " on average" if len(told) > 1 else ""
    lines = [
        f"First choices. A choice tells {bits:.2f} bits of the next{each}; shuffled {chance:.2f}"
    ]
    if thin:
        lines.append(f"Only the {MOST} widest ribbons between two layers are drawn")
    return theme.styled(
        alt.layer(flows, blocks, numbers).properties(
            title=theme.title(
                f"{stack.capitalize()}: how tokens move from layer to layer", "\n".join(lines)
            ),
            width=max(theme.WIDTH, _COLUMN * (len(layers) - 1)),
            height=_HEIGHT,
        )
    )


def _geometry(frame: pd.DataFrame, layers: list[int]) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """The bars, the ribbons' outlines, and whether some ribbons were left out."""
    tops: list[dict[int, float]] = []
    bars = []
    for place, layer in enumerate(layers):
        last = place == len(layers) - 1
        side = ("next_layer", "next_expert") if last else ("layer", "expert")
        tokens = frame[frame[side[0]] == layer].groupby(side[1])["tokens"].sum()
        total = tokens.sum()
        high, top, gap = {}, 0.0, min(_GAP, _GAPS / len(tokens))
        for expert, count in tokens.items():
            high[int(expert)] = top
            bars.append((place, layer, int(expert), int(count), top, top + count / total))
            top += count / total + gap
        tops.append(high)
    blocks = pd.DataFrame(bars, columns=["place", "layer", "expert", "tokens", "y", "y2"])
    blocks = blocks.assign(
        x=blocks["place"] - _WIDTH,
        x2=blocks["place"] + _WIDTH,
        named=blocks["y2"] - blocks["y"] >= _NAMED,
        ink=[theme.ink(theme.category(expert)) for expert in blocks["expert"]],
    )
    along = np.linspace(0, 1, _STEPS)
    smooth = along * along * (3 - 2 * along)
    parts, thin = [], False
    for place, layer in enumerate(layers[:-1]):
        rows = frame[frame["layer"] == layer].sort_values(["expert", "next_expert"])
        total = rows["tokens"].sum()
        widest = set(rows["tokens"].nlargest(MOST).index)
        thin |= len(widest) < len(rows)
        left, right = dict(tops[place]), dict(tops[place + 1])
        for row in rows.itertuples():
            width = row.tokens / total
            begin, end = left[row.expert], right[row.next_expert]
            left[row.expert] += width
            right[row.next_expert] += width
            if row.Index not in widest:
                continue
            y = begin + (end - begin) * smooth
            parts.append(
                pd.DataFrame(
                    {
                        "ribbon": f"{layer} {row.expert} {row.next_expert}",
                        "step": range(_STEPS),
                        "x": place + _WIDTH + along * (1 - 2 * _WIDTH),
                        "y": y,
                        "y2": y + width,
                        "expert": row.expert,
                        "from": f"layer {layer}, expert {row.expert}",
                        "to": f"layer {row.next_layer}, expert {row.next_expert}",
                        "tokens": row.tokens,
                        "share": row.share,
                        "by_chance": row.by_chance,
                    }
                )
            )
    return blocks, pd.concat(parts, ignore_index=True), thin
