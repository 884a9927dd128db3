"""The training objective: label-smoothed cross-entropy plus the routers' auxiliary losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from workbench.nn.exchange import ROWS
from workbench.nn.losses import load_balance_loss, router_z_loss
from workbench.nn.network import TranslationNetwork
from workbench.nn.products import rounded_product, turned
from workbench.nn.routers import Routing
from workbench.nn.training_mode import Training
from workbench.training.batches import Batch
from workbench.training.recipe import ObjectiveRecipe

#: Rows whose logits are held at once: few enough to stay in a CPU's cache, enough to keep a matmul busy.
CHUNK = 256


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def smoothed_cross_entropy(
    states: jax.Array, embedding: jax.Array, labels: jax.Array, weights: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """Weighted sums of label-smoothed and of plain cross-entropy, in nats, of `labels` [N].

    Logits are `states` [N, D] times the transpose of `embedding` [V, D], in mixed precision where the states are
    float32 and the embedding bfloat16 (see `workbench.nn.products`); `weights` [N] is zero where a label does
    not count. The smoothed target puts 1 - smoothing on the label and spreads `smoothing` evenly over all V
    tokens (Szegedy et al. 2016, section 7). Logits are never held all at once: the gradient of the
    first sum is made chunk by chunk together with it; rows of weight zero are put last, and chunks that hold
    nothing else are left out. The second sum has no gradient.
    """
    return _cross_entropy(states, embedding, labels, weights, smoothing)[:2]


def _cross_entropy(states, embedding, labels, weights, smoothing):  # type: ignore[no-untyped-def]
    count, width = states.shape
    vocabulary = embedding.shape[0]
    chunks = -(-count // CHUNK)
    rows = -(-count // chunks)
    padding = chunks * rows - count
    dtype = embedding.dtype
    multiply, turn = partial(rounded_product, dtype=dtype), partial(turned, dtype=dtype)
    columns = turn(embedding)
    order = jnp.argsort(weights == 0, stable=True)
    split = (
        jnp.pad(states[order], ((0, padding), (0, 0))).reshape(chunks, rows, width),
        jnp.pad(labels[order], (0, padding)).reshape(chunks, rows),
        jnp.pad(weights[order].astype(jnp.float32), (0, padding)).reshape(chunks, rows),
    )

    def chunk(d_columns, part):  # type: ignore[no-untyped-def]
        return jax.lax.cond(part[2].any(), some, none, d_columns, part)

    def none(d_columns, part):  # type: ignore[no-untyped-def]
        return d_columns, (jnp.float32(0), jnp.float32(0), jnp.zeros_like(part[0]))

    def some(d_columns, part):  # type: ignore[no-untyped-def]
        h, label, weight = part
        logits = multiply(h, columns)
        highest = logits.max(axis=-1, keepdims=True)
        exponentials = jnp.exp(logits - highest)
        normaliser = exponentials.sum(axis=-1, keepdims=True)
        total = (highest + jnp.log(normaliser))[:, 0]
        is_label = jnp.arange(vocabulary) == label[:, None]
        right = jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
        smoothed = total - (1 - smoothing) * right - smoothing * logits.mean(axis=-1)
        rest = smoothing / vocabulary
        target = jnp.where(is_label, 1 - smoothing + rest, rest) * weight[:, None]
        gradient = exponentials * (weight[:, None] / normaliser) - target
        sums = (smoothed * weight).sum(), ((total - right) * weight).sum()
        d_columns += multiply(turn(h), gradient)
        return d_columns, (*sums, multiply(gradient, embedding).astype(h.dtype))

    nothing = jnp.zeros(columns.shape, jnp.float32)
    d_columns, (smoothed, plain, d_states) = jax.lax.scan(chunk, nothing, split)
    d_embedding = d_columns.T
    d_states = d_states.reshape(-1, width)[jnp.argsort(order)]
    return smoothed.sum(), plain.sum(), d_states, d_embedding.astype(embedding.dtype)


def _cross_entropy_forward(states, embedding, labels, weights, smoothing):  # type: ignore[no-untyped-def]
    smoothed, plain, *gradients = _cross_entropy(states, embedding, labels, weights, smoothing)
    return (smoothed, plain), gradients


def _cross_entropy_backward(smoothing, gradients, cotangents):  # type: ignore[no-untyped-def]
    d_states, d_embedding = gradients
    found = (d_states * cotangents[0], d_embedding * cotangents[0])
    return found[0].astype(d_states.dtype), found[1].astype(d_embedding.dtype), None, None


smoothed_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def training_loss(
    network: TranslationNetwork,
    batch: Batch,
    recipe: ObjectiveRecipe,
    key: jax.Array | None,
    whole: Batch | None = None,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss to minimise, and what it is made of.

    Parts: nats a token, tokens; for each layer with experts, by stack and number: balance and z-loss, entropy
    (of the router's probabilities, in nats, mean over tokens) and load (choices of each expert a token); with
    limited capacity also dropped (share of the choices that found no place). Losses and load are of what the
    router chose, whether it found a place or not. Without a key nothing is done that only training does.
    The first label, the target language's token, is given to the decoder and not learned.

    Where `batch` is one part of a `whole` batch, everything is weighed by its share of the tokens, so that
    loss, gradients and parts add up to those of the whole. The load-balance loss alone is not linear in the
    batch: what adds up is its mean over the parts.
    mesh: over whose devices the rows of the batch are spread.
    """
    config = network.config
    whole = batch if whole is None else whole
    training = None if key is None else Training(recipe.options, key)
    states, routing = network(
        batch.source, batch.inputs, batch.encoder_task_ids, batch.decoder_task_ids, training
    )
    counted = _counted(batch, config.pad_id)
    cross_entropy: Callable[..., Any] = partial(
        smoothed_cross_entropy, smoothing=recipe.label_smoothing
    )
    if mesh is not None:
        cross_entropy = _summed_over(mesh, recipe.label_smoothing)
    smoothed, plain = cross_entropy(
        states.reshape(-1, states.shape[-1]),
        network.embedding[...].astype(recipe.compute),
        batch.labels.reshape(-1),
        counted.reshape(-1),
    )
    total = jnp.maximum(_counted(whole, config.pad_id).sum(), 1)
    loss = smoothed / total
    parts = {"nats": plain / total, "tokens": counted.sum()}
    sides = {"encoder": (batch.source, whole.source), "decoder": (batch.inputs, whole.inputs)}
    for stack, layers in routing.items():
        mask, all_tokens = (side != config.pad_id for side in sides[stack])
        share = mask.sum() / jnp.maximum(all_tokens.sum(), 1)
        for index, layer in enumerate(layers):
            measured = {
                name: share * value
                for name, value in _routing_parts(layer.spread(mask.shape[1]), mask).items()
            }
            loss += recipe.load_balance * measured["balance"] + recipe.router_z * measured["z"]
            parts |= {f"{name}.{stack}.{index}": value for name, value in measured.items()}
    return loss, parts


def _summed_over(mesh: Mesh, smoothing: float) -> Callable[..., Any]:
    """`smoothed_cross_entropy` of rows that are spread over the devices of `mesh`."""

    def on_one_device(*rows: jax.Array) -> tuple[jax.Array, ...]:
        return jax.lax.psum(smoothed_cross_entropy(*rows, smoothing), mesh.axis_names)

    everywhere = PartitionSpec()
    return jax.shard_map(
        on_one_device,
        mesh=mesh,
        in_specs=(ROWS, everywhere, ROWS, ROWS),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )


def _counted(batch: Batch, pad_id: int) -> jax.Array:
    """Which labels [B, T] are learned: all but padding and the first."""
    return (batch.labels != pad_id).at[:, 0].set(False)


def _routing_parts(routing: Routing, mask: jax.Array) -> dict[str, jax.Array]:
    """Losses and figures of one layer's routing, spread over the tokens, where `mask` [B, T] is true."""
    tokens = jnp.maximum(mask.sum(), 1)
    chosen = jax.nn.one_hot(routing.experts, routing.logits.shape[-1]).sum(axis=2)
    surprise = -jax.nn.log_softmax(routing.logits, axis=-1)
    entropy = (routing.probabilities * surprise).sum(axis=-1)
    parts = {
        "balance": load_balance_loss(routing, mask),
        "z": router_z_loss(routing, mask),
        "entropy": (entropy * mask).sum() / tokens,
        "load": (chosen * mask[..., None]).sum(axis=(0, 1)) / tokens,
    }
    if routing.dropped is not None:
        parts["dropped"] = (routing.dropped & mask[..., None]).sum() / (
            tokens * routing.experts.shape[-1]
        )
    return parts
