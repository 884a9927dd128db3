"""Routers: who goes to which expert, decided by token, by sentence or by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.config import RouterConfig

#: Logit of nothing, and of an expert that a task is not assigned to.
NEVER = -1e9


class Routing(NamedTuple):
    """The decision of one layer with experts, over B sentences of T tokens.

    experts: int32 [B, T, K], best first. gates: float32 [B, T, K], the weight of each chosen expert.
    logits: float32 [B, T, E]. probabilities: float32 [B, T, E], their softmax.
    Sentence and task routers decide once a sentence; their T axis is 1 until `spread` widens it.
    dropped: bool [B, T, K], choices that found no place; only in training with limited capacity.
    """

    experts: jax.Array
    gates: jax.Array
    logits: jax.Array
    probabilities: jax.Array
    dropped: jax.Array | None = None

    def spread(self, length: int) -> Routing:
        """The same decisions with one row for each of `length` tokens."""
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (a.shape[0], length, a.shape[2])), self)


class Router(nnx.Module):
    """A linear gate [D, E] without bias, in float32, over the vector that its granularity looks at.

    token: the token's vector (GShard, arXiv 2006.16668). sentence: the mean of the sentence's vectors;
    in the decoder the mean of the encoder's output, since the translation does not exist yet.
    task: a learned embedding of the task's id, which the paper (arXiv 2110.03742) leaves open.
    With an assignment there is no gate and nothing to learn: a task has its experts, all with the same weight,
    and probabilities and logits say just that (the paper's static baseline).

    groups: the expert that each column of the gate belongs to, where experts were merged; empty: its own.
    Where experts of a task router were cut away, `remainder` [keys] is the logit of all of those together.
    off, reads: what an intervention sets: experts that are never chosen, and the row that a task router reads
    whatever the task; neither is part of a checkpoint.
    """

    def __init__(
        self,
        d_model: int,
        experts: int,
        config: RouterConfig,
        groups: tuple[int, ...] = (),
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.granularity = config.granularity
        self.top_k = config.top_k
        self.unit_gates = config.unit_gates
        self.experts = experts
        self.groups = groups
        self.assignment = config.assignment
        self.off: tuple[int, ...] = ()
        self.reads: int | None = None
        self.remainder = nnx.Param(jnp.full(len(config.keys), NEVER)) if config.remainder else None
        if config.assignment:
            return
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), (d_model, len(groups) or experts)) * d_model**-0.5
        )
        if config.granularity == "task":
            self.task_embedding = nnx.Param(
                jax.random.normal(rngs.params(), (len(config.keys), d_model))
            )

    def prefer(self, assignment: Sequence[Sequence[int]]) -> None:
        """Make a task router begin with the experts `assignment` [keys][K], their gates nearly equal.

        Their logits are about 2 and the others' about 0, with a tenth of the random start left in them; only
        nearly so where there are more experts than d_model.
        """
        wanted = jax.nn.one_hot(jnp.asarray(assignment), self.experts).sum(axis=1)
        # The embeddings whose logits are `wanted`.
        towards = wanted @ jnp.linalg.pinv(self.kernel[...])
        self.task_embedding[...] = 0.1 * self.task_embedding[...] + 2.0 * towards

    def __call__(self, states: jax.Array, sentence: jax.Array, task_ids: jax.Array) -> Routing:
        """Choose experts for `states` [B, T, D], given sentence vectors [B, D] and task ids [B]."""
        if self.reads is not None:
            task_ids = jnp.full_like(task_ids, self.reads)
        if self.assignment:
            return assigned(
                jnp.asarray(self.assignment, jnp.int32)[task_ids][:, None], self.experts
            )
        if self.granularity == "token":
            seen = states
        elif self.granularity == "sentence":
            seen = sentence[:, None]
        else:
            seen = self.task_embedding[...][task_ids][:, None]
        logits = seen.astype(jnp.float32) @ self.kernel[...].astype(jnp.float32)
        if self.groups:
            logits = grouped_logits(logits, self.groups)
        if self.off:
            logits = logits.at[..., jnp.asarray(self.off)].set(NEVER)
        elsewhere = None if self.remainder is None else self.remainder[...][task_ids][:, None]
        return choose(logits, self.top_k, self.unit_gates, elsewhere)


def choose(
    logits: jax.Array,
    top_k: int,
    unit_gates: bool = False,
    elsewhere: jax.Array | None = None,
) -> Routing:
    """The `top_k` largest of `logits` [B, T, E], with gates.

    With two or more experts the gates are renormalised over the chosen ones (GShard, section 2.2). A single
    expert keeps its probability p as gate, else the router would have no gradient (Switch, arXiv 2101.03961);
    with `unit_gates` the gate is p / p, the divisor taken for a constant: 1, with a gradient that is p's.

    elsewhere: the logit [B, T] of whatever else there was to choose, which takes its share of the probability.
    """
    if elsewhere is None:
        probabilities = jax.nn.softmax(logits, axis=-1)
    else:
        every = jnp.concatenate([logits, elsewhere[..., None].astype(logits.dtype)], axis=-1)
        probabilities = jax.nn.softmax(every, axis=-1)[..., :-1]
    gates, experts = jax.lax.top_k(probabilities, top_k)
    if top_k > 1:
        gates = normalised(gates)
    elif unit_gates:
        gates = gates / jax.lax.stop_gradient(gates)
    return Routing(experts.astype(jnp.int32), gates, logits, probabilities)


def grouped_logits(logits: jax.Array, groups: tuple[int, ...]) -> jax.Array:
    """Logits [..., E] of experts from those of router columns [..., C], column c being one of expert groups[c].

    Their softmax is the sum of the columns' probabilities.
    """
    mine = jnp.asarray(groups)[:, None] == jnp.arange(max(groups) + 1)
    return jax.nn.logsumexp(jnp.where(mine, logits[..., None], -jnp.inf), axis=-2)


def normalised(gates: jax.Array) -> jax.Array:
    """Gates [B, T, K] that sum to one."""
    return gates / jnp.maximum(gates.sum(axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)


def assigned(experts: jax.Array, total: int) -> Routing:
    """The routing to given `experts` [B, T, K] of `total`, each with gate and probability 1/K."""
    top_k = experts.shape[-1]
    mine = jax.nn.one_hot(experts, total, dtype=bool).any(axis=-2)
    gates = jnp.full(experts.shape, 1 / top_k, jnp.float32)
    # Finite where the probability is zero, so that zero times its logarithm is zero.
    logits = jnp.where(mine, -jnp.log(jnp.float32(top_k)), NEVER)
    return Routing(experts, gates, logits, jnp.where(mine, jnp.float32(1 / top_k), 0.0))


def sentence_mean(states: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean [B, D] of `states` [B, S, D] over the positions where `mask` [B, S] is true."""
    weights = mask[..., None].astype(states.dtype)
    return (states * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)
