"""The dispatcher for many rows on a CPU: sorted rows in tiles, one tile after the other."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from workbench.nn.products import product, rounded_product, turned
from workbench.nn.tiles import ExpertWeights, from_rows, tile_plan, tile_size, to_rows


def looped(x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights) -> jax.Array:
    """As `grouped`, but a loop over the tiles that have rows, reading each expert's weights where they lie.

    A CPU is busy with one tile at a time. Done all at once, every tile needs a copy of its expert's weights, and
    its gradient is made apart and then added to the expert's, row after row.

    Products are in mixed precision where x is float32 and the weights are bfloat16 (see `workbench.nn.products`).
    """
    total = weights.w_in.shape[0]
    tile = tile_size(experts.size, total)
    row_of, assignment_of, expert_of_tile, used = tile_plan(experts, total, tile)
    rows = to_rows(x, row_of, assignment_of).reshape(-1, tile, x.shape[1])
    outputs = _tiles(rows, expert_of_tile, used, weights)
    chosen = from_rows(outputs.reshape(-1, x.shape[1]), row_of, assignment_of)
    return jnp.einsum("nkd,nk->nd", chosen, gates.astype(x.dtype))


@jax.custom_vjp
def _tiles(
    rows: jax.Array, expert_of_tile: jax.Array, used: jax.Array, weights: ExpertWeights
) -> jax.Array:
    """Outputs [G, M, D] of the first `used` tiles of `rows` [G, M, D]; zeros in the others."""

    def one(g: jax.Array, outputs: jax.Array) -> jax.Array:
        expert = _expert(weights, expert_of_tile[g])
        return _put(outputs, _output(_hidden(rows[g], expert), expert), g)

    return jax.lax.fori_loop(0, used, one, jnp.zeros_like(rows))


# In training an expert's tiles come in a loop of their own, so that its weights are copied out of the stack once
# and its gradient is summed in the cache: 0.91 to 0.96 of a step. With the few small tiles of decoding two loops
# take longer than one.


class _Groups(NamedTuple):
    """The experts that have tiles, `used` of E, first; expert e's tiles begin with first[e] and end before end[e]."""

    experts: jax.Array
    used: jax.Array
    first: jax.Array
    end: jax.Array


def _groups_of(expert_of_tile: jax.Array, used: jax.Array, total: int) -> _Groups:
    """Tiles lie in the experts' order, those that have rows first."""
    tiles = jnp.arange(expert_of_tile.size, dtype=jnp.int32)
    is_of = (expert_of_tile == jnp.arange(total)[:, None]) & (tiles < used)
    counts = is_of.sum(axis=1, dtype=jnp.int32)
    end = jnp.cumsum(counts)
    experts = jnp.argsort(counts == 0, stable=True).astype(jnp.int32)
    return _Groups(experts, (counts > 0).sum(dtype=jnp.int32), end - counts, end)


def _tiles_forward(rows, expert_of_tile, used, weights):  # type: ignore[no-untyped-def]
    groups = _groups_of(expert_of_tile, used, weights.w_in.shape[0])

    def group(i, kept):  # type: ignore[no-untyped-def]
        e = groups.experts[i]
        expert = _expert(weights, e)

        def one(g, kept):  # type: ignore[no-untyped-def]
            outputs, hiddens = kept
            hidden = _hidden(rows[g], expert)
            return _put(outputs, _output(hidden, expert), g), _put(hiddens, hidden, g)

        return jax.lax.fori_loop(groups.first[e], groups.end[e], one, kept)

    hiddens = jnp.zeros((*rows.shape[:2], weights.w_in.shape[2]), rows.dtype)
    nothing = (jnp.zeros_like(rows), hiddens)
    outputs, hiddens = jax.lax.fori_loop(0, groups.used, group, nothing)
    return outputs, (rows, hiddens, groups, weights)


def _tiles_backward(kept, d_outputs):  # type: ignore[no-untyped-def]
    rows, hiddens, groups, weights = kept
    dtype = weights.w_in.dtype
    times, turn = partial(rounded_product, dtype=dtype), partial(turned, dtype=dtype)
    # Summed in float32 at least, whatever the compute type is: many tiles may belong to one expert.
    wide = jnp.promote_types(dtype, jnp.float32)
    nothing = jax.tree.map(lambda w: jnp.zeros(w.shape, wide), weights)

    def group(i, sums):  # type: ignore[no-untyped-def]
        d_rows, d_weights = sums
        e = groups.experts[i]
        # Turned once, not for every tile.
        w_in, w_out = turn(weights.w_in[e]), turn(weights.w_out[e])

        def one(g, sums):  # type: ignore[no-untyped-def]
            d_rows, total = sums
            row, hidden, d_output = rows[g], hiddens[g], d_outputs[g]
            d_hidden = jnp.where(hidden > 0, times(d_output, w_out), 0)
            # That of w_out lies turned, since a tile is narrower than the hidden states that it makes.
            found = ExpertWeights(
                times(turn(row), d_hidden),
                d_hidden.sum(axis=0),
                times(turn(d_output), hidden),
                d_output.sum(axis=0),
            )
            return _put(d_rows, times(d_hidden, w_in), g), jax.tree.map(jnp.add, total, found)

        own = jax.tree.map(lambda w: jnp.zeros(w.shape[1:], w.dtype), nothing)
        start = d_rows, own._replace(w_out=own.w_in)
        d_rows, found = jax.lax.fori_loop(groups.first[e], groups.end[e], one, start)
        found = found._replace(w_out=found.w_out.T)
        return d_rows, jax.tree.map(lambda all, one: _put(all, one, e), d_weights, found)

    d_rows, found = jax.lax.fori_loop(0, groups.used, group, (jnp.zeros_like(rows), nothing))
    return d_rows, None, None, jax.tree.map(lambda d, w: d.astype(w.dtype), found, weights)


_tiles.defvjp(_tiles_forward, _tiles_backward)


def _expert(weights: ExpertWeights, e: jax.Array) -> ExpertWeights:
    return ExpertWeights(*(w[e] for w in weights))


def _hidden(rows: jax.Array, expert: ExpertWeights) -> jax.Array:
    return jax.nn.relu(product(rows, expert.w_in) + expert.b_in)


def _output(hidden: jax.Array, expert: ExpertWeights) -> jax.Array:
    return product(hidden, expert.w_out) + expert.b_out


def _put(array: jax.Array, part: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(array, part.astype(array.dtype), index, axis=0)
