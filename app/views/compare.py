"""Compare: quality and speed of systems side by side, on the bundled captions or on a person's own test set."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import jobs, session
from app.widgets.address import begin_many, choose_one, keep, say_strange
from app.widgets.comparison_results import show_results
from app.widgets.direction import choose_direction
from app.widgets.kept_text import write_text
from app.widgets.measuring import SUBNETWORK, Asked, measure, system, version_of
from app.widgets.search import BEAMS
from app.widgets.typed import WHOSE, offer_file
from app.widgets.watching import watch
from workbench.config import ModelConfig
from workbench.engines.loading import ENGINES, Engine
from workbench.engines.packages import missing
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import CAPTIONS, TestSet, load_testset, read_corpus
from workbench.tasks import Task, parse_task
from workbench.wording import counted

MOST_CHARACTERS = 200_000
# As texts, which is what an address holds.
BATCH_SIZES = ("1", "8", "16", "32", "64")
TIMED = ["1", "32"]


def choose_systems(configs: dict[str, ModelConfig]) -> tuple[list[str], list[str]]:
    """Checkpoints and networks made on the pages, and sub-networks of those that are routed by task."""
    options = []
    for name, config in configs.items():
        options.append(name)
        if any(s.router and s.router.granularity == "task" for _, s in config.stacks):
            options.append(name + SUBNETWORK)
    strange = begin_many("systems", options, options[:3])
    chosen = st.multiselect(
        "Systems, the first as the baseline",
        options,
        key="systems",
        persist_state="session",
        help="✂: the sub-network of the chosen directions, extracted for this comparison",
    )
    keep("systems", chosen, options[:3])
    return chosen, strange


def choose_captions(tasks: Sequence[Task], strange: list[str]) -> tuple[Task, ...]:
    """Some of the directions that all systems and the bundled captions have.

    strange: takes what the address asks for in vain.
    """
    there = read_corpus(CAPTIONS).tasks
    names = [str(task) for task in tasks if task in there]
    if not names:
        st.info(
            "The bundled captions have no direction that all of these systems translate. Give a test set of your own.",
            icon=":material/info:",
        )
        return ()
    preferred = "eng_Latn-deu_Latn"
    default = [preferred if preferred in names else names[0]]
    strange.extend(begin_many("directions", names, default))
    chosen = st.multiselect(
        "Directions",
        names,
        format_func=lambda task: parse_task(task).label,
        key="directions",
        wrap=True,
        persist_state="session",
        help="Time is measured in the first one",
    )
    keep("directions", chosen, default)
    return tuple(parse_task(task) for task in chosen)


def write_testset(tasks: Sequence[Task], strange: list[str]) -> tuple[Task, tuple[str, str]]:
    """A person's own sources and references, and their direction.

    strange: takes what the address asks for in vain.
    """
    columns = st.columns([3, 0.6, 3, 6], vertical_alignment="bottom")
    task = choose_direction(columns, tasks, strange=strange)
    written = []
    for place, side, key in zip(
        st.columns(2), ("Sources", "References"), ("own-sources", "own-references"), strict=True
    ):
        label = f"{side}, one sentence a line"
        written.append(write_text(place, label, key, MOST_CHARACTERS, 140, strange=strange))
        offer_file(place, key, MOST_CHARACTERS)
    return task, (written[0], written[1])


def testsets_of(asked: Asked) -> list[TestSet]:
    """The test sets to measure on. Raises WorkbenchError where a person's own is not parallel."""
    if asked.own is None:
        return [load_testset(CAPTIONS, task) for task in asked.tasks]
    sides = [tuple(text.rstrip("\n").split("\n")) for text in asked.own]
    return [TestSet("own text", asked.tasks[0], *sides)]


st.title("Compare", anchor=False)
configs = session.usable() | {name: model.config for name, model in session.made().items()}
names, strange = choose_systems(configs)
each = [configs[name.removesuffix(SUBNETWORK)].directions for name in names or configs]
shared = [task for task in each[0] if all(task in other for other in each)]
tasks: tuple[Task, ...] = ()
own: tuple[str, str] | None = None
if not shared:
    st.info("These systems have no direction in common.", icon=":material/info:")
else:
    left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
    whose = choose_one(left, "Test set", "testset", WHOSE, segmented=True, strange=strange)
    if whose == "own":
        one, own = write_testset(shared, strange)
        tasks = (one,)
    else:
        with right:
            tasks = choose_captions(shared, strange)
left, middle, right, last = st.columns([2, 4, 4, 1.6], vertical_alignment="bottom")
beam = choose_one(left, "Search", "beam", BEAMS, strange=strange)
strange += begin_many("sizes", BATCH_SIZES, TIMED)
sizes = middle.multiselect(
    "Batch sizes to time",
    BATCH_SIZES,
    key="sizes",
    persist_state="session",
    help="Sentences translated at once",
)
keep("sizes", sizes, TIMED)
installed: list[Engine] = [e for e in ENGINES if not missing(e.removesuffix("-int8"))]
strange += begin_many("engines", installed, [])
engines = right.multiselect(
    "Dense systems also under",
    installed,
    key="engines",
    persist_state="session",
    placeholder="other engines" if installed else "not installed",
    disabled=not installed,
    help="Measures what you would deploy: each dense system once more, converted for these engines."
    " They need `pip install 'task-moe-workbench[engines]'`.",
)
keep("engines", list(engines), [])
say_strange(strange)
asked = Asked(
    tuple(names),
    tasks,
    tuple(engines),
    tuple(sorted(map(int, sizes))),
    int(beam),
    own,
    tuple(map(version_of, names)),
)
running: jobs.Job | None = st.session_state.get("job")
if running is None and (known := jobs.known(asked)) is not None:
    running = st.session_state["job"] = known  # the page was loaded anew
busy = running is not None and not running.finished
ready = names and tasks and sizes and (own is None or all(text.strip() for text in own))
if last.button(
    "Compare",
    type="primary",
    icon=":material/play_arrow:",
    disabled=busy or not ready,
    width="stretch",
):
    try:
        testsets = testsets_of(asked)
        models = [system(name, tasks) for name in names]
        if engines and not any(model.config.is_dense for model in models):
            raise WorkbenchError(
                "None of these systems is dense, so no other engine can run them. Add one with ✂ whose routing"
                " is by task in both stacks, or a dense checkpoint."
            )
        running = jobs.known(asked) or jobs.start(
            lambda job: measure(job, models, testsets, asked), asked, shared=True
        )
        st.session_state["job"] = running
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
if running is not None:
    if running.of != asked:
        st.caption(
            "Below is the comparison of what was asked before. Press Compare for the new one."
        )
    if not running.finished:
        watch(running)
    elif running.error:
        st.error(running.error, icon=":material/error:")
    elif running.cancelled:
        st.info(
            f"Cancelled. What was finished is kept: {counted(len(running.results), 'system')}.",
            icon=":material/info:",
        )
    if running.results:
        show_results(list(running.results))
else:
    st.caption(
        "Compare translates the captions in the package, or a test set of yours, with each system: BLEU and chrF++ with"
        " what each system gains or loses, time for one sentence and for a batch, and the sentences on which systems"
        " differ."
    )
