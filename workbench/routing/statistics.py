"""Statistics of routing: how often and how surely each expert is chosen, as the metrics of pruning want it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError
from workbench.routing.usage import Usage, layers_in_words
from workbench.tasks import TaskError, parse_task
from workbench.wording import counted

#: Columns of the statistics, in the order of the interchange file.
COLUMNS = ("top1", "top2", "conf1", "conf2", "mean")


class StatisticsError(WorkbenchError):
    """Statistics that are damaged, or those of another model."""


class StatisticsWarning(UserWarning):
    """Statistics that may be another model's."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What Koishekenov et al. (arXiv 2212.09811) gather of the gates, labelled. All float64 [tasks, layers, E].

    top1, top2: share of the tokens that rank an expert first; first or second. conf1, conf2: its mean gate over
    those tokens (0 where there are none). mean: its mean gate over all tokens. tasks: as text. layers: (stack,
    layer) pairs, the encoder's first. experts: of each of these layers; beyond them all is zero.
    gates: "softmax" over all experts, as `gather_statistics` gives them, or "renormalised" over the chosen ones.
    products: float64 [tasks, layers, E, E], mean product of two experts' logits over the tokens; None unless asked.
    origin: what was read: "references", "translations" of the model's own, or where the statistics came from.
    model: the name of the network, where it is known.
    """

    top1: np.ndarray
    top2: np.ndarray
    conf1: np.ndarray
    conf2: np.ndarray
    mean: np.ndarray
    tasks: tuple[str, ...]
    layers: tuple[tuple[str, int], ...]
    experts: tuple[int, ...]
    gates: str = "softmax"
    products: np.ndarray | None = None
    origin: str = "references"
    model: str = ""

    def __repr__(self) -> str:
        also = ", with products" if self.products is not None else ""
        tasks = counted(len(self.tasks), "task")
        return f"Statistics({tasks}, {layers_in_words(self.experts)}, of {self.origin}{also})"

    def check(self, config: ModelConfig) -> None:
        """Raise StatisticsError unless they are of a network with this shape."""
        layers, experts = routed_layers(config)
        if (self.layers, self.experts) != (layers, experts):
            raise StatisticsError(
                f"These are the statistics of another model: of {_shape(self.layers, self.experts)}; this one"
                f" has {_shape(layers, experts)}."
            )

    def warn_unless_of(self, model: str) -> None:
        """Warn where they were gathered with a network of another name: its experts may have nothing in common."""
        if self.model and self.model != model:
            warnings.warn(
                f"These statistics were gathered with {self.model}, not with {model}. Unless that is the same network under"
                " another name, they say nothing of its experts.",
                StatisticsWarning,
                stacklevel=3,
            )

    def rows(self, tasks: Sequence[str]) -> list[int]:
        """Where `tasks` are along the first axis. Raises StatisticsError where one is not."""
        missing = [task for task in tasks if task not in self.tasks]
        if missing:
            raise StatisticsError(
                f"There are no statistics of {missing[0]}, only of {', '.join(self.tasks)}: gather them too."
            )
        return [self.tasks.index(task) for task in tasks]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The interchange form: task -> column -> a value for each id (layer number x E + expert).

        Layers with experts are numbered through, the encoder's first. `rank` is the expert's place in its layer
        by top1, from 0; it is written for people and not read.
        """
        return {
            task: {
                **{name: getattr(self, name)[t].round(8).reshape(-1).tolist() for name in COLUMNS},
                "rank": np.argsort(np.argsort(-self.top1[t], axis=1, kind="stable"), axis=1)
                .reshape(-1)
                .tolist(),
            }
            for t, task in enumerate(self.tasks)
        }


def routed_layers(config: ModelConfig) -> tuple[tuple[tuple[str, int], ...], tuple[int, ...]]:
    """The (stack, layer) pairs with experts, the encoder's first, and how many experts each has."""
    layers = tuple((name, layer) for name, stack in config.stacks for layer in stack.expert_layers)
    return layers, tuple(getattr(config, name).experts_in(layer) for name, layer in layers)


def statistics_of(usage: Usage) -> Statistics:
    """The statistics that a usage table holds; its gates are those of the chosen experts, renormalised."""
    tokens = np.maximum(usage.tokens, 1)[..., None]
    return Statistics(
        top1=usage.firsts / tokens,
        top2=usage.counts / tokens,
        conf1=usage.first_weights / np.maximum(usage.firsts, 1),
        conf2=usage.weights / np.maximum(usage.counts, 1),
        mean=usage.weights / tokens,
        tasks=usage.tasks,
        layers=usage.layers,
        experts=usage.experts,
        gates="renormalised",
        origin="usage",
        model=usage.model,
    )


def read_statistics(table: Any, config: ModelConfig, name: str) -> Statistics:
    """Statistics from a JSON table: the interchange form, or what `workbench usage` writes.

    name: what messages call the file.

    Raises:
        StatisticsError: it is neither, or of a model with other layers or experts.
    """
    if not isinstance(table, dict) or not table:
        raise StatisticsError(
            f"{name} holds no statistics: expected a JSON object with a key a task."
        )
    try:
        found = _usage(table) if "layers" in table else _interchange(table, config, name)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, WorkbenchError):
            raise
        raise StatisticsError(
            f"{name} is neither statistics nor a usage table ({type(error).__name__}: {error})."
        ) from error
    values = np.stack([getattr(found, column) for column in COLUMNS])
    if not np.isfinite(values).all() or (values < 0).any():
        raise StatisticsError(f"{name} holds values that are negative or no numbers.")
    found.check(config)
    return found


def _interchange(table: Mapping[str, Any], config: ModelConfig, name: str) -> Statistics:
    layers, experts = routed_layers(config)
    width = max(experts, default=0)
    wanted = len(layers) * width
    tasks: list[str] = []
    values: dict[str, list[np.ndarray]] = {column: [] for column in COLUMNS}
    for key, columns in table.items():
        try:
            tasks.append(str(parse_task(key, config.languages)))
        except (TaskError, UnknownLanguageError):
            continue  # a direction that this model does not have
        for column in COLUMNS:
            if column not in columns:
                raise StatisticsError(f"{name}: {key} has no {column!r}.")
            row = np.asarray(columns[column], np.float64)
            if row.shape != (wanted,):
                raise StatisticsError(
                    f"{name} has the statistics of another model: {row.size} values for {key}; this model's"
                    f" {len(layers)} layers of {width} experts have {wanted}."
                )
            values[column].append(row.reshape(len(layers), width))
    if not tasks:
        raise StatisticsError(
            f"{name} has no direction between languages of this model, only {', '.join(list(table)[:5])}."
        )
    arrays: dict[str, Any] = {column: np.stack(rows) for column, rows in values.items()}
    return Statistics(**arrays, tasks=tuple(tasks), layers=layers, experts=experts, origin=name)


def _usage(table: Mapping[str, Any]) -> Statistics:
    tasks = tuple(table["tasks"])
    rows = table["layers"]
    experts = tuple(int(row["experts"]) for row in rows)
    if any("first" not in row for row in rows):
        raise StatisticsError(
            "This usage table does not say how often an expert came first: run `workbench usage` again."
        )

    def array(key: str) -> np.ndarray:
        values = np.zeros((len(tasks), len(rows), max(experts)))
        for i, row in enumerate(rows):
            for t, task in enumerate(tasks):
                values[t, i, : experts[i]] = row[key][task]
        return values

    top1, top2, mean, first_mean = (array(key) for key in ("first", "share", "gate", "first_gate"))
    divided = lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=b > 0)  # noqa: E731
    return Statistics(
        top1,
        top2,
        divided(first_mean, top1),
        divided(mean, top2),
        mean,
        tasks,
        tuple((row["stack"], int(row["layer"])) for row in rows),
        experts,
        gates="renormalised",
        origin="usage",
        model=str(table.get("model", "")),
    )


def _shape(layers: Sequence[tuple[str, int]], experts: Sequence[int]) -> str:
    if not layers:
        return "no layers with experts"
    return ", ".join(
        f"{stack} layer {layer} ({count})"
        for (stack, layer), count in zip(layers, experts, strict=True)
    )
