"""The dispatcher for many rows on a CPU: sorted rows in tiles, one tile after the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from workbench.nn.products import is_mixed, product, rounded_product, turned
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


def _tiles_forward(rows, expert_of_tile, used, weights):  # type: ignore[no-untyped-def]
    def one(g, kept):  # type: ignore[no-untyped-def]
        outputs, hiddens = kept
        expert = _expert(weights, expert_of_tile[g])
        hidden = _hidden(rows[g], expert)
        outputs = _put(outputs, _output(hidden, expert), g)
        return outputs, _put(hiddens, hidden, g)

    hiddens = jnp.zeros((*rows.shape[:2], weights.w_in.shape[2]), rows.dtype)
    outputs, hiddens = jax.lax.fori_loop(0, used, one, (jnp.zeros_like(rows), hiddens))
    return outputs, (rows, hiddens, expert_of_tile, used, weights)


def _tiles_backward(kept, d_outputs):  # type: ignore[no-untyped-def]
    rows, hiddens, expert_of_tile, used, weights = kept
    low = is_mixed(rows, weights.w_in)
    times, turn = (rounded_product, turned) if low else (jnp.matmul, _transposed)
    # Turned once, not for every tile.
    back_in, back_out = turn(weights.w_in), turn(weights.w_out)

    def one(g, sums):  # type: ignore[no-untyped-def]
        d_rows, d_weights = sums
        e = expert_of_tile[g]
        row, hidden, d_output = rows[g], hiddens[g], d_outputs[g]
        d_hidden = jnp.where(hidden > 0, times(d_output, back_out[e]), 0)
        # That of w_out lies turned, since a tile is narrower than the hidden states that it makes.
        found = ExpertWeights(
            times(turn(row), d_hidden),
            d_hidden.sum(axis=0),
            times(turn(d_output), hidden),
            d_output.sum(axis=0),
        )
        d_weights = jax.tree.map(
            lambda total, one: _put(total, total[e] + one, e), d_weights, found
        )
        return _put(d_rows, times(d_hidden, back_in[e]), g), d_weights

    # Summed in float32 whatever the compute type is: many tiles may belong to one expert.
    shapes = weights._replace(w_out=weights.w_in)
    nothing = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), shapes)
    d_rows, found = jax.lax.fori_loop(0, used, one, (jnp.zeros_like(rows), nothing))
    found = found._replace(w_out=_transposed(found.w_out))
    return d_rows, None, None, jax.tree.map(lambda d, w: d.astype(w.dtype), found, weights)


_tiles.defvjp(_tiles_forward, _tiles_backward)


def _transposed(x: jax.Array) -> jax.Array:
    """The last two axes of `x` changed over."""
    return x.swapaxes(-1, -2)


def _expert(weights: ExpertWeights, e: jax.Array) -> ExpertWeights:
    return ExpertWeights(*(w[e] for w in weights))


def _hidden(rows: jax.Array, expert: ExpertWeights) -> jax.Array:
    return jax.nn.relu(product(rows, expert.w_in) + expert.b_in)


def _output(hidden: jax.Array, expert: ExpertWeights) -> jax.Array:
    return product(hidden, expert.w_out) + expert.b_out


def _put(array: jax.Array, part: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(array, part, index, axis=0)
