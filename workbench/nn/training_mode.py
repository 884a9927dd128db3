"""Training mode: all that the network does differently while it is trained, as one argument that is None otherwise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from workbench.nn import linear

#: What becomes of a token's choices after its first; see `workbench.nn.limits`.
SecondExpert = Literal["all", "random", "sampling"]


@dataclass(frozen=True)
class TrainingOptions:
    """What training does differently. A translation never sees any of it.

    dropout: share of units that are zeroed. capacity_factor: an expert takes this many times an even share of
    the choices, 0 for any number. second_expert: policy for the choices after the first.
    output_masking: share of tokens whose expert output is masked.
    """

    dropout: float = 0.0
    capacity_factor: float = 0.0
    second_expert: SecondExpert = "all"
    output_masking: float = 0.0


@dataclass(frozen=True)
class Training:
    """That the network is being trained, at one place in it.

    options: the same everywhere. key: the randomness of this place. mask: bool [B, T], which tokens are no
    padding; the network fills it in.
    """

    options: TrainingOptions
    key: jax.Array
    mask: jax.Array | None = None


def split(training: Training | None, count: int) -> tuple[Training | None, ...]:
    """For `count` places inside this one."""
    if training is None:
        return (None,) * count
    keys = jax.random.split(training.key, count)
    return tuple(dataclasses.replace(training, key=key) for key in keys)


def inside(training: Training | None, index: int) -> Training | None:
    """For the `index`-th place inside this one."""
    if training is None:
        return None
    return dataclasses.replace(training, key=jax.random.fold_in(training.key, index))


def over(training: Training | None, mask: jax.Array) -> Training | None:
    """For a stack whose tokens are those where `mask` [B, T] is true."""
    return None if training is None else dataclasses.replace(training, mask=mask)


def dropout(x: jax.Array, training: Training | None) -> jax.Array:
    """x with units dropped; x itself at inference."""
    if training is None:
        return x
    return linear.dropout(x, training.options.dropout, training.key)


def mask_outputs(x: jax.Array, training: Training) -> jax.Array:
    """Expert outputs x [B, T, D], those of a share of the tokens masked by zeros, the others as they are.

    Expert output masking of NLLB (NLLB Team 2022, arXiv 2207.04672, section 6.2): where a token's output is
    masked, its residual passes alone. Nothing is scaled up for it: at inference outputs are scaled down.
    """
    keys = same_on_any_devices(training.key)
    kept = jax.random.uniform(keys, x.shape[:2]) >= training.options.output_masking
    return jnp.where(kept[..., None], x, 0).astype(x.dtype)


def same_on_any_devices(key: jax.Array) -> jax.Array:
    """A key whose draws do not depend on how an array is spread over devices, as those of "rbg" keys do."""
    bits = jax.random.bits(key, (2,), jnp.uint32)
    return jax.random.wrap_key_data(bits, impl="threefry2x32")
