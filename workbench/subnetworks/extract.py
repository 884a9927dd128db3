"""Extraction: a task-routed stack folded into a dense one, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.config import ModelConfig, StackConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.nn.network import TranslationNetwork
from workbench.tasks import Task, parse_task


def extract(model: Translator, tasks: Sequence[str | Task], name: str | None = None) -> Translator:
    """The sub-network that translates `tasks` (one, for now) as `model` does.

    In a stack routed by task the experts of every layer and their gates are constants of the task, so
    `sum_k g_k FFN_k(x)` is one feed-forward block of width K F. Such a stack becomes dense; a stack routed by
    token or sentence keeps its experts, since any of them may be needed.

    Raises:
        WorkbenchError: no task or several, a task the model does not translate, or no stack routed by task.
    """
    chosen = [parse_task(t, model.config.languages) if isinstance(t, str) else t for t in tasks]
    if len(chosen) != 1:
        raise WorkbenchError(
            f"Exactly one task can be extracted at a time so far, got {len(chosen)}."
        )
    task = chosen[0]
    model.config.check_task(task)
    if not any(_by_task(stack) for _, stack in model.config.stacks):
        kind = "dense" if model.config.is_dense else "not routed by task in either stack"
        raise WorkbenchError(f"Nothing can be extracted exactly from {model.name}: it is {kind}.")
    config = folded_config(model.config, task)
    network = TranslationNetwork(config, rngs=nnx.Rngs(0))
    parameters = nnx.to_pure_dict(nnx.state(model.network))
    for (stack, old), row in zip(model.config.stacks, model.config.task_ids(task), strict=True):
        if not _by_task(old):
            continue
        for layer in old.expert_layers:
            block = getattr(model.network, stack).layers[layer].ffn
            parameters[stack]["layers"][layer]["ffn"] = fold(block, row)
    state = nnx.state(network)
    nnx.replace_by_pure_dict(state, parameters)
    nnx.update(network, state)
    return Translator(
        name or f"{model.name}-{task}",
        config,
        model.tokenizer,
        network,
        card=_card(model, task, name or f"{model.name}-{task}"),
        provenance={
            "operation": "extract",
            "tasks": [str(task)],
            "kept_experts": kept_experts(model, task),
            "parents": [{"name": model.name, "provenance": model.provenance}],
        },
    )


def folded_config(config: ModelConfig, task: Task) -> ModelConfig:
    """The shape of the network once the stacks routed by task are folded for `task`."""

    def folded(stack: StackConfig) -> StackConfig:
        if not _by_task(stack) or stack.router is None:
            return stack
        widths = [
            width * (stack.router.top_k if layer in stack.expert_layers else 1)
            for layer, width in enumerate(stack.feed_forward_widths)
        ]
        return StackConfig(stack.heads, tuple(widths))

    return dataclasses.replace(
        config,
        encoder=folded(config.encoder),
        decoder=folded(config.decoder),
        languages=tuple(sorted((task.source, task.target))),
        tasks=(task,),
    )


def kept_experts(model: Translator, task: Task) -> dict[str, dict[str, dict[str, float]]]:
    """The experts that `task` uses where routing is by task: stack -> layer -> expert -> gate."""
    kept: dict[str, dict[str, dict[str, float]]] = {}
    for (name, stack), row in zip(model.config.stacks, model.config.task_ids(task), strict=True):
        if not _by_task(stack):
            continue
        for layer in stack.expert_layers:
            experts, gates = _choice(getattr(model.network, name).layers[layer].ffn, row)
            kept.setdefault(name, {})[str(layer)] = {
                str(e): round(float(g), 6) for e, g in zip(experts, gates, strict=True)
            }
    return kept


def fold(block: ExpertFeedForward, row: int) -> dict[str, Any]:
    """The parameters of the dense block that `block` is for the task with this router row.

    Hidden units of the chosen experts stand side by side; their way out is scaled by the gates.
    """
    experts, gates = _choice(block, row)
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
    shapes = nnx.eval_shape(lambda: nnx.state(TranslationNetwork(config, rngs=nnx.Rngs(0))))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def _choice(block: ExpertFeedForward, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Experts [K] and gates [K] that the network's own router gives the task in `row`."""
    width = block.w_in.shape[1]
    routing = block.router(jnp.zeros((1, 1, width)), jnp.zeros((1, width)), jnp.array([row]))
    return np.asarray(routing.experts[0, 0]), np.asarray(routing.gates[0, 0])


def _by_task(stack: StackConfig) -> bool:
    return stack.router is not None and stack.router.granularity == "task"


def _float32(array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, jnp.float32)


def _card(model: Translator, task: Task, name: str) -> str:
    return (
        f"# {name}\n\nThe sub-network of `{model.name}` for {task.label} (`{task}`), extracted by the Task-MoE"
        " workbench: the experts this task uses, folded into dense feed-forward blocks. It translates that"
        " direction as its parent does, and no other. The parent's card follows; its terms hold here too."
        f"\n\n---\n\n{_without_front_matter(model.card)}"
    )


def _without_front_matter(card: str) -> str:
    parts = card.split("---\n", 2)
    return parts[2].lstrip() if card.startswith("---\n") and len(parts) == 3 else card
