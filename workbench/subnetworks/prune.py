"""Pruning: a token- or sentence-routed network that keeps only the experts that matter to some tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from workbench.arguments import as_one
from workbench.config import ModelConfig, StackName
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.routing.statistics import Statistics, routed_layers, statistics_of
from workbench.routing.usage import Usage
from workbench.subnetworks.cutting import (
    Kept,
    build,
    cut_block,
    cut_config,
    kept_columns,
    parameters_of,
)
from workbench.subnetworks.importance import Granularity, values_by_key
from workbench.subnetworks.lineage import card_of_part, languages_of, provenance_of_part
from workbench.subnetworks.selection import (
    ALGORITHMS,
    Algorithm,
    best_of_each_layer,
    best_under_threshold,
    check_fraction,
    counts_for,
)
from workbench.tasks import Task, as_tasks

#: A layer with experts: its stack and its number.
Layer = tuple[StackName, int]


def prune(
    model: Translator,
    usage: Usage | Statistics,
    tasks: str | Task | Sequence[str | Task] | None = None,
    keep: float = 0.2,
    metric: str = "importance",
    granularity: Granularity = "global",
    algorithm: Algorithm = "fixed",
    encoder_keep: float | None = None,
    decoder_keep: float | None = None,
    name: str | None = None,
) -> Translator:
    """`model` with the most important experts of its stacks that are routed by token or sentence.

    As Koishekenov et al. (arXiv 2212.09811): nothing is trained again, and the softmax of a router is over the
    experts kept. Stacks that are dense or routed by task stay as they are.

    Args:
        model: to be pruned; it is left as it is.
        usage: what its gates did, on a corpus: `Statistics`, or a usage table.
        tasks: one or more directions that the result is for; default all of the statistics. With granularity "pair" or
            "language" every direction or language chooses its own experts, and the result keeps the union:
            for one direction the budget is exact, for several it is a lower bound.
        keep: fraction of the experts, of every layer ("fixed") or of all of them together.
        metric: what an expert is worth, from the statistics of Koishekenov et al.: "top1", how many tokens rank it
            first; "top2", first or second; "load-balance", top1 times its mean gate; "vanilla", top1 times its mean
            gate over those tokens; "importance", top1 times e to the power of the latter.
        granularity: whose statistics decide: "global", the mean over all `tasks`; "pair", each direction's;
            "language", the source's in the encoder and the target's in the decoder.
        algorithm: "fixed", as many experts in each layer; "global", one threshold for all layers; "separate",
            one for each stack.
        encoder_keep, decoder_keep: budgets of one stack, instead of `keep`; not with "global".
        name: of the result.

    Raises:
        WorkbenchError: nothing is routed by token or sentence, the statistics are another model's or lack a
            task, or the budget is no fraction or less than the routers choose.
    """
    prunable_layers(model)
    statistics = given_statistics(usage)
    statistics.warn_unless_of(model.name)
    chosen = chosen_tasks(model.config, tasks or statistics.tasks)
    by_key = select_experts(
        model.config,
        statistics,
        chosen,
        keep,
        metric,
        granularity,
        algorithm,
        encoder_keep,
        decoder_keep,
    )
    how = method_of(statistics, keep, metric, granularity, algorithm, encoder_keep, decoder_keep)
    return keep_experts(model, united(by_key.values()), chosen, name, how)


def method_of(
    statistics: Statistics,
    keep: float,
    metric: str,
    granularity: Granularity,
    algorithm: Algorithm,
    encoder_keep: float | None = None,
    decoder_keep: float | None = None,
) -> dict[str, object]:
    """How the experts were selected, as the provenance says it; arguments as in `prune`."""
    budgets = {"encoder": encoder_keep, "decoder": decoder_keep}
    return {
        "metric": metric,
        "granularity": granularity,
        "algorithm": algorithm,
        "keep": keep,
        **{f"{stack}_keep": value for stack, value in budgets.items() if value is not None},
        "statistics": {"of": statistics.origin, "gates": statistics.gates},
    }


def select_experts(
    config: ModelConfig,
    statistics: Statistics,
    tasks: Sequence[Task],
    keep: float = 0.2,
    metric: str = "importance",
    granularity: Granularity = "global",
    algorithm: Algorithm = "fixed",
    encoder_keep: float | None = None,
    decoder_keep: float | None = None,
) -> dict[str, Kept]:
    """The experts that each key of the granularity keeps; arguments and errors as in `prune`."""
    statistics.check(config)
    fractions = budgets_of(config, keep, algorithm, encoder_keep, decoder_keep)
    layers = _layers(config)
    places = {layer: i for i, layer in enumerate(routed_layers(config)[0])}
    found: dict[str, Kept] = {}
    for key, values in values_by_key(statistics, metric, granularity, tasks).items():
        own = [layer for layer in layers if granularity != "language" or key.startswith(layer[0])]
        if not own:
            continue  # a stack that is not pruned
        rows = {layer: values[places[layer]][: _experts(config, layer)] for layer in own}
        kept: dict[Layer, tuple[int, ...]] = {}
        for group in _groups(own, algorithm):
            kept |= _select(config, rows, group, algorithm, fractions)
        found[key] = kept
    return found


def budgets_of(
    config: ModelConfig,
    keep: float = 0.2,
    algorithm: Algorithm = "fixed",
    encoder_keep: float | None = None,
    decoder_keep: float | None = None,
) -> dict[StackName, float]:
    """The fraction of its experts that each stack keeps; arguments as in `prune`.

    Raises:
        WorkbenchError: there is no such algorithm, or a budget is no fraction or less than the routers choose.
    """
    if algorithm not in ALGORITHMS:
        raise WorkbenchError(f"Unknown algorithm {algorithm!r}. Accepted: {', '.join(ALGORITHMS)}.")
    if algorithm == "global" and (encoder_keep is not None or decoder_keep is not None):
        raise WorkbenchError(
            "One threshold for all layers has one budget: give keep alone, or the algorithm separate."
        )
    given: dict[StackName, float | None] = {"encoder": encoder_keep, "decoder": decoder_keep}
    fractions: dict[StackName, float] = {}
    for stack, fraction in given.items():
        fractions[stack] = keep if fraction is None else fraction
        check_fraction(fractions[stack], "keep" if fraction is None else f"{stack}_keep")
    equal = {layer: np.ones(_experts(config, layer)) for layer in _layers(config)}
    for group in _groups(list(equal), algorithm):
        _select(config, equal, group, algorithm, fractions)
    return fractions


def keep_experts(
    model: Translator,
    kept: Kept,
    tasks: Sequence[Task],
    name: str | None = None,
    method: Mapping[str, object] | None = None,
) -> Translator:
    """`model` with the experts `kept` of the layers named there, for `tasks`.

    Raises:
        WorkbenchError: a layer is none with experts that can be pruned, an expert does not exist, or fewer are
            kept than the router chooses.
    """
    check_kept(model, kept)
    ordered = in_order(kept)
    config = pruned_config(model.config, ordered, tasks)
    parameters = parameters_of(model.network)
    for (stack, number), experts in ordered.items():
        layer = parameters[stack]["layers"][number]
        columns, _ = kept_columns(getattr(model.config, stack), number, experts)
        layer["ffn"] = cut_block(layer["ffn"], experts, columns)
    called = name or f"{model.name}-pruned"
    return Translator(
        called,
        config,
        model.tokenizer,
        build(config, parameters),
        card=card_of_part(
            model, called, made_by_pruning(model.name, model.config, config, method), tasks
        ),
        provenance=provenance_of_part(
            model, "prune", tasks, method=dict(method or {}), kept_experts=kept_as_json(ordered)
        ),
    )


def in_order(kept: Kept) -> dict[Layer, tuple[int, ...]]:
    """The same, the experts of each layer ascending."""
    return {layer: tuple(sorted(experts)) for layer, experts in kept.items()}


def pruned_config(config: ModelConfig, kept: Kept, tasks: Sequence[Task]) -> ModelConfig:
    """The shape of the network for `tasks` that keeps the experts `kept`, which are in order."""
    return dataclasses.replace(
        cut_config(config, kept), languages=languages_of(tasks), tasks=tuple(tasks)
    )


def check_kept(model: Translator, kept: Kept) -> None:
    """Raise WorkbenchError where `kept` is nothing that `keep_experts` could do."""
    prunable_layers(model)
    check_kept_in(model.config, kept)


def check_kept_in(config: ModelConfig, kept: Kept) -> None:
    """The same of a network of this shape, which has layers that can be pruned."""
    prunable = _layers(config)
    for layer, experts in kept.items():
        total = _experts(config, layer) if layer in prunable else 0
        if not total or not set(experts) <= set(range(total)) or len(set(experts)) != len(experts):
            raise WorkbenchError(
                f"Cannot keep the experts {list(experts)} of {layer[0]} layer {layer[1]}, which has"
                f" {total} that can be pruned."
            )
        if len(experts) < (least := _top_k(config, layer)):
            raise WorkbenchError(
                f"{layer[0]} layer {layer[1]} would keep {len(experts)} experts, but its router chooses {least}."
            )


def prunable_layers(model: Translator) -> list[Layer]:
    """The layers whose experts are chosen by token or sentence, the encoder's first.

    Raises:
        WorkbenchError: there is none, or `model` is no model.
    """
    as_one(model, Translator, "model", "a loaded model")
    return prunable_layers_in(model.config, model.name)


def prunable_layers_in(config: ModelConfig, name: str) -> list[Layer]:
    """The same of the network `name` of this shape."""
    layers = _layers(config)
    if not layers:
        kind = "dense" if config.is_dense else "routed by task: extract a task instead"
        raise WorkbenchError(
            f"{name} has no experts that are chosen by token or sentence: it is {kind}."
        )
    return layers


def given_statistics(usage: Usage | Statistics) -> Statistics:
    """`usage` as statistics. Raises WorkbenchError where it is neither."""
    if isinstance(usage, Usage):
        return statistics_of(usage)
    noun = "statistics, as gather_statistics gives, or usage, as expert_usage does"
    return as_one(usage, Statistics, "usage", noun)


def chosen_tasks(config: ModelConfig, tasks: str | Task | Sequence[str | Task]) -> list[Task]:
    """`tasks` as tasks, each once. Raises WorkbenchError where the network lacks one."""
    chosen = as_tasks(tasks, config.languages)
    for task in chosen:
        config.check_task(task)
    return chosen


def united(several: Iterable[Kept]) -> Kept:
    """Every layer with all the experts that one of `several` keeps, ascending."""
    found: dict[Layer, set[int]] = {}
    for kept in several:
        for layer, experts in kept.items():
            found.setdefault(layer, set()).update(experts)
    return {layer: tuple(sorted(experts)) for layer, experts in found.items()}


def kept_as_json(kept: Kept) -> dict[str, dict[str, list[int]]]:
    """Stack -> layer -> experts, by the numbers they had in the parent."""
    table: dict[str, dict[str, list[int]]] = {}
    for (stack, layer), experts in kept.items():
        table.setdefault(stack, {})[str(layer)] = list(experts)
    return table


def _select(
    config: ModelConfig,
    rows: Mapping[Layer, np.ndarray],
    layers: Sequence[Layer],
    algorithm: Algorithm,
    fractions: Mapping[StackName, float],
) -> dict[Layer, tuple[int, ...]]:
    totals = [_experts(config, layer) for layer in layers]
    top_k = [_top_k(config, layer) for layer in layers]
    values = [rows[layer] for layer in layers]
    if algorithm == "fixed":
        counts = counts_for(fractions[layers[0][0]], totals, top_k)
        chosen = best_of_each_layer(values, counts)
    else:
        budget = sum(fractions[stack] * n for (stack, _), n in zip(layers, totals, strict=True))
        chosen = best_under_threshold(values, round(budget), top_k)
    return dict(zip(layers, chosen, strict=True))


def _groups(layers: Sequence[Layer], algorithm: Algorithm) -> list[list[Layer]]:
    """The layers that share a budget: all of them for "global", else those of a stack."""
    if algorithm == "global":
        return [list(layers)]
    stacks = [[layer for layer in layers if layer[0] == s] for s in ("encoder", "decoder")]
    return [group for group in stacks if group]


def _layers(config: ModelConfig) -> list[Layer]:
    return [
        (name, layer)
        for name, stack in config.stacks
        if stack.router is not None and stack.router.granularity in ("token", "sentence")
        for layer in stack.expert_layers
    ]


def _experts(config: ModelConfig, layer: Layer) -> int:
    return int(getattr(config, layer[0]).experts_in(layer[1]))


def _top_k(config: ModelConfig, layer: Layer) -> int:
    return int(getattr(config, layer[0]).router.top_k)


def made_by_pruning(
    parent: str, before: ModelConfig, after: ModelConfig, method: Mapping[str, object] | None
) -> str:
    """What a model card says of a pruned network; before, after: its parent's shape and its own."""
    counts = ", ".join(
        f"{stack} layer {layer}: {_experts(after, (stack, layer))} of {_experts(before, (stack, layer))}"
        for stack, layer in _layers(after)
    )
    said = {
        name: ", ".join(f"{k} {v}" for k, v in value.items())
        if isinstance(value, Mapping)
        else value
        for name, value in (method or {}).items()
    }
    how = f" Method: {', '.join(f'{k} {v}' for k, v in said.items())}." if said else ""
    return (
        f"`{parent}` pruned for {', '.join(f'`{task}`' for task in after.tasks)} by the Task-MoE workbench,"
        f" without training it again; experts kept in {counts}.{how} It does not translate exactly as its parent"
        " does."
    )
