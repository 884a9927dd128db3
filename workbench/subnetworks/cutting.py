"""Cutting: a network of which each layer keeps only some of its experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.config import ModelConfig, RouterConfig, StackConfig, StackName
from workbench.nn.network import TranslationNetwork
from workbench.nn.tiles import ExpertWeights

#: (stack, layer) -> the experts that this layer keeps, in ascending order. Layers that keep all are left out.
Kept = Mapping[tuple[StackName, int], tuple[int, ...]]


def with_experts(
    stack: StackConfig,
    counts: Sequence[int],
    groups: Sequence[tuple[int, ...]] = (),
    router: RouterConfig | None = None,
) -> StackConfig:
    """`stack` with as many experts in each of its layers with experts as `counts` says, and `router` if given."""
    uneven = len(set(counts)) > 1
    return dataclasses.replace(
        stack,
        experts=max(counts),
        experts_by_layer=tuple(counts) if uneven else (),
        router_groups=tuple(groups) if any(groups) else (),
        router=router or stack.router,
    )


def cut_config(config: ModelConfig, kept: Kept) -> ModelConfig:
    """The shape of the network that keeps only `kept`."""
    stacks: dict[str, Any] = {}
    for name, stack in config.stacks:
        if any(key[0] == name for key in kept):
            counts = [
                len(kept.get((name, layer), range(stack.experts_in(layer))))
                for layer in stack.expert_layers
            ]
            groups = [
                kept_columns(stack, layer, kept[name, layer])[1]
                if (name, layer) in kept
                else stack.groups_in(layer)
                for layer in stack.expert_layers
            ]
            stacks[name] = with_experts(stack, counts, groups)
    return dataclasses.replace(config, **stacks)


def kept_columns(
    stack: StackConfig, layer: int, experts: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The router columns that belong to `experts`, and the new groups of these columns (empty: none)."""
    groups = stack.groups_in(layer)
    if not groups:
        return tuple(experts), ()
    place = {expert: i for i, expert in enumerate(experts)}
    columns = tuple(c for c, expert in enumerate(groups) if expert in place)
    return columns, tuple(place[groups[c]] for c in columns)


def cut_block(
    parameters: Mapping[str, Any], experts: Sequence[int], columns: Sequence[int] | None = None
) -> dict[str, Any]:
    """The parameters of an expert block that keeps `experts`, and of its router that keeps `columns`.

    The softmax is then over the kept columns: the same as masking the logits of the others.
    """
    router = dict(parameters["router"])
    router["kernel"] = router["kernel"][:, np.asarray(columns if columns is not None else experts)]
    return {"router": router, **cut_weights(parameters, experts)}


def cut_weights(parameters: Mapping[str, Any], experts: Sequence[int]) -> dict[str, Any]:
    """The weights of `experts` alone."""
    return {name: parameters[name][np.asarray(experts)] for name in ExpertWeights._fields}


def build(config: ModelConfig, parameters: Any) -> TranslationNetwork:
    """The network of this shape with these parameters (nested dicts, as `parameters_of` gives them).

    Raises:
        ValueError: they do not fit the shape.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: TranslationNetwork(config, rngs=nnx.Rngs(0))))
    wanted = jax.tree.map(lambda leaf: leaf.shape, nnx.to_pure_dict(state))
    found = jax.tree.map(lambda leaf: leaf.shape, parameters)
    if wanted != found:
        raise ValueError("The parameters do not fit the configuration.")
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, parameters))
    return nnx.merge(graph, state)


def parameters_of(network: TranslationNetwork) -> Any:
    """The parameters as nested dicts; arrays are shared with the network, not copied."""
    return nnx.to_pure_dict(nnx.state(network))
