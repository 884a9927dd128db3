"""Feed-forward blocks: one dense, one a mixture of experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.config import RouterConfig
from workbench.nn.dispatch import DISPATCHERS, Dispatcher, choose_dispatcher
from workbench.nn.linear import Linear
from workbench.nn.routers import Router, Routing
from workbench.nn.tiles import ExpertWeights


class FeedForward(nnx.Module):
    """`relu(x W_in + b_in) W_out + b_out`, width D -> F -> D."""

    def __init__(self, d_model: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.fc1 = Linear(d_model, width, rngs=rngs)
        self.fc2 = Linear(width, d_model, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        return self.fc2(jax.nn.relu(self.fc1(x)))


class ExpertFeedForward(nnx.Module):
    """E feed-forward blocks stacked along the first axis, with the router that chooses among them.

    dispatcher: a dispatcher, a name in `DISPATCHERS`, or "auto" for the faster one at each shape.
    output_scale: factor on the mixed output (NLLB-MoE's 1 - moe_token_dropout), at inference and training.
    """

    def __init__(
        self,
        d_model: int,
        width: int,
        experts: int,
        router: RouterConfig,
        *,
        output_scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        first, second = ((6.0 / (d_model + width)) ** 0.5,) * 2
        self.router = Router(d_model, experts, router, rngs=rngs)
        self.w_in = nnx.Param(
            jax.random.uniform(
                rngs.params(), (experts, d_model, width), minval=-first, maxval=first
            )
        )
        self.b_in = nnx.Param(jnp.zeros((experts, width)))
        self.w_out = nnx.Param(
            jax.random.uniform(
                rngs.params(), (experts, width, d_model), minval=-second, maxval=second
            )
        )
        self.b_out = nnx.Param(jnp.zeros((experts, d_model)))
        self.output_scale = output_scale
        self.dispatcher: str | Dispatcher = "auto"

    @property
    def weights(self) -> ExpertWeights:
        """The stacked experts."""
        return ExpertWeights(self.w_in[...], self.b_in[...], self.w_out[...], self.b_out[...])

    def __call__(
        self, x: jax.Array, sentence: jax.Array, task_ids: jax.Array
    ) -> tuple[jax.Array, Routing]:
        """Output [B, T, D] of x [B, T, D], and the routing that made it (T axis 1 unless by token)."""
        batch, length, width = x.shape
        routing = self.router(x, sentence, task_ids)
        spread = routing.spread(length)
        top_k = self.router.top_k
        weights = self.weights
        if not isinstance(self.dispatcher, str):
            dispatch = self.dispatcher
        elif self.dispatcher == "auto":
            dispatch = choose_dispatcher(batch * length, top_k, weights.w_in.shape[0])
        else:
            dispatch = DISPATCHERS[self.dispatcher]
        mixed = dispatch(
            x.reshape(-1, width),
            spread.experts.reshape(-1, top_k),
            spread.gates.reshape(-1, top_k),
            weights,
        )
        return mixed.reshape(x.shape) * self.output_scale, routing
