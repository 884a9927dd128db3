"""Runs: training runs in a folder, with loss, BLEU and expert load over steps, while they are being written too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from app.widgets.address import begin_many, begin_one, keep
from app.widgets.charts import show_chart
from workbench.errors import WorkbenchError
from workbench.figures.training import (
    bleu_chart,
    bleu_map,
    expert_load_chart,
    loss_chart,
    routing_chart,
    task_label,
)
from workbench.training.run_folder import AVERAGE, Run, find_runs, read_run
from workbench.wording import counted

FOLDER = "runs"
# Seconds between two looks at a folder where a run is being written, and at one where none is.
LIVE, IDLE = 3, 15


@st.cache_resource
def known() -> dict[Path, Run]:
    """The runs that any session has read: only what was appended since is read again."""
    return {}


def read(folder: Path) -> dict[str, Run]:
    """The runs as they are now, by their path in the folder; those that cannot be read are told.

    Raises:
        WorkbenchError: the folder is missing or cannot be read.
    """
    found = {}
    for path in find_runs(folder):
        name = path.resolve().name if path == folder else path.relative_to(folder).as_posix()
        key = path.resolve()
        try:
            found[name] = known()[key] = read_run(path, known().get(key))
        except WorkbenchError as error:
            st.warning(str(error), icon=":material/warning:")
    return found


def show_table(runs: dict[str, Run]) -> None:
    """A row for each run."""
    rows = [
        {
            "Run": name,
            "State": run.state,
            "Done": 100 * run.step / run.steps if run.steps else None,
            "Left": run.seconds_left,
            "Loss": run.loss,
            "Best BLEU": run.best and run.best[0],
            "Best at step": run.best and run.best[1],
            "Tokens/s": run.tokens_per_second,
            "Steps": run.step,
            "Planned": run.steps or None,
            "Written": pd.Timestamp(run.written, unit="s", tz="UTC"),
        }
        for name, run in runs.items()
    ]
    table = pd.DataFrame(rows)
    if table["Left"].isna().all():
        del table["Left"]
    else:
        table["Left"] = pd.to_timedelta(table["Left"].astype(float), unit="s")
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        placeholder="–",
        column_config={
            "Run": st.column_config.TextColumn(pinned=True),
            "Done": st.column_config.ProgressColumn(format="%d %%", max_value=100, width="small"),
            "Loss": number(format="%.3f", help="Training, newest line: nats a target token"),
            "Best BLEU": number(format="%.1f", help="Validation, average of all directions"),
            "Best at step": number(format="localized"),
            "Tokens/s": number(format="%.0f", help="Newest line: target tokens a second"),
            "Steps": number(format="localized"),
            "Planned": number(format="localized"),
            "Written": st.column_config.DatetimeColumn(format="distance"),
        },
    )


def tell(name: str, run: Run) -> None:
    """Why a run ended, and what of it cannot be shown."""
    if run.reason:
        st.caption(f"{name}: {run.state}, {run.reason}.")
    elif run.state == "interrupted":
        st.caption(
            f"{name}: ended before its last step, or silent for long. The same command goes on with it."
        )
    if run.skipped:
        lines = counted(run.skipped, "line")
        st.caption(f"{name}: {lines} of its metrics cannot be read, and left out.")


def draw(place: Any, chart: Any, rows: pd.DataFrame, name: str, of: str) -> None:
    """A chart with its menu in `place`. rows: its numbers. name: of its files. of: the runs."""
    with place:
        show_chart(chart, rows, name, f"training of {of}")


def compare(runs: dict[str, Run], place: Any) -> None:
    """Loss and BLEU of the runs over steps. place: where the direction is chosen."""
    of = ", ".join(runs)
    losses = pd.concat([run.losses.assign(run=name) for name, run in runs.items()])
    scores = pd.concat([run.validation.assign(run=name) for name, run in runs.items()])
    tasks = list(scores.dropna(subset="bleu")["task"].unique())
    begin_one("bleu", tasks or [AVERAGE])
    task = place.selectbox(
        "BLEU of", tasks or [AVERAGE], format_func=task_label, key="bleu", persist_state="session"
    )
    keep("bleu", task, AVERAGE)
    left, right = st.columns(2, gap="large")
    if losses.empty:
        left.caption("No loss yet: a line comes every `run.log_every` steps.")
    else:
        draw(left, loss_chart(losses, list(runs)), losses, "loss", of)
    if not tasks:
        right.caption("No BLEU yet: a validation comes every `run.valid_every` steps.")
    else:
        rows = scores[scores["task"] == task]
        draw(right, bleu_chart(scores, task, list(runs)), rows, "bleu", of)


def choose(place: Any, what: str, key: str, options: list[str]) -> str:
    """One of the options, of which the address has the name; no box where there is one only."""
    begin_one(key, options)
    if len(options) > 1:
        place.selectbox(what, options, key=key, persist_state="session")
    chosen = str(st.session_state[key])
    keep(key, chosen, options[0])
    return chosen


def show_routing(name: str, run: Run) -> None:
    """What the routers of a run with experts did: load, entropy, and choices dropped."""
    st.caption(
        "Of the tokens of training batches, padding not counted. Layers and experts are counted from 0."
    )
    stacks = [s for s in ("encoder", "decoder") if (run.load["stack"] == s).any()]
    for place, stack in zip(st.columns(2, gap="large"), stacks, strict=False):
        layers = sorted(run.load.loc[run.load["stack"] == stack, "layer"].unique())
        layer = choose(place, f"{stack.capitalize()} layer", stack, [str(n) for n in layers])
        chart = expert_load_chart(run.load, stack, int(layer))
        rows = run.load[(run.load["stack"] == stack) & (run.load["layer"] == int(layer))]
        draw(place, chart, rows, f"load-{stack}-{layer}", name)
    figures: tuple[Literal["entropy", "dropped"], ...] = ("entropy", "dropped")
    for place, figure in zip(st.columns(2, gap="large"), figures, strict=True):
        if run.routing[figure].notna().any():
            draw(place, routing_chart(run.routing, figure), run.routing, figure, name)


def show(folder: Path) -> None:
    """All that the folder has, as it is now."""
    problem, runs = f"There are no training runs in `{folder}`.", {}
    try:
        runs = read(folder)
    except WorkbenchError as error:
        problem = str(error)
    live = any(run.state == "running" for run in runs.values())
    if live != st.session_state.get("live", False):
        st.session_state["live"] = live
        st.rerun()
    if not runs:
        st.info(
            f"{problem} Begin a run with `workbench train recipes/grid/token-target.toml --data DIR -o"
            f" {folder / 'token-target'}`, or name another folder.",
            icon=":material/info:",
        )
        return
    show_table(runs)
    newest = max(runs, key=lambda name: runs[name].written)
    begin_many("run", list(runs), [newest])
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    names = left.multiselect(
        "Runs to show", list(runs), key="run", persist_state="session", wrap=True
    )
    keep("run", names, [])
    # In containers, filled or not: a chart whose place among the others changes would be drawn anew.
    with st.container():
        for name in names:
            tell(name, runs[name])
    if not names:
        return
    compare({name: runs[name] for name in names}, right)
    st.subheader("Directions and experts", anchor=False)
    name = choose(st, "Of the run", "of", names)
    run = runs[name]
    with st.container():
        if run.validation["bleu"].notna().any():
            chart = bleu_map(run.validation.assign(run=name))
            draw(st.container(), chart, run.validation, "bleu-directions", name)
    with st.container():
        if not run.load.empty:
            show_routing(name, run)


st.title("Runs", anchor=False)
if "folder" not in st.session_state:
    st.session_state["folder"] = st.query_params.get("folder", FOLDER)
written = st.text_input("Folder of training runs", key="folder", persist_state="session")
keep("folder", written, FOLDER)
seconds = LIVE if st.session_state.get("live", False) else IDLE
st.fragment(show, run_every=seconds)(Path(written.strip() or FOLDER).expanduser())
