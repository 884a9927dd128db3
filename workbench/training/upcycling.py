"""How a network starts: from a trained one, its blocks becoming experts where needed, and with which experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.checkpoint.model_card import split_card, usage
from workbench.config import ConfigError, ModelConfig, RouterConfig, StackConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.feed_forward import ExpertFeedForward, FeedForward
from workbench.nn.network import TranslationNetwork
from workbench.training.room import check_network
from workbench.training.stacks import RoutingName, even_assignment, routed_stack


def upcycle(
    model: Translator,
    encoder: RoutingName,
    decoder: RoutingName,
    *,
    experts: int = 8,
    top_k: int = 2,
    every: int = 2,
    fresh_units: float = 0.0,
    seed: int = 0,
    name: str | None = None,
) -> Translator:
    """A network with experts that translates as the dense `model` does, to be trained on.

    Every expert is a copy of the block it takes the place of, and gates sum to one, with one expert too.
    With a share `fresh_units` of the experts' hidden units drawn anew it only begins near the dense network.

    Args:
        model: a dense checkpoint; a task router knows the directions that it translates.
        encoder, decoder: how each stack chooses: dense, token, sentence, source, target, pair, or static-target
            and the like.
        experts: in each layer that has them. top_k: how many of them are chosen.
        every: one in so many layers of a routed stack gets experts.
        fresh_units: as in `start_from`.
        seed: of the routers' random start; tasks are spread over the experts, see `spread_tasks`.
        name: of the result.

    Raises:
        WorkbenchError: the model is not dense, or the experts cannot be as asked for, or do not fit into memory.
    """
    config = upcycled_config(model.config, encoder, decoder, experts, top_k, every, model.name)
    if not 0 <= fresh_units < 1:
        raise WorkbenchError(f"fresh_units is {fresh_units}: give a share from 0 to below 1.")
    if abs(seed) >= 2**31:
        raise WorkbenchError(f"seed is {seed}: give a whole number of fewer than 32 bits.")
    name = name or f"{model.name}-{encoder}-{decoder}"
    check_network(name, config)
    network = TranslationNetwork(config, rngs=nnx.Rngs(seed))
    spread_tasks(network)
    start_from(network, model.network, fresh_units)
    return Translator(
        name,
        config,
        model.tokenizer,
        network,
        card=_card(model, name, f"encoder {encoder}, decoder {decoder}", experts, top_k),
        provenance={
            "operation": "upcycle",
            "encoder": encoder,
            "decoder": decoder,
            "experts": experts,
            "top_k": top_k,
            "every": every,
            "fresh_units": fresh_units,
            "seed": seed,
            "parents": [{"name": model.name, "provenance": model.provenance}],
        },
    )


def upcycled_config(
    config: ModelConfig,
    encoder: RoutingName,
    decoder: RoutingName,
    experts: int,
    top_k: int,
    every: int,
    name: str = "it",
) -> ModelConfig:
    """The shape of a dense network once layers of it have experts.

    Raises:
        WorkbenchError: as `upcycle` does.
    """
    check_dense(config, name)
    if encoder == decoder == "dense":
        raise WorkbenchError(
            "No layer gets experts: choose a routing for the encoder or the decoder."
        )
    if every < 1:
        raise WorkbenchError(f"every is {every}: one in so many layers, from 1 on, gets experts.")
    stacks = []
    for (stack, old), routing in zip(config.stacks, (encoder, decoder), strict=True):
        try:
            new = routed_stack(
                routing,
                heads=old.heads,
                widths=old.feed_forward_widths,
                tasks=config.directions,
                experts=experts,
                top_k=top_k,
                step=every,
                unit_gates=top_k == 1,
            )
        except ConfigError as error:
            raise WorkbenchError(f"Cannot upcycle the {stack} of {name}: {error}") from error
        stacks.append(new)
    # What a dense network's outputs were once scaled by is part of its weights.
    return dataclasses.replace(
        config, encoder=stacks[0], decoder=stacks[1], expert_output_scale=1.0
    )


def check_dense(config: ModelConfig, name: str) -> None:
    """Raise WorkbenchError where the network has experts already."""
    if not config.is_dense:
        routed = [stack for stack, shape in config.stacks if shape.router is not None]
        raise WorkbenchError(
            f"Only a dense network can be upcycled, and {name} has experts in its {' and '.join(routed)}."
            " To train it on, name it as run.start_from in a recipe of its own shape."
        )


def start_from(
    network: TranslationNetwork, trained: TranslationNetwork, fresh_units: float
) -> None:
    """Copy `trained`'s weights into `network`, in place.

    Where `network` has experts and `trained` a dense block, every expert becomes a copy of the block (sparse
    upcycling, Komatsuzaki et al., arXiv 2212.05055), except for a share `fresh_units` of its hidden units that
    keep their random start, other ones in each expert: copies that always work together would stay copies.

    Raises:
        WorkbenchError: the two networks differ in anything but experts and routers, or both have experts and
            different tasks that choose them.
    """
    _copy_embedding(network, trained)
    for stack, new_stack, old_stack in _stacks(network, trained):
        _check_choice(stack, getattr(network.config, stack), getattr(trained.config, stack))
        pairs: Any = zip(new_stack.layers, old_stack.layers, strict=True)
        for index, (new, old) in enumerate(pairs):
            if isinstance(new.ffn, ExpertFeedForward) and isinstance(old.ffn, FeedForward):
                key = jax.random.key(index + 1000 * (stack == "decoder"))
                _upcycle(new.ffn, old.ffn, fresh_units, key)
            elif type(new.ffn) is type(old.ffn):
                _copy(new.ffn, old.ffn, f"{stack} layer {index}")
            else:
                raise WorkbenchError(
                    f"Cannot make a dense block of the experts of {stack} layer {index}."
                )
            for name in _AROUND:
                if hasattr(new, name):
                    _copy(getattr(new, name), getattr(old, name), f"{stack} layer {index} {name}")
        _copy(new_stack.layer_norm, old_stack.layer_norm, f"{stack} norm")


def spread_tasks(network: TranslationNetwork) -> None:
    """Let every task router of a new network begin with the experts of `even_assignment`, in place.

    Gates are shared out among the chosen experts alone, so an expert that no task begins with gets no gradient
    from the translations and, but for the load-balance loss, stays unused.
    """
    stacks: tuple[Any, ...] = network.encoder, network.decoder
    for (_, shape), stack in zip(network.config.stacks, stacks, strict=True):
        router = shape.router
        if router is None or router.granularity != "task" or router.assignment:
            continue
        for layer in stack.layers:
            if isinstance(layer.ffn, ExpertFeedForward):
                experts = layer.ffn.router.experts
                layer.ffn.router.prefer(even_assignment(router.keys, experts, router.top_k))


def _check_choice(stack: str, new: StackConfig, old: StackConfig) -> None:
    """Refuse rows of a task router, or experts by hand, that would become those of other tasks."""
    routers = [shape.router for shape in (new, old) if shape.router is not None]
    tasks = {(router.task_key, router.keys, router.assignment) for router in routers}
    if len(tasks) == 2:
        words = [_choice(router) for router in routers]
        raise WorkbenchError(
            f"Cannot start the {stack}, whose experts are chosen by {words[0]}, from one whose experts are chosen"
            f" by {words[1]}."
        )


def _choice(router: RouterConfig) -> str:
    if router.task_key is None:
        return router.granularity
    by_hand = ", by hand" if router.assignment else ""
    return f"{router.task_key} ({', '.join(router.keys)}{by_hand})"


def _copy(new: nnx.Module, old: nnx.Module, where: str) -> None:
    state = nnx.state(old)
    shapes = [jax.tree.map(jnp.shape, nnx.to_pure_dict(s)) for s in (nnx.state(new), state)]
    if shapes[0] != shapes[1]:
        raise WorkbenchError(
            f"Cannot start {where} of shape {shapes[0]} from one of shape {shapes[1]}."
        )
    nnx.update(new, state)


def _upcycle(new: ExpertFeedForward, old: FeedForward, fresh_units: float, key: jax.Array) -> None:
    experts, d_model, width = new.w_in.shape
    if old.fc1.kernel.shape != (d_model, width):
        raise WorkbenchError(
            f"Cannot make experts of shape {(d_model, width)} from a block of {old.fc1.kernel.shape}."
        )
    fresh = jax.random.uniform(key, (experts, width)) < fresh_units
    new.w_in[...] = jnp.where(fresh[:, None, :], new.w_in[...], old.fc1.kernel[...])
    new.b_in[...] = jnp.where(fresh, 0.0, old.fc1.bias[...])
    new.w_out[...] = jnp.where(fresh[:, :, None], new.w_out[...] * 0.1, old.fc2.kernel[...])
    new.b_out[...] = jnp.broadcast_to(old.fc2.bias[...], new.b_out.shape)


@dataclass(frozen=True)
class Taken:
    """What a network took over from another one, and what it was left to draw by itself, by name."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]


def start_from_non_experts(network: TranslationNetwork, trained: TranslationNetwork) -> Taken:
    """Copy all of `trained` but its experts into `network`, in place: how the paper starts its students.

    Taken are the embeddings, attention, norms and, where both networks have one, dense blocks. A block that
    is made of experts in either network keeps its random start, whatever the other one has in its place.

    Raises:
        WorkbenchError: the two networks differ in depth, width, attention heads or vocabulary.
    """
    _copy_embedding(network, trained)
    taken, fresh = ["embedding"], []
    for stack, new_stack, old_stack in _stacks(network, trained):
        pairs: Any = zip(new_stack.layers, old_stack.layers, strict=True)
        for index, (new, old) in enumerate(pairs):
            for name in (*_AROUND, "ffn"):
                if not hasattr(new, name):
                    continue
                where = f"{stack}.{index}.{name}"
                parts = getattr(new, name), getattr(old, name)
                if any(isinstance(part, ExpertFeedForward) for part in parts):
                    fresh.append(where)
                else:
                    _copy(*parts, where)
                    taken.append(where)
        _copy(new_stack.layer_norm, old_stack.layer_norm, f"{stack}.layer_norm")
        taken.append(f"{stack}.layer_norm")
    return Taken(tuple(taken), tuple(fresh))


def _stacks(
    network: TranslationNetwork, trained: TranslationNetwork
) -> Iterator[tuple[str, Any, Any]]:
    """Name, new and old stack of the encoder and of the decoder, which must be equally deep and have equal heads."""
    for name in ("encoder", "decoder"):
        new, old = getattr(network, name), getattr(trained, name)
        if len(new.layers) != len(old.layers):
            raise WorkbenchError(
                f"Cannot start from a network with {len(old.layers)} {name} layers: the recipe's has"
                f" {len(new.layers)}."
            )
        heads = [getattr(each.config, name).heads for each in (network, trained)]
        if heads[0] != heads[1]:
            raise WorkbenchError(
                f"Cannot start from a network whose {name} has {heads[1]} attention heads: the recipe's has"
                f" {heads[0]}."
            )
        yield name, new, old


def _copy_embedding(network: TranslationNetwork, trained: TranslationNetwork) -> None:
    if network.embedding.shape != trained.embedding.shape:
        raise WorkbenchError(
            f"Cannot start from embeddings of shape {trained.embedding.shape}: the recipe's have"
            f" {network.embedding.shape}."
        )
    network.embedding[...] = trained.embedding[...]


#: The parts of a layer around its feed-forward block.
_AROUND = (
    "self_attn_layer_norm",
    "self_attn",
    "cross_attn_layer_norm",
    "cross_attn",
    "final_layer_norm",
)


def _card(model: Translator, name: str, routing: str, experts: int, top_k: int) -> str:
    """The parent's card, with its front matter at the top and what was done before its text."""
    front, text = split_card(model.card)
    return (
        f"{front}# {name}\n\n`{model.name}` upcycled by the Task-MoE workbench: {experts} experts, {top_k} of"
        f" them chosen, in place of feed-forward blocks (routing: {routing}), not trained further. The card of"
        f" `{model.name}` follows; its terms hold here too."
        f"\n\n{usage(name, model.config.directions)}\n\n---\n\n{text}"
    )
