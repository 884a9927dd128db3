"""Dispatchers: given who goes where, compute the experts' outputs. All share one signature and agree.

    dispatch(x [N, D], experts int32 [N, K], gates [N, K], weights) -> [N, D]

No dispatcher ever drops a token, so a row's result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

#: Rows of one tile of the grouped dispatcher, at most.
TILE = 128


class ExpertWeights(NamedTuple):
    """E feed-forward blocks, stacked: w_in [E, D, F], b_in [E, F], w_out [E, F, D], b_out [E, D]."""

    w_in: jax.Array
    b_in: jax.Array
    w_out: jax.Array
    b_out: jax.Array


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
    count, top_k = experts.shape
    total = weights.w_in.shape[0]
    tile = tile_size(count * top_k, total)
    tiles = -(-count * top_k // tile) + total

    flat = experts.reshape(-1)
    order = jnp.argsort(flat, stable=True)
    loads = jax.nn.one_hot(flat, total, dtype=jnp.int32).sum(axis=0)
    padded_ends = jnp.cumsum(-(-loads // tile) * tile)
    # How far each group is shifted to the right by the padding of the groups before it.
    shift = jnp.concatenate([jnp.zeros(1, jnp.int32), padded_ends[:-1]]) - (
        jnp.cumsum(loads) - loads
    )
    sorted_rows = jnp.arange(count * top_k, dtype=jnp.int32) + shift[flat[order]]
    # row_of[a]: padded row of assignment a;  assignment_of[r]: assignment in padded row r, or N K if none.
    row_of = jnp.zeros(count * top_k, jnp.int32).at[order].set(sorted_rows, unique_indices=True)
    assignment_of = jnp.full(tiles * tile, count * top_k, jnp.int32)
    assignment_of = assignment_of.at[row_of].set(
        jnp.arange(count * top_k, dtype=jnp.int32), unique_indices=True
    )
    expert_of_tile = jnp.searchsorted(padded_ends, jnp.arange(tiles) * tile, side="right")
    expert_of_tile = jnp.minimum(expert_of_tile, total - 1)

    rows = to_rows(x, row_of.reshape(count, top_k), assignment_of).reshape(tiles, tile, -1)
    hidden = jnp.einsum("gmd,gdf->gmf", rows, weights.w_in[expert_of_tile])
    hidden = jax.nn.relu(hidden + weights.b_in[expert_of_tile][:, None])
    outputs = jnp.einsum("gmf,gfd->gmd", hidden, weights.w_out[expert_of_tile])
    outputs = outputs + weights.b_out[expert_of_tile][:, None]
    chosen = from_rows(
        outputs.reshape(tiles * tile, -1), row_of.reshape(count, top_k), assignment_of
    )
    return jnp.einsum("nkd,nk->nd", chosen, gates.astype(x.dtype))


def tile_size(assignments: int, experts: int) -> int:
    """Rows a tile: a power of two near the mean load of an expert, from 8 to `TILE`."""
    mean = max(1, assignments // experts)
    return min(TILE, max(8, 1 << (mean - 1).bit_length()))


def choose_dispatcher(rows: int, top_k: int, experts: int) -> Dispatcher:
    """The faster dispatcher for `rows` rows, from measurements on CPU (`benchmarks/dispatchers.py`)."""
    return gathered if rows * top_k <= max(4, experts // 2) else grouped


DISPATCHERS: dict[str, Dispatcher] = {
    "reference": reference,
    "gathered": gathered,
    "grouped": grouped,
}


# Moving rows to their tiles and back is a permutation (with padding) whose inverse is at hand, so both
# directions of both derivatives are gathers; autodiff alone would scatter, row after row.


@jax.custom_vjp
def to_rows(x: jax.Array, row_of: jax.Array, assignment_of: jax.Array) -> jax.Array:
    """Rows [R, D] of x [N, D] in tile order, zeros in the padding."""
    source = assignment_of // row_of.shape[1]
    return jnp.take(x, source, axis=0, mode="fill", fill_value=0)


def _to_rows_forward(x, row_of, assignment_of):  # type: ignore[no-untyped-def]
    return to_rows(x, row_of, assignment_of), row_of


def _to_rows_backward(row_of, gradient):  # type: ignore[no-untyped-def]
    return gradient[row_of].sum(axis=1), None, None


to_rows.defvjp(_to_rows_forward, _to_rows_backward)


@jax.custom_vjp
def from_rows(rows: jax.Array, row_of: jax.Array, assignment_of: jax.Array) -> jax.Array:
    """Outputs [N, K, D] of the assignments, from `rows` [R, D] in tile order."""
    return rows[row_of]


def _from_rows_forward(rows, row_of, assignment_of):  # type: ignore[no-untyped-def]
    return rows[row_of], assignment_of


def _from_rows_backward(assignment_of, gradient):  # type: ignore[no-untyped-def]
    flat = gradient.reshape(-1, gradient.shape[-1])
    return jnp.take(flat, assignment_of, axis=0, mode="fill", fill_value=0), None, None


from_rows.defvjp(_from_rows_forward, _from_rows_backward)
