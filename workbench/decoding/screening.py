"""The most probable token of one state, from a narrow copy of the output map wherever that can prove it.

At batch 1 a step of the decoder mostly waits for its weights, and the output map is the largest of them. Its
narrow copy is a quarter of the size. What it gives is off by no more than a bound that is known beforehand;
where one token is ahead of all others by more than that, it is the full product's choice too, and the full
product is left out. Everywhere else the full product decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

#: Largest code of a weight.
_WEIGHT_CODES = 127
#: States below this are left to the full product, whose smallest terms may be flushed to zero.
_SMALLEST_STATE = 1e-20
#: What is added to every radius for terms that are flushed to zero all the same.
_UNDERFLOW = 1e-16


class Screen(NamedTuple):
    """The narrow copy of an output map [V, D]: row i is about `codes[i] * scale[i]`.

    codes: int8 [V, D]. scale: float32 [V]. radius: float32 [V]; the full product of row i and a state x, in
    float32 and summed in any order, is within `radius[i] * ‖x‖` of what `choose` makes of the copy.
    """

    codes: jax.Array
    scale: jax.Array
    radius: jax.Array


def make_screen(output_map: jax.Array) -> Screen:
    """The screen of an output map, float32 [V, D]."""
    width = output_map.shape[1]
    scale = jnp.abs(output_map).max(axis=1) / _WEIGHT_CODES
    steps = output_map / jnp.where(scale > 0, scale, 1)[:, None]
    codes = jnp.round(steps).clip(-_WEIGHT_CODES, _WEIGHT_CODES)
    missing = jnp.linalg.norm(output_map - codes * scale[:, None], axis=1)
    norm = jnp.linalg.norm(output_map, axis=1)
    # |x·e - x̂·ê| <= ‖x‖ ‖e - ê‖ + ‖x - x̂‖ ‖ê‖. The state's codes are off by half a step, and by the rounding
    # of their division. Twice the unit roundoff a term: float32's bound for sums, and as much for what is
    # rounded here and in `choose`.
    rounding = (width + 16) * 2.0**-23
    state = 0.51 * width**0.5 / _state_codes(width)
    radius = (missing + state * (norm + missing)) * (1 + rounding) + rounding * norm + _UNDERFLOW
    return Screen(codes.astype(jnp.int8), scale, radius)


def choose(
    screen: Screen, state: jax.Array, in_full: Callable[[], jax.Array], without: int | None = None
) -> jax.Array:
    """Index int32 [] of the largest product of the output map and `state` [D].

    in_full: gives the index that the full product chooses, its rule for ties included; asked only where the
    screen leaves more than one row. without: a row that is out of the question, for `in_full` as well.
    """
    rows, width = screen.codes.shape
    largest = jnp.abs(state).max()
    # In units of the state's largest value, which scales all products alike and keeps squares in range.
    state = state / largest
    reach = jnp.linalg.norm(state)
    most = _state_codes(width)
    # Whole numbers, whose sums are exact in any order: XLA vectorises them, and best with operands this narrow.
    # The barrier keeps the loop around this from making the codes wide once and reading them so.
    codes, steps = jax.lax.optimization_barrier(
        (screen.codes, jnp.round(state * most).astype(jnp.int16))
    )
    product = (codes.astype(jnp.int32) * steps.astype(jnp.int32)).sum(axis=1, dtype=jnp.int32)
    about = product.astype(jnp.float32) * (screen.scale / most)
    margin = reach * screen.radius
    places = jnp.arange(rows, dtype=jnp.int32)
    allowed = jnp.ones(rows, bool) if without is None else places != without
    surely = jnp.where(allowed, _in_order(about - margin), jnp.iinfo(jnp.int32).min).max()
    possible = allowed & (_in_order(about + margin) >= surely)
    proved = (possible.sum(dtype=jnp.int32) == 1) & (largest > _SMALLEST_STATE)
    return jax.lax.cond(proved, lambda: jnp.where(possible, places, rows).min(), in_full)


def _state_codes(width: int) -> int:
    """Largest code of a state's value: in 16 bits, and its products' sum over `width` in 32."""
    return min(2**15 - 1, (2**31 - 1) // (_WEIGHT_CODES * width))


def _in_order(values: jax.Array) -> jax.Array:
    """Whole numbers int32 in the order of these float32 values: XLA vectorises a maximum of those."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return jnp.where(bits < 0, bits ^ jnp.iinfo(jnp.int32).max, bits)
