"""The training objective: label-smoothed cross-entropy plus the routers' auxiliary losses."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from workbench.nn.losses import load_balance_loss, router_z_loss
from workbench.nn.network import TranslationNetwork
from workbench.training.batches import Batch
from workbench.training.recipe import ObjectiveRecipe

#: Rows whose logits are held at once: few enough to stay in a CPU's cache, enough to keep a matmul busy.
CHUNK = 512


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def smoothed_cross_entropy(
    states: jax.Array, embedding: jax.Array, labels: jax.Array, weights: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """Weighted sums of label-smoothed and of plain cross-entropy, in nats, of `labels` [N].

    Logits are `states` [N, D] times the transpose of `embedding` [V, D]; `weights` [N] is zero where a label
    does not count. The smoothed target puts 1 - smoothing on the label and spreads `smoothing` evenly over
    all V tokens (Szegedy et al. 2016, section 7). Logits are never held all at once: the gradient of the
    first sum is made chunk by chunk together with it. The second sum has no gradient.
    """
    return _cross_entropy(states, embedding, labels, weights, smoothing)[:2]


def _cross_entropy(states, embedding, labels, weights, smoothing):  # type: ignore[no-untyped-def]
    count, width = states.shape
    vocabulary = embedding.shape[0]
    chunks = -(-count // CHUNK)
    rows = -(-count // chunks)
    padding = chunks * rows - count
    split = (
        jnp.pad(states, ((0, padding), (0, 0))).reshape(chunks, rows, width),
        jnp.pad(labels, (0, padding)).reshape(chunks, rows),
        jnp.pad(weights.astype(jnp.float32), (0, padding)).reshape(chunks, rows),
    )

    def chunk(d_embedding, part):  # type: ignore[no-untyped-def]
        h, label, weight = part
        logits = (h @ embedding.T).astype(jnp.float32)
        highest = logits.max(axis=-1, keepdims=True)
        exponentials = jnp.exp(logits - highest)
        normaliser = exponentials.sum(axis=-1, keepdims=True)
        total = (highest + jnp.log(normaliser))[:, 0]
        is_label = jnp.arange(vocabulary) == label[:, None]
        right = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)
        smoothed = total - (1 - smoothing) * right - smoothing * logits.mean(axis=-1)
        target = jnp.where(is_label, 1 - smoothing, 0.0) + smoothing / vocabulary
        gradient = ((exponentials / normaliser - target) * weight[:, None]).astype(h.dtype)
        sums = (smoothed * weight).sum(), ((total - right) * weight).sum()
        return d_embedding + gradient.T @ h, (*sums, gradient @ embedding)

    d_embedding, (smoothed, plain, d_states) = jax.lax.scan(chunk, jnp.zeros_like(embedding), split)
    d_states = d_states.reshape(-1, width)[:count]
    return smoothed.sum(), plain.sum(), d_states, d_embedding


def _cross_entropy_forward(states, embedding, labels, weights, smoothing):  # type: ignore[no-untyped-def]
    smoothed, plain, *gradients = _cross_entropy(states, embedding, labels, weights, smoothing)
    return (smoothed, plain), gradients


def _cross_entropy_backward(smoothing, gradients, cotangents):  # type: ignore[no-untyped-def]
    d_states, d_embedding = gradients
    return d_states * cotangents[0], d_embedding * cotangents[0], None, None


smoothed_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def training_loss(
    network: TranslationNetwork, batch: Batch, recipe: ObjectiveRecipe, key: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss to minimise, and its parts: nats a token, tokens, balance and z-losses, load per expert.

    The first label, the target language's token, is given to the decoder and not learned.
    """
    config = network.config
    rate = 0.0 if key is None else recipe.dropout
    states, routing = network(
        batch.source, batch.inputs, batch.encoder_task_ids, batch.decoder_task_ids, rate, key
    )
    counted = (batch.labels != config.pad_id).at[:, 0].set(False)
    smoothed, plain = smoothed_cross_entropy(
        states.reshape(-1, states.shape[-1]),
        network.embedding[...],
        batch.labels.reshape(-1),
        counted.reshape(-1),
        recipe.label_smoothing,
    )
    tokens = jnp.maximum(counted.sum(), 1)
    loss = smoothed / tokens
    parts = {"nats": plain / tokens, "tokens": tokens}
    masks = {"encoder": batch.source != config.pad_id, "decoder": batch.inputs != config.pad_id}
    for stack, layers in routing.items():
        for index, layer in enumerate(layers):
            mask = masks[stack]
            spread = layer.spread(mask.shape[1])
            balance, z = load_balance_loss(spread, mask), router_z_loss(spread, mask)
            loss = loss + recipe.load_balance * balance + recipe.router_z * z
            chosen = jax.nn.one_hot(spread.experts, spread.logits.shape[-1]).sum(axis=2)
            load = (chosen * mask[..., None]).sum(axis=(0, 1)) / mask.sum()
            name = f"{stack}.{index}"
            parts |= {f"balance.{name}": balance, f"z.{name}": z, f"load.{name}": load}
    return loss, parts
