"""Extraction: the part of a task-routed network that some tasks need, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from workbench.arguments import as_one
from workbench.checkpoint.components import parameters_by_component
from workbench.config import ModelConfig, RouterConfig, StackConfig, StackName
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.subnetworks.choices import Choices, by_task, choice_of, choices_of, remainder_of
from workbench.subnetworks.cutting import build, cut_block, cut_weights, parameters_of, with_experts
from workbench.subnetworks.lineage import card_of_part, languages_of, provenance_of_part
from workbench.tasks import Task, as_tasks


def extract(
    model: Translator, tasks: str | Task | Sequence[str | Task], name: str | None = None
) -> Translator:
    """The sub-network that translates `tasks`, one or many, as `model` does.

    In a stack routed by task the experts of every layer and their gates are constants of the task key, so
    `sum_k g_k FFN_k(x)` is one feed-forward block of width K F. Where all tasks have the same key, as with one
    task, such a stack becomes dense. Where they have several it keeps the union of their experts, layer by layer,
    and a router over these. A stack routed by token or sentence keeps its experts, since any of them may be needed.

    Raises:
        WorkbenchError: no model, no task, a task the model does not translate, or no stack routed by task.
    """
    as_one(model, Translator, "model", "a loaded model")
    chosen = checked_tasks(model.config, tasks, model.name)
    choices = {
        stack: choices_of(
            getattr(model.config, stack),
            {
                layer: getattr(model.network, stack).layers[layer].ffn.router
                for layer in getattr(model.config, stack).expert_layers
            },
            model.config.d_model,
            chosen,
        )
        for stack in by_task(model.config)
    }
    config = extracted_config(model.config, chosen, choices)
    parameters = parameters_of(model.network)
    for stack, choice in choices.items():
        old = getattr(model.config, stack)
        layers = parameters[stack]["layers"]
        for layer in old.expert_layers:
            block = getattr(model.network, stack).layers[layer].ffn
            layers[layer]["ffn"] = (
                fold(block, choice.rows[0])
                if choice.folds
                else _reduced(block, layers[layer]["ffn"], choice, layer, old)
            )
    called = name or f"{model.name}-{chosen[0] if len(chosen) == 1 else f'{len(chosen)}-tasks'}"
    return Translator(
        called,
        config,
        model.tokenizer,
        build(config, parameters),
        card=card_of_part(model, called, made_for(model.name, chosen), chosen),
        provenance=provenance_of_part(
            model,
            "extract",
            chosen,
            kept_experts=kept_experts(model, chosen[0])
            if len(chosen) == 1
            else {str(task): kept_experts(model, task) for task in chosen},
        ),
    )


def checked_tasks(
    config: ModelConfig, tasks: str | Task | Sequence[str | Task], name: str = "this checkpoint"
) -> list[Task]:
    """`tasks` as tasks, each once, all of which can be extracted from a network of this shape.

    Raises:
        WorkbenchError: as `extract`.
    """
    chosen = as_tasks(tasks, config.languages)
    if not chosen:
        raise WorkbenchError("Name at least one task to extract, e.g. eng_Latn-deu_Latn; got 0.")
    for task in chosen:
        config.check_task(task)
    if not by_task(config):
        kind = "dense" if config.is_dense else "not routed by task in either stack"
        raise WorkbenchError(f"Nothing can be extracted exactly from {name}: it is {kind}.")
    return chosen


def folded_config(config: ModelConfig, task: Task) -> ModelConfig:
    """The shape of the network once the stacks routed by task are folded for `task`."""
    stacks: dict[str, Any] = {name: _folded(getattr(config, name)) for name in by_task(config)}
    return dataclasses.replace(config, **stacks, languages=languages_of([task]), tasks=(task,))


def kept_experts(model: Translator, task: Task) -> dict[str, dict[str, dict[str, float]]]:
    """The experts that `task` uses where routing is by task: stack -> layer -> expert -> gate."""
    kept: dict[str, dict[str, dict[str, float]]] = {}
    for stack in by_task(model.config):
        row = getattr(model.config, stack).router.key_index(task)
        for layer in getattr(model.config, stack).expert_layers:
            experts, gates = choice_of(
                getattr(model.network, stack).layers[layer].ffn.router, row, model.config.d_model
            )
            kept.setdefault(stack, {})[str(layer)] = {
                str(e): round(float(g), 6) for e, g in zip(experts, gates, strict=True)
            }
    return kept


def fold(block: ExpertFeedForward, row: int) -> dict[str, Any]:
    """The parameters of the dense block that `block` is for the task with this router row.

    Hidden units of the chosen experts stand side by side; their way out is scaled by the gates.
    """
    experts, gates = choice_of(block.router, row, block.b_out.shape[-1])
    # Only the chosen experts are touched; sums and products in float64, rounded once.
    w_in, b_in, w_out, b_out = (np.asarray(array[experts], np.float64) for array in block.weights)
    scale = gates.astype(np.float64) * block.output_scale
    return {
        "fc1": {
            "kernel": _float32(np.concatenate(list(w_in), axis=1)),
            "bias": _float32(b_in.reshape(-1)),
        },
        "fc2": {
            "kernel": _float32((w_out * scale[:, None, None]).reshape(-1, w_out.shape[2])),
            "bias": _float32((b_out * scale[:, None]).sum(axis=0)),
        },
    }


def parameter_count(config: ModelConfig) -> int:
    """Parameters of a network of this shape."""
    return sum(parameters_by_component(config).values())


def extracted_config(
    config: ModelConfig, tasks: Sequence[Task], choices: dict[StackName, Choices]
) -> ModelConfig:
    """The shape of the network that is extracted for `tasks`."""
    stacks: dict[str, Any] = {}
    for name, choice in choices.items():
        stack: StackConfig = getattr(config, name)
        if choice.folds:
            stacks[name] = _folded(stack)
            continue
        assert stack.router is not None
        router = dataclasses.replace(
            stack.router,
            keys=choice.keys,
            assignment=_renumbered(stack, choice),
            remainder=needs_remainder(stack.router),
        )
        counts = [len(choice.experts[layer]) for layer in stack.expert_layers]
        stacks[name] = with_experts(stack, counts, router=router)
    return dataclasses.replace(config, **stacks, languages=languages_of(tasks), tasks=tuple(tasks))


def needs_remainder(router: RouterConfig) -> bool:
    """Whether gates would change when a task router loses columns: a single one that is a probability."""
    return router.top_k == 1 and not router.unit_gates and not router.assignment


def _renumbered(stack: StackConfig, choice: Choices) -> tuple[tuple[int, ...], ...]:
    """An assignment by hand, of the keys that stay, to the experts as they are numbered now."""
    assert stack.router is not None
    if not stack.router.assignment:
        return ()
    # By hand, all layers of a stack have the same experts for a key.
    union = choice.experts[stack.expert_layers[0]]
    return tuple(tuple(union.index(e) for e in stack.router.assignment[row]) for row in choice.rows)


def _folded(stack: StackConfig) -> StackConfig:
    assert stack.router is not None
    widths = [
        width * (stack.router.top_k if layer in stack.expert_layers else 1)
        for layer, width in enumerate(stack.feed_forward_widths)
    ]
    return StackConfig(stack.heads, tuple(widths))


def _reduced(
    block: ExpertFeedForward,
    parameters: dict[str, Any],
    choice: Choices,
    layer: int,
    stack: StackConfig,
) -> dict[str, Any]:
    """The block with the union's experts, and its router with the tasks' keys and those experts' columns.

    Gates renormalised over the chosen experts do not feel the loss of other columns. A single expert's gate is
    its probability among all, which does: what the lost columns had is kept as one logit, the remainder.
    """
    experts = choice.experts[layer]
    if stack.router is not None and stack.router.assignment:
        return {**parameters, **cut_weights(parameters, experts)}
    reduced = cut_block(parameters, experts)
    rows = np.asarray(choice.rows)
    router = {**reduced["router"], "task_embedding": parameters["router"]["task_embedding"][rows]}
    if stack.router is not None and needs_remainder(stack.router):
        lost = remainder_of(block.router, choice.rows, experts, block.b_out.shape[-1])
        router["remainder"] = _float32(lost)
    return {**reduced, "router": router}


def _float32(array: np.ndarray) -> Any:
    return jnp.asarray(array, jnp.float32)


def made_for(parent: str, tasks: Sequence[Task]) -> str:
    """What a model card says of an extracted network."""
    if len(tasks) == 1:
        return (
            f"The sub-network of `{parent}` for {tasks[0].label} (`{tasks[0]}`), extracted by the Task-MoE"
            " workbench: the experts this task uses, folded into dense feed-forward blocks. It translates that"
            " direction as its parent does, and no other."
        )
    named = ", ".join(f"`{task}`" for task in tasks)
    return (
        f"The sub-network of `{parent}` for {named}, extracted by the Task-MoE workbench: the experts that"
        " these tasks use and a router over them. It translates these directions as its parent does, and no other."
    )
