"""Write benchmarks/RESULTS.md from the scored systems.

    python -m benchmarks.results.page

Every number on the page comes from benchmarks/results/scores, which `benchmarks.results.score` wrote, or from
benchmarks/results/proofs.json, which `benchmarks.results.proofs` did.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.results.counts import SCORES, load_all
from benchmarks.results.proofs import load_proofs
from benchmarks.results.systems import SYSTEMS
from benchmarks.results.tables import (
    Contrast,
    Runs,
    balance_table,
    code,
    contrast,
    direction_table,
    groups,
    main_table,
    short,
    usage_table,
)
from workbench.tasks import parse_task

PAGE = Path(__file__).parent.parent / "RESULTS.md"
#: What `benchmarks.results.proofs` found, a table for each direction.
Proofs = list[dict[str, Any]]
_LABELS = {system.name: system.label for system in SYSTEMS}
#: Pairs of systems that the questions are about: the first minus the second.
_PAIRS = (
    ("token-token", "dense"),
    ("target-target", "dense"),
    ("token-target", "dense"),
    ("distilled", "dense"),
    ("target-target", "token-token"),
    ("token-target", "token-token"),
    ("token-target", "target-target"),
    ("distilled", "target-target"),
)


_EVEN_START = """**Dead experts of task routers, and what helped.** The gates of a task are shared out among the
experts that it has chosen, so translation gives the others no gradient: what a task router begins with it mostly keeps.
From a random start (`run.task_experts = "random"`; trunk of 4,000 steps, else these recipes, seed 0, measured on
2026-11-25) five of the 16 encoder experts of target / target, five and two of source / target and one in the decoder of
token / target were chosen by no task. Since then each task begins with the experts that static assignment would give it
(`run.task_experts = "even"`, the default)."""
_STILL_DEAD = """What is left dead above is likely the load-balance loss's doing: of half of all tokens English is the
target, of half the source, so it drives English away from experts that no other task uses."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, default=SCORES)
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    args = parser.parse_args(arguments)
    args.output.write_text(page(load_all(args.scores), load_proofs()), encoding="utf-8")


def page(runs: Runs, proofs: Proofs) -> str:
    """The whole page, Markdown."""
    parts = [
        _introduction(runs),
        "## The table\n\n" + _main(runs),
        "## The main contrast\n\n" + _contrasts(runs),
        "## Answers\n\n" + _answers(runs, proofs),
        "## By direction\n\n" + _directions(runs),
        "## Use of the experts\n\n" + _usage(runs),
        _again(),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(runs: Runs) -> str:
    one = runs["dense"][0]
    about, recipe = one.about, one.about["provenance"]["recipe"]
    scored = [run for found in runs.values() for run in found]
    hours = sum(run.about["training_seconds"] for run in scored) / 3600
    return "\n\n".join(
        [
            "# The paper's table on our data",
            "<!-- Written by `python -m benchmarks.results.page`; change that, not this. -->",
            "Kudugunta et al. 2021 compare ways of routing on WMT: 15 languages to and from English, 142M to 533M"
            " parameters. Here the same systems are trained on Multi30k: 29,000 captions in"
            f" {len(recipe['data']['languages'])} languages, to and from English, {len(about['tasks'])} directions,"
            f" {sum(about['parameters'].values()) / 1e6:.1f}M parameters in the dense one. Scores: {about['testset']},"
            f" {about['sentences']:,} sentences a direction, {about['search']}, sacreBLEU"
            f" (`{about['signatures'][about['tasks'][0]]}`; into Chinese with `tok:zh`).",
            "All systems but the bilingual ones start from one dense trunk (`recipes/captions-trunk`) and take"
            f" {recipe['run']['steps']:,} further steps with the same data in the same order; experts are upcycled from"
            " the trunk's feed-forward blocks, half of their units drawn anew. A seed is of those steps: of the order"
            " of the data, the new units and routers, dropout; the trunk is the same for all seeds, and a student's"
            " teacher is of its own seed."
            f" {len(scored)} runs, {hours:.1f} hours of training without the trunk, on {_hardware(scored)}, shared with"
            " other work."
            " Numbers of the paper stand beside ours for their order, not for their size.",
        ]
    )


def _hardware(scored: Sequence) -> str:  # type: ignore[type-arg]
    return " and ".join(sorted({run.about["provenance"]["hardware"] for run in scored}))


def _main(runs: Runs) -> str:
    table = main_table(runs)
    header = [
        "encoder / decoder",
        "seeds",
        "BLEU",
        "en-xx",
        "xx-en",
        "zero-shot",
        "Δ to dense",
        "parameters",
        "paper",
        "en-xx",
        "xx-en",
    ]
    rows = [
        [
            row.label,
            str(row.seeds),
            *(
                _pm(row.get(name), row.get(f"{name} ±"))
                for name in ("all", "en-xx", "xx-en", "zero-shot")
            ),
            _pm(row.get("delta"), row.get("delta ±"), sign=True) if row.system != "dense" else "",
            f"{row.parameters / 1e6:.1f}M",
            *(_number(row[f"paper_{name}"]) for name in ("all", "en_xx", "xx_en")),
        ]
        for _, row in table.iterrows()
    ]
    bilingual = table[table["system"] == "bilingual"]
    note = ""
    if len(bilingual):
        which = bilingual.iloc[0]["directions"]
        note = (
            f"\n\nBilingual systems were trained for {which}, each direction alone with a vocabulary of its own: they stand"
            " in the table by direction, since an average of these has no counterpart here."
        )
    return (
        markdown(header, rows)
        + "\n\n± is half the 95 % interval, by bootstrap over the pictures (the same ones in every direction), of the"
        " mean over seeds. Zero-shot: German and French, both ways, on which nothing was trained; a router by pair"
        " has no row for them." + note
    )


def _contrasts(runs: Runs) -> str:
    rows = []
    for one, other in _PAIRS:
        if one not in runs or other not in runs:
            continue
        for name in ("all", "en-xx", "xx-en"):
            found = contrast(runs[one], runs[other], groups(runs)[name])
            rows.append(
                [
                    f"{_LABELS[one]} − {_LABELS[other]}",
                    name,
                    f"{found.delta:+.2f}",
                    f"± {found.ci:.2f}",
                    "" if math.isnan(found.seeds_ci) else f"± {found.seeds_ci:.2f}",
                    ", ".join(f"{value:+.2f}" for value in found.by_seed),
                    f"{found.p_value:.3f}",
                    f"{found.smallest:.2f}",
                ]
            )
    header = [
        "difference",
        "directions",
        "BLEU",
        "pictures",
        "seeds",
        "each seed",
        "p",
        "could be seen",
    ]
    return (
        markdown(header, rows)
        + "\n\n*Pictures*: half the 95 % interval by paired bootstrap over the test set; it says nothing of another"
        " training run. *Seeds*: half the 95 % interval of the mean over seeds (Student's t). *Could be seen*: the"
        " difference that would have been found four times in five, over pictures and seeds together."
    )


def _answers(runs: Runs, proofs: Proofs) -> str:
    found = [*answers(runs), *_extraction(proofs)]
    return "\n\n".join(f"**{question}** {answer}" for question, answer in found)


def _extraction(proofs: Proofs) -> Iterator[tuple[str, str]]:
    if not proofs:
        return
    told = []
    for parent, found in pd.DataFrame(proofs).groupby("parent", sort=False):
        sums = found[["sentences", "identical", "ties", "different"]].sum()
        before, after = found["parameters_before"].max(), found["parameters_after"].max()
        kind = "a wholly dense network" if found["dense"].all() else "which keeps the token experts"
        told.append(
            f"`{parent}`, cut to each of its {len(found)} directions ({kind}, {before / 1e6:.1f}M to"
            f" {after / 1e6:.1f}M parameters): of {sums['sentences']:,} test sentences {sums['identical']:,} are"
            f" translated token for token as before, {sums['ties']} differ by a tie, {sums['different']} otherwise;"
            f" logits differ by {found['largest_logit_difference'].max():.1e} at most."
        )
    held = all(proof["holds"] for proof in proofs)
    yield (
        "Does extraction keep everything?",
        ("Yes, beyond rounding. " if held else "No. ") + " ".join(told),
    )


def answers(runs: Runs) -> Iterator[tuple[str, str]]:
    """The issue's questions with what the numbers say; those that cannot be asked yet are left out."""
    tasks = groups(runs)

    def between(one: str, other: str, name: str = "all") -> Contrast:
        return contrast(runs[one], runs[other], tasks[name])

    have = set(runs)
    if {"target-target", "token-token", "token-target"} <= have:
        yield (
            "Is task routing as good as token routing?",
            f"Both stacks routed by target against both by token: {_verdict(between('target-target', 'token-token'))}"
            f" The paper's hybrid, token / target, against token / token:"
            f" {_verdict(between('token-target', 'token-token'))}",
        )
    routed = [
        name for name in _LABELS if name in have and name not in ("dense", "distilled", "bilingual")
    ]
    if len(routed) > 3:
        means = {name: main_table(runs).set_index("system").loc[name, "all"] for name in routed}
        best = max(means, key=lambda name: means[name])
        if best == "token-target":
            second = max((n for n in means if n != best), key=lambda name: means[name])
            text = f"It is on average; before {_LABELS[second]}, the next: {_verdict(between(best, second))}"
        else:
            text = (
                f"Not here: {_LABELS[best]} is, with {means[best]:.2f}. The hybrid against it:"
                f" {_verdict(between('token-target', best))}"
            )
        yield "Is the hybrid the best?", text
    if {"token-target", "token-token", "target-target"} <= have:
        yield (
            "Is task routing worse into English, as at the paper's web scale?",
            f"Into English, target / target against token / token:"
            f" {_verdict(between('target-target', 'token-token', 'xx-en'))} The hybrid against token / token:"
            f" {_verdict(between('token-target', 'token-token', 'xx-en'))} Out of English, target / target:"
            f" {_verdict(between('target-target', 'token-token', 'en-xx'))} The hybrid:"
            f" {_verdict(between('token-target', 'token-token', 'en-xx'))}",
        )
    alone = next(main_table(runs).query("system == 'bilingual'").itertuples(), None)
    if alone is not None:
        yield "Is one network for all directions as good as one for each?", _bilingual(runs)
    if {"distilled", "target-target", "dense"} <= have:
        yield "How much of the gain does distillation keep?", _distillation(between, runs)
    if "static-target" in have and "token-token" in have:
        out, into = (between("static-target", "token-token", name) for name in ("en-xx", "xx-en"))
        yield (
            "Does static assignment collapse out of English?",
            f"In the paper it loses 10.2 BLEU out of English to token routing and none into it. Here, against"
            f" token / token, out of English: {_verdict(out)} Into English: {_verdict(into)}",
        )


def _bilingual(runs: Runs) -> str:
    """Directions trained alone beside the same ones of the systems for all."""
    table = direction_table(runs)
    alone = table[table["system"] == "bilingual"].set_index("task")["bleu"]
    together = table[table["system"] != "bilingual"].pivot(
        index="task", columns="system", values="bleu"
    )
    told = [
        f"{short(task)} {bleu:.1f} alone, {together.loc[task].max():.1f} in the best system for all,"
        f" {together.loc[task, 'dense']:.1f} in the dense one"
        for task, bleu in alone.items()
    ]
    return (
        f"Not at this budget: {'; '.join(told)}. Training alone went through its pairs some twelve times, the trunk and a"
        " branch of it some four times through fourteen times as many, with a vocabulary for eight languages in a network"
        " hardly larger. So this compares budgets and sizes as much as sharing: a trunk trained three times as long, or a"
        " larger one, would tell. In the paper bilingual systems and the dense one for all are 1.0 BLEU apart, and the"
        " hybrid is ahead of both. One run each."
    )


def _distillation(between, runs: Runs) -> str:  # type: ignore[no-untyped-def]
    gain, kept = between("target-target", "dense"), between("distilled", "dense")
    text = (
        f"The teacher, target / target, gains {gain.delta:+.2f} ± {gain.ci:.2f} BLEU on the dense system trained"
        f" from the references; the student {kept.delta:+.2f} ± {kept.ci:.2f}."
    )
    if gain.delta - gain.ci <= 0:
        return (
            f"{text} The teacher's own gain is not certain to be one, so a share of it means nothing: the paper's"
            " 32 % cannot be put to the test with this data. A corpus on which experts help would."
        )
    if kept.delta < 0:
        return (
            f"{text} It keeps none of it: it is worse than the dense system. {_learned_from(runs)}"
        )
    return (
        f"{text} That is {100 * kept.delta / gain.delta:.0f} % of the gain, against the task-MoE and against its own"
        " teacher alike, which are the same model here (the paper: 32 % and 43 %)."
    )


def _learned_from(runs: Runs) -> str:
    """What the student had to learn from."""
    text = runs["distilled"][0].about["teacher_text"]
    bleu, words = (
        sum(row[name] for row in text.values()) / len(text) for name in ("bleu", "words")
    )
    unseen = main_table(runs).set_index("system").loc["target-target", "all"]
    return (
        f"What it learned from: of the training sources the teacher's translations reach {bleu:.1f} BLEU against the"
        f" references (first 3,000 sentences of each direction; of the test set {unseen:.1f}), and hold"
        f" {100 * (1 - words):.0f} % fewer different words. So a teacher half a point above dense training puts its"
        " errors and a poorer language in the place of what people wrote. That this is the whole reason is likely, not"
        " shown: a teacher far above the dense system, or its text beside the references, would show it."
    )


def _verdict(found: Contrast) -> str:
    """What a difference says; a single run can only speak of its test set."""
    value = f"{found.delta:+.2f} ± {found.ci:.2f} BLEU"
    several = not math.isnan(found.seeds_ci)
    if several:
        value += f" over the pictures, ± {found.seeds_ci:.2f} over {len(found.by_seed)} seeds"
    if abs(found.delta) <= found.width:
        return f"no difference to be seen, {value} (one of {found.smallest:.1f} would have been)."
    found_so = "better" if found.delta > 0 else "worse"
    return f"{found_so}, {value}." if several else f"{found_so} in this one run, {value}."


def _directions(runs: Runs) -> str:
    table = direction_table(runs)
    tasks = [task for name in ("en-xx", "xx-en", "zero-shot") for task in groups(runs)[name]]
    rows = []
    for label, found in table.groupby("label", sort=False):
        own = found.set_index("task")
        cells = [
            _pm(own.loc[task, "bleu"], own.loc[task, "ci"]) if task in own.index else ""
            for task in tasks
        ]
        rows.append([str(label), *cells])
    return (
        markdown(["system", *map(short, tasks)], rows)
        + "\n\nMean of the seeds ± half the 95 % interval."
    )


def _usage(runs: Runs) -> str:
    balance = balance_table(runs)
    header = ["system", "stack", "experts", "dead", "busiest", "entropy", "task tells"]
    rows = [
        [
            row.label,
            row.stack,
            str(row.experts),
            str(row.dead),
            f"{row.busiest:.1f}",
            f"{row.entropy:.2f}",
            f"{row.between:.2f} bits",
        ]
        for row in balance.itertuples()
    ]
    text = markdown(header, rows) + (
        "\n\nSeed 0, one layer with experts a stack, every task counting alike. *Dead*: chosen by under one token in a"
        " thousand in every task. *Busiest*: tokens of the busiest expert over an even share. *Entropy*: of the"
        " choices, 1 when even. *Task tells*: mutual information of task and expert; 0 where all tasks use the"
        f" experts alike, {math.log2(len(groups(runs)['all'])):.1f} bits where every task has its own."
    )
    text += f"\n\n{_EVEN_START}"
    if balance["dead"].any():
        text += f" {_STILL_DEAD}"
    for name in ("target-target", "token-target"):
        if name in runs:
            text += f"\n\n{_chosen(runs, name)}"
    for name in ("token-token", "sentence-sentence", "token-target"):
        if name in runs:
            text += "".join(f"\n\n{table}" for table in _shares(runs, name))
    return text


def _shares(runs: Runs, name: str) -> Iterator[str]:
    """Of each direction the share of tokens that chose each expert, in the stacks that tasks do not decide."""
    usage = usage_table(runs[name][0])
    for (stack, layer), found in usage.groupby(["stack", "layer"], sort=False):
        if _by_task(found):
            continue
        shares = found.pivot(index="task", columns="expert", values="chosen").loc[
            list(found["task"].unique())
        ]
        rows = [
            [short(str(task)), *(f"{100 * share:.0f}" for share in row)]
            for task, row in zip(shares.index, shares.to_numpy(), strict=True)
        ]
        yield (
            f"Tokens of each direction that choose an expert, %, in {_LABELS[name]}, {stack}, layer {layer}, seed 0:"
            f"\n\n{markdown(['task', *map(str, shares.columns)], rows)}"
        )


def _by_task(usage: pd.DataFrame) -> bool:
    """Whether all tokens of a task choose the same experts, as they do where it decides."""
    return bool(((usage["chosen"] < 1e-3) | (usage["chosen"] > 0.999)).all())


def _chosen(runs: Runs, name: str) -> str:
    """The experts of each target language in the stacks that are routed by it."""
    table = usage_table(runs[name][0])
    table["language"] = [code(parse_task(task).target) for task in table["task"]]
    stacks = [
        (stack, layer)
        for (stack, layer), found in table.groupby(["stack", "layer"], sort=False)
        if _by_task(found)
    ]
    header = ["target", *(f"{stack}, layer {layer}" for stack, layer in stacks)]
    rows = []
    for language, found in table.groupby("language", sort=False):
        cells = []
        for stack, layer in stacks:
            own = found[
                (found["stack"] == stack) & (found["layer"] == layer) & (found["chosen"] > 0.5)
            ]
            cells.append(", ".join(map(str, sorted(own["expert"].unique()))))
        rows.append([str(language), *cells])
    return f"Experts of each target language in {_LABELS[name]}, seed 0:\n\n" + markdown(
        header, rows
    )


def _again() -> str:
    return """## Again

```
for n in dense token-moe sentence-moe task-moe hybrid-moe; do
    workbench train recipes/captions-$n.toml --data DIR -o runs/captions-$n; done
for n in static-target pair-pair source-target pair-token target-token token-pair bilingual-en-de bilingual-en-fr; do
    workbench train recipes/grid/$n.toml --data DIR -o runs/$n; done
workbench distill runs/captions-task-moe/checkpoint recipes/captions-distilled.toml --data DIR -o runs/captions-distilled
python -m benchmarks.results.score runs/* --data DIR
python -m benchmarks.results.proofs --data DIR
python -m benchmarks.results.page
```

`DIR` holds Multi30k as `{train,val,test_2016_flickr}.{en,de,fr,cs,es,uk,ar,zh}.gz`. Another seed: `--set run.seed=1`
and a folder of its own. The trunk is in the repository; to make it anew: `workbench train
recipes/captions-trunk.toml --data DIR -o runs/captions-trunk`, then `python -m benchmarks.results.bundle
runs/captions-trunk --data DIR`. The tables as data frames and charts:
`notebooks/results.ipynb`. The numbers behind the page, sentence by sentence: `benchmarks/results/scores`."""


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, numbers to the right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---" + "|---:" * (len(header) - 1) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def _pm(value: float | None, ci: float | None, sign: bool = False) -> str:
    if value is None or pd.isna(value):
        return ""
    shown = f"{value:+.2f}" if sign else f"{value:.1f}"
    width = f"{ci:.2f}" if sign else f"{ci:.1f}"
    return f"{shown} ± {width}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


if __name__ == "__main__":
    main()
