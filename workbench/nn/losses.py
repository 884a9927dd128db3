"""Auxiliary losses of routing: load balance and router z-loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from workbench.nn.routers import Routing


def load_balance_loss(routing: Routing, mask: jax.Array) -> jax.Array:
    """`E * sum_e f_e P_e` over the rows where `mask` [B, T] is true; 1 when perfectly balanced.

    f_e: share of the K choices that fell on expert e; P_e: mean probability of e. The Switch form
    (arXiv 2101.03961, equation 4) with all K choices counted. Sentence and task routers are weighed by the
    tokens they send.
    """
    experts = routing.probabilities.shape[-1]
    weights = mask.astype(jnp.float32)[..., None]
    total = jnp.maximum(weights.sum(), 1.0)
    chosen = jax.nn.one_hot(routing.experts, experts).mean(axis=2)
    share = (chosen * weights).sum(axis=(0, 1)) / total
    mean = (routing.probabilities * weights).sum(axis=(0, 1)) / total
    return experts * jnp.sum(share * mean)


def router_z_loss(routing: Routing, mask: jax.Array) -> jax.Array:
    """Mean squared logsumexp of the router's logits (ST-MoE, arXiv 2202.08906, equation 5)."""
    weights = mask.astype(jnp.float32)
    squared = jnp.square(jax.nn.logsumexp(routing.logits, axis=-1))
    return (squared * weights).sum() / jnp.maximum(weights.sum(), 1.0)
