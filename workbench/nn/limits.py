"""Limits that training sets to a routing: what becomes of second experts, how many tokens an expert takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from workbench.nn.routers import Routing, normalised
from workbench.nn.training_mode import Training, same_on_any_devices


def limited(routing: Routing, length: int, training: Training) -> Routing:
    """`routing` of sentences of `length` tokens, with the gates that training's limits leave it.

    The second-expert policy (GShard's, arXiv 2006.16668, section 2.2, under the names of NLLB-MoE) goes first
    and decides as often as the router does. "all": every choice is sent. "random": a choice after the first is
    sent with probability min(1, 2 g), g being its gate. "sampling": the choices after the first are drawn
    from the router's probabilities, without replacement, instead of being the next best.

    Then each expert takes at most capacity_factor * K * N / E of the choices sent (rounded up), N being the
    tokens of the group: all that are no padding in what one gradient is computed of, the whole batch or, with
    `accumulate`, each part, on however many devices. Places are given in order of the tokens, to first choices
    before second ones. What finds no place gets gate zero, so that the residual passes alone; the other gates
    stay as they are, as in GShard.
    """
    options = training.options
    if options.second_expert == "all" and not options.capacity_factor:
        return routing
    key = same_on_any_devices(training.key)
    sent = jnp.ones(routing.experts.shape, bool)
    if options.second_expert == "sampling":
        routing = sampled(routing, key)
    elif options.second_expert == "random":
        draws = jax.random.uniform(key, routing.gates.shape)
        sent = (2 * routing.gates > draws).at[..., 0].set(True)
    if options.capacity_factor:
        assert training.mask is not None
        spread = routing.spread(length)
        sent = jnp.broadcast_to(sent, spread.experts.shape) & training.mask[..., None]
        total, top_k = routing.logits.shape[-1], routing.experts.shape[-1]
        places = options.capacity_factor * top_k * training.mask.sum() / total
        kept = within_capacity(spread.experts, sent, total, places)
        routing = routing._replace(gates=spread.gates, dropped=sent & ~kept)
        sent = kept
    return routing._replace(gates=jnp.where(sent, routing.gates, 0.0))


def sampled(routing: Routing, key: jax.Array) -> Routing:
    """The first choice, and the others drawn in proportion to their probabilities (Gumbel top-k)."""
    top_k, experts = routing.experts.shape[-1], routing.logits.shape[-1]
    noisy = routing.logits + jax.random.gumbel(key, routing.logits.shape)
    first = jax.nn.one_hot(routing.experts[..., 0], experts, dtype=bool)
    chosen = jax.lax.top_k(jnp.where(first, jnp.inf, noisy), top_k)[1].astype(jnp.int32)
    gates = jnp.take_along_axis(routing.probabilities, chosen, axis=-1)
    return routing._replace(experts=chosen, gates=normalised(gates))


def within_capacity(
    experts: jax.Array, sent: jax.Array, total: int, places: jax.Array
) -> jax.Array:
    """Which of the choices `sent`, bool [B, T, K], find one of their expert's `places`.

    experts: int32 [B, T, K], the choices, of `total` experts. Places are given to all tokens' first choices,
    sentence after sentence, then to their second ones.
    """
    taken: jax.Array | int = 0
    kept = []
    for rank in range(experts.shape[-1]):
        mine = sent[..., rank].reshape(-1)
        chosen = jax.nn.one_hot(experts[..., rank].reshape(-1), total, dtype=jnp.int32)
        chosen = chosen * mine[:, None]
        before = taken + jnp.cumsum(chosen, axis=0) - chosen
        kept.append(mine & ((before * chosen).sum(axis=1) < places))
        taken = taken + chosen.sum(axis=0)
    return jnp.stack(kept, axis=-1).reshape(sent.shape)
