"""Feed-forward blocks: one dense, one a mixture of experts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.config import RouterConfig
from workbench.nn.dispatch import DISPATCHERS, Dispatcher, choose_dispatcher
from workbench.nn.limits import limited
from workbench.nn.linear import Linear
from workbench.nn.routers import Router, Routing
from workbench.nn.tiles import ExpertWeights
from workbench.nn.training_mode import Training, inside, mask_outputs


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
    output_scale: factor on the mixed output (NLLB-MoE's 1 - moe_token_dropout), which makes up at inference for
        the outputs that were masked in training.
    """

    def __init__(
        self,
        d_model: int,
        width: int,
        experts: int,
        router: RouterConfig,
        groups: tuple[int, ...] = (),
        *,
        output_scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        first, second = ((6.0 / (d_model + width)) ** 0.5,) * 2
        self.router = Router(d_model, experts, router, groups, rngs=rngs)
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
        self,
        x: jax.Array,
        sentence: jax.Array,
        task_ids: jax.Array,
        training: Training | None = None,
    ) -> tuple[jax.Array, Routing]:
        """Output [B, T, D] of x [B, T, D], and the routing that made it (T axis 1 unless by token).

        In training the routing is subject to `limited`, and outputs are masked instead of scaled where the
        options say so.
        """
        batch, length, width = x.shape
        routing = self.router(x, sentence, task_ids)
        first, second = inside(training, 0), inside(training, 1)
        if first is not None:
            routing = limited(routing, length, first)
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
        mixed = mixed.reshape(x.shape)
        if second is not None and second.options.output_masking:
            return mask_outputs(mixed, second), routing
        return mixed * self.output_scale, routing
