"""Dispatchers: given who goes where, compute the experts' outputs. All share one signature and agree.

    dispatch(x [N, D], experts int32 [N, K], gates [N, K], weights) -> [N, D]

No dispatcher ever drops a token, so a row's result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from workbench.nn.tile_loop import looped
from workbench.nn.tiles import ExpertWeights, from_rows, tile_plan, tile_size, to_rows

Dispatcher = Callable[[jax.Array, jax.Array, jax.Array, ExpertWeights], jax.Array]


def reference(
    x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights
) -> jax.Array:
    """Every expert for every row, unchosen ones weighted by zero: slow, plain, the oracle."""
    hidden = jax.nn.relu(jnp.einsum("nd,edf->enf", x, weights.w_in) + weights.b_in[:, None])
    outputs = jnp.einsum("enf,efd->end", hidden, weights.w_out) + weights.b_out[:, None]
    chosen = jax.nn.one_hot(experts, weights.w_in.shape[0], dtype=gates.dtype)
    combine = jnp.einsum("nke,nk->ne", chosen, gates)
    return jnp.einsum("ne,end->nd", combine.astype(x.dtype), outputs)


def gathered(
    x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights
) -> jax.Array:
    """Copy the chosen experts' weights to each row: for a handful of rows, as in decoding one sentence."""
    hidden = jnp.einsum("nd,nkdf->nkf", x, weights.w_in[experts]) + weights.b_in[experts]
    outputs = jnp.einsum("nkf,nkfd->nkd", jax.nn.relu(hidden), weights.w_out[experts])
    outputs = outputs + weights.b_out[experts]
    return jnp.einsum("nkd,nk->nd", outputs, gates.astype(x.dtype))


def grouped(
    x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights
) -> jax.Array:
    """Sort the N * K assignments by expert and multiply them in tiles that each use one expert.

    Each expert's group is padded to whole tiles, so at most `N K / tile + E` tiles cover any routing:
    the shape is static, nothing is dropped, and the arithmetic is that of the chosen experts alone.
    """
    total = weights.w_in.shape[0]
    tile = tile_size(experts.size, total)
    row_of, assignment_of, expert_of_tile, _ = tile_plan(experts, total, tile)
    rows = to_rows(x, row_of, assignment_of).reshape(-1, tile, x.shape[1])
    hidden = jnp.einsum("gmd,gdf->gmf", rows, weights.w_in[expert_of_tile])
    hidden = jax.nn.relu(hidden + weights.b_in[expert_of_tile][:, None])
    outputs = jnp.einsum("gmf,gfd->gmd", hidden, weights.w_out[expert_of_tile])
    outputs = outputs + weights.b_out[expert_of_tile][:, None]
    chosen = from_rows(outputs.reshape(-1, x.shape[1]), row_of, assignment_of)
    return jnp.einsum("nkd,nk->nd", chosen, gates.astype(x.dtype))


def choose_dispatcher(rows: int, top_k: int, experts: int) -> Dispatcher:
    """The faster dispatcher for `rows` rows on JAX's device, measured on CPU by `benchmarks/dispatchers.py`.

    There copying the weights pays for a single row at most, the more rows and the wider the experts the less.
    Elsewhere nothing has been measured yet; there a loop would leave most of the device idle.
    """
    if jax.default_backend() == "cpu":
        return gathered if rows == 1 else looped
    return gathered if rows * top_k <= max(4, experts // 2) else grouped


DISPATCHERS: dict[str, Dispatcher] = {
    "reference": reference,
    "gathered": gathered,
    "grouped": grouped,
    "looped": looped,
}
