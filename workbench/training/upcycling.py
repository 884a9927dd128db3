"""Starting a network from a trained one, its feed-forward blocks becoming experts where needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.errors import WorkbenchError
from workbench.nn.feed_forward import ExpertFeedForward, FeedForward
from workbench.nn.network import TranslationNetwork


def start_from(
    network: TranslationNetwork, trained: TranslationNetwork, fresh_units: float
) -> None:
    """Copy `trained`'s weights into `network`, in place.

    Where `network` has experts and `trained` a dense block, every expert becomes a copy of the block (sparse
    upcycling, Komatsuzaki et al., arXiv 2212.05055), except for a share `fresh_units` of its hidden units that
    keep their random start, other ones in each expert: copies that always work together would stay copies.

    Raises:
        WorkbenchError: the two networks differ in anything but experts and routers.
    """
    for stack, new_stack, old_stack in (
        ("encoder", network.encoder, trained.encoder),
        ("decoder", network.decoder, trained.decoder),
    ):
        if len(new_stack.layers) != len(old_stack.layers):
            raise WorkbenchError(
                f"Cannot start from a network with {len(old_stack.layers)} {stack} layers: the recipe's"
                f" has {len(new_stack.layers)}."
            )
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
    if network.embedding.shape != trained.embedding.shape:
        raise WorkbenchError(
            f"Cannot start from embeddings of shape {trained.embedding.shape}: the recipe's have"
            f" {network.embedding.shape}."
        )
    network.embedding[...] = trained.embedding[...]


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
        WorkbenchError: the two networks differ in depth, width or vocabulary.
    """
    if network.embedding.shape != trained.embedding.shape:
        raise WorkbenchError(
            f"Cannot start from embeddings of shape {trained.embedding.shape}: the recipe's have"
            f" {network.embedding.shape}."
        )
    network.embedding[...] = trained.embedding[...]
    taken, fresh = ["embedding"], []
    for stack, new_stack, old_stack in (
        ("encoder", network.encoder, trained.encoder),
        ("decoder", network.decoder, trained.decoder),
    ):
        if len(new_stack.layers) != len(old_stack.layers):
            raise WorkbenchError(
                f"Cannot start from a network with {len(old_stack.layers)} {stack} layers: the recipe's"
                f" has {len(new_stack.layers)}."
            )
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


#: The parts of a layer around its feed-forward block.
_AROUND = (
    "self_attn_layer_norm",
    "self_attn",
    "cross_attn_layer_norm",
    "cross_attn",
    "final_layer_norm",
)
