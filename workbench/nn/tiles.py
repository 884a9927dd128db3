"""Tiles: the experts' rows sorted by expert and padded, so that each tile of rows uses one expert."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

#: Rows of one tile, at most.
TILE = 128


class ExpertWeights(NamedTuple):
    """E feed-forward blocks, stacked: w_in [E, D, F], b_in [E, F], w_out [E, F, D], b_out [E, D]."""

    w_in: jax.Array
    b_in: jax.Array
    w_out: jax.Array
    b_out: jax.Array


class TilePlan(NamedTuple):
    """Where N K assignments lie, sorted by expert, each expert's group padded to whole tiles of M rows.

    row_of [N, K]: padded row of each assignment. assignment_of [G M]: assignment in each padded row, or N K if
    none. expert_of_tile [G], G at most `N K / M + E`. used: how many of the G tiles have rows.
    """

    row_of: jax.Array
    assignment_of: jax.Array
    expert_of_tile: jax.Array
    used: jax.Array


def tile_plan(experts: jax.Array, total: int, tile: int) -> TilePlan:
    """The plan for assignments [N, K] to `total` experts, in tiles of `tile` rows."""
    count, top_k = experts.shape
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
    row_of = jnp.zeros(count * top_k, jnp.int32).at[order].set(sorted_rows, unique_indices=True)
    assignment_of = jnp.full(tiles * tile, count * top_k, jnp.int32)
    assignment_of = assignment_of.at[row_of].set(
        jnp.arange(count * top_k, dtype=jnp.int32), unique_indices=True
    )
    expert_of_tile = jnp.searchsorted(padded_ends, jnp.arange(tiles) * tile, side="right")
    expert_of_tile = jnp.minimum(expert_of_tile, total - 1)
    return TilePlan(
        row_of.reshape(count, top_k), assignment_of, expert_of_tile, padded_ends[-1] // tile
    )


def tile_size(assignments: int, experts: int) -> int:
    """Rows a tile: a power of two near the mean load of an expert, from 8 to `TILE`."""
    mean = max(1, assignments // experts)
    return min(TILE, max(8, 1 << (mean - 1).bit_length()))


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
