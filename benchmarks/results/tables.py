"""The page's tables as data frames; the notebook draws the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.results.counts import Scored
from benchmarks.results.systems import SYSTEMS, ZERO_SHOT, System
from workbench.evaluation.differences import Difference, difference, two_sided
from workbench.languages import find_language
from workbench.routing.similarity import entropies
from workbench.tasks import parse_task

#: Scored runs by system, the seeds of each in order.
Runs = Mapping[str, Sequence[Scored]]

_ENGLISH = "eng_Latn"
_BILINGUAL = "bilingual"


def groups(runs: Runs) -> dict[str, tuple[str, ...]]:
    """The page's averages -> their tasks: "all", "en-xx", "xx-en", "zero-shot"."""
    tasks = tuple(runs["dense"][0].about["tasks"])
    into = tuple(t for t in tasks if parse_task(t).source == _ENGLISH)
    return {
        "all": tasks,
        "en-xx": into,
        "xx-en": tuple(t for t in tasks if t not in into),
        "zero-shot": ZERO_SHOT,
    }


def average(runs: Sequence[Scored], tasks: Iterable[str]) -> np.ndarray:
    """[1 + R] mean BLEU over tasks and seeds: of the test set, then of each resample of its pictures."""
    tasks = tuple(tasks)
    return np.mean([run.average(tasks) for run in runs], axis=0)


def half_width(samples: np.ndarray) -> float:
    """Half the 95 % interval of [1 + R] values; the first is not a resample."""
    low, high = np.percentile(samples[1:], [2.5, 97.5])
    return float(high - low) / 2


def main_table(runs: Runs) -> pd.DataFrame:
    """A row a system: label, seeds, BLEU of each group with the half width of its interval, the difference to
    the dense system, parameters, and the paper's averages (paper_all, paper_xx_en, paper_en_xx).
    """
    rows = []
    for system in SYSTEMS:
        own = _bilingual(runs) if system.name == _BILINGUAL else runs.get(system.name, ())
        if not own:
            continue
        row: dict[str, Any] = {"system": system.name, "label": system.label, "seeds": len(own)}
        row |= _bilingual_row(own) if system.name == _BILINGUAL else _row(own, runs)
        row |= _paper(system)
        rows.append(row)
    return pd.DataFrame(rows)


def _row(own: Sequence[Scored], runs: Runs) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, tasks in groups(runs).items():
        values = average(own, tasks)
        row[name], row[f"{name} ±"] = values[0], half_width(values)
    against = contrast(own, runs["dense"], groups(runs)["all"])
    row["delta"], row["delta ±"] = against.delta, against.ci
    row["parameters"] = sum(own[0].about["parameters"].values())
    row["minutes"] = np.mean([run.about["training_seconds"] for run in own]) / 60
    return row


def _bilingual_row(own: Sequence[Scored]) -> dict[str, Any]:
    """Each of them translates one direction: there is no average that stands beside the others'."""
    return {
        "seeds": 1,
        "directions": ", ".join(short(run.about["tasks"][0]) for run in own),
        "parameters": sum(own[0].about["parameters"].values()),
        "minutes": np.mean([run.about["training_seconds"] for run in own]) / 60,
    }


def _bilingual(runs: Runs) -> list[Scored]:
    return [one for name, found in runs.items() if name.startswith("bilingual-") for one in found]


def _paper(system: System) -> dict[str, float]:
    values = system.paper or (math.nan,) * 3
    return dict(zip(("paper_all", "paper_xx_en", "paper_en_xx"), values, strict=True))


@dataclass(frozen=True)
class Contrast:
    """One system minus another, in BLEU averaged over tasks and over the seeds that both have.

    delta: the difference. ci: half its 95 % interval by paired bootstrap over pictures. seeds_ci: half its 95 %
    interval by Student's t over the seeds; NaN with one seed. by_seed: the difference of each seed. p_value: of the
    bootstrap, two-sided.
    """

    delta: float
    ci: float
    seeds_ci: float
    by_seed: tuple[float, ...]
    p_value: float

    @property
    def width(self) -> float:
        """Half the 95 % interval over pictures and, if there are several, seeds."""
        return self.ci if math.isnan(self.seeds_ci) else math.hypot(self.ci, self.seeds_ci)

    @property
    def smallest(self) -> float:
        """The difference that would have been found four times in five (80 % power at 5 %) with this width."""
        power = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / stats.norm.ppf(0.975)
        return self.width * float(power)


def contrast(system: Sequence[Scored], other: Sequence[Scored], tasks: Iterable[str]) -> Contrast:
    """`system` minus `other` on `tasks`, over the seeds that both were trained with."""
    tasks = tuple(tasks)
    seeds = sorted({run.seed for run in system} & {run.seed for run in other})
    ours, theirs = (
        np.stack([run.average(tasks) for seed in seeds for run in runs if run.seed == seed])
        for runs in (system, other)
    )
    by_seed = (ours - theirs)[:, 0]
    values = (ours - theirs).mean(axis=0)
    found: Difference = two_sided(difference(values[0], values[1:]))
    seeds_ci = math.nan
    if len(seeds) > 1:
        seeds_ci = float(
            stats.t.ppf(0.975, len(seeds) - 1) * by_seed.std(ddof=1) / math.sqrt(len(seeds))
        )
    return Contrast(found.delta, found.ci, seeds_ci, tuple(by_seed), found.p_value)


def direction_table(runs: Runs) -> pd.DataFrame:
    """Tidy: system, task, bleu, ci; mean of the seeds."""
    rows = []
    for system in SYSTEMS:
        own = runs.get(system.name, ())
        for task in own[0].counts if own else ():
            values = average(own, [task])
            rows.append((system.name, system.label, task, values[0], half_width(values)))
    for one in _bilingual(runs):
        task = one.about["tasks"][0]
        values = one.resampled[task]
        rows.append((_BILINGUAL, "bilingual, dense", task, values[0], half_width(values)))
    return pd.DataFrame(rows, columns=["system", "label", "task", "bleu", "ci"])


def usage_table(one: Scored) -> pd.DataFrame:
    """Tidy: stack, layer, task, expert, chosen (share of the task's tokens that chose it, at any rank)."""
    usage = one.about["usage"]
    chosen = np.asarray(usage["chosen"])
    rows = [
        (stack, layer, task, expert, chosen[t, i, expert])
        for i, (stack, layer) in enumerate(usage["layers"])
        for t, task in enumerate(one.about["tasks"])
        for expert in range(usage["experts"][i])
    ]
    return pd.DataFrame(rows, columns=["stack", "layer", "task", "expert", "chosen"])


def balance_table(runs: Runs) -> pd.DataFrame:
    """How each system with experts uses them, a row a layer: system, label, stack, layer, experts; dead, those that
    fewer than one token in a thousand chose in every task; busiest, tokens of the busiest expert over an even share;
    entropy, of the choices over all tasks, 1 when even; between, the mutual information of task and expert in bits.
    """
    rows = []
    for system in SYSTEMS:
        for one in list(runs.get(system.name, ()))[:1]:
            if "usage" not in one.about:
                continue
            usage = one.about["usage"]
            for i, (stack, layer) in enumerate(usage["layers"]):
                size = usage["experts"][i]
                chosen = np.asarray(usage["chosen"])[:, i, :size]
                rows.append(
                    {
                        "system": system.name,
                        "label": system.label,
                        "stack": stack,
                        "layer": layer,
                        "experts": size,
                        "dead": int((chosen.max(axis=0) < 1e-3).sum()),
                        **_balance(chosen),
                    }
                )
    return pd.DataFrame(rows)


def _balance(chosen: np.ndarray) -> dict[str, float]:
    """Of [tasks, E] shares; every task counts alike."""
    share = chosen / chosen.sum(axis=1, keepdims=True)
    mean = share.mean(axis=0)
    (bits,) = entropies(mean[None])
    return {
        "busiest": float(mean.max() * mean.size),
        "entropy": float(bits) / math.log2(mean.size),
        "between": float(bits - entropies(share).mean()),
    }


def short(task: str) -> str:
    """`en-de` of `eng_Latn-deu_Latn`."""
    both = parse_task(task)
    return f"{code(both.source)}-{code(both.target)}"


def code(language: str) -> str:
    """`de` of `deu_Latn`."""
    return find_language(language).iso639_1 or language
