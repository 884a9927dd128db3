"""The experts' dispatcher on many devices: rows travel to the device that holds their expert, and back."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from workbench.nn.dispatch import Dispatcher, grouped
from workbench.nn.tiles import ExpertWeights, from_rows, to_rows

#: Axes of a mesh. Experts lie along `EXPERT`; rows (sentences, tokens) along both.
DATA, EXPERT = "data", "expert"
ROWS = PartitionSpec((DATA, EXPERT))
#: Room for this many times the rows that each device would get if all got as many.
SLACK = 2.0


def exchanged(mesh: Mesh) -> Dispatcher:
    """A dispatcher for rows [N, D] spread over `mesh` and E experts spread over its axis `EXPERT`.

    N and E must be divisible by the numbers of devices. Like the others it drops nothing: rows go out through
    an all-to-all with room for `SLACK` times an even share, and where one device's share is larger, all
    devices take a second, compiled beside the first, that has room for everything.
    """
    weights: Any = ExpertWeights(*(PartitionSpec(EXPERT),) * 4)  # type: ignore[arg-type]
    return jax.shard_map(
        partial(_on_one_device, owners=mesh.shape[EXPERT]),
        mesh=mesh,
        in_specs=(ROWS, ROWS, ROWS, weights),
        out_specs=ROWS,
        check_vma=False,
    )


def _on_one_device(
    x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights, owners: int
) -> jax.Array:
    """Outputs of this device's rows x [N', D], when it holds `weights` of E' experts and so do the others."""
    if owners == 1:
        return grouped(x, experts, gates, weights)
    assignments = experts.size
    owner = experts.reshape(-1) // weights.w_in.shape[0]
    to_each = jax.nn.one_hot(owner, owners, dtype=jnp.int32)
    # The how-manieth assignment to its owner each one is.
    turn = jnp.take_along_axis(jnp.cumsum(to_each, axis=0), owner[:, None], axis=1)[:, 0] - 1
    room = min(assignments, -(-int(SLACK * assignments) // owners))
    travel = partial(_travel, owners=owners)
    everything = (x, experts, gates, weights, owner, turn)
    if room == assignments:
        return travel(*everything, room=room)
    largest = jax.lax.pmax(to_each.sum(axis=0).max(), (DATA, EXPERT))
    return jax.lax.cond(
        largest <= room,
        partial(travel, room=room),
        # What is rare is not worth memory: it is computed again for the gradient.
        jax.checkpoint(partial(travel, room=assignments)),
        *everything,
    )


def _travel(
    x: jax.Array,
    experts: jax.Array,
    gates: jax.Array,
    weights: ExpertWeights,
    owner: jax.Array,
    turn: jax.Array,
    *,
    owners: int,
    room: int,
) -> jax.Array:
    """Send `room` rows to each owner, compute what has come, send the results back, mix them by gate."""
    assignments, width = experts.size, x.shape[1]
    row_of = (owner * room + turn).astype(jnp.int32)
    assignment_of = jnp.full(owners * room, assignments, jnp.int32)
    assignment_of = assignment_of.at[row_of].set(
        jnp.arange(assignments, dtype=jnp.int32), unique_indices=True
    )
    row_of = row_of.reshape(experts.shape)
    # Rows that nobody filled go to the first expert, and their results nowhere.
    wanted = jnp.take(
        experts.reshape(-1) % weights.w_in.shape[0],
        assignment_of,
        mode="fill",
        fill_value=0,
    )
    swap = partial(jax.lax.all_to_all, axis_name=EXPERT, split_axis=0, concat_axis=0)
    rows = swap(to_rows(x, row_of, assignment_of).reshape(owners, room, width))
    numbers = swap(wanted.reshape(owners, room))
    ones = jnp.ones((owners * room, 1), gates.dtype)
    results = grouped(rows.reshape(-1, width), numbers.reshape(-1, 1), ones, weights)
    results = swap(results.reshape(owners, room, width)).reshape(-1, width)
    chosen = from_rows(results, row_of, assignment_of)
    return jnp.einsum("nkd,nk->nd", chosen, gates.astype(x.dtype))
