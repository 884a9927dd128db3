"""One compiled training step: gradients of a batch, the optimizer's update, the running average."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from workbench.training.batches import Batch
from workbench.training.objective import training_loss
from workbench.training.recipe import ObjectiveRecipe, Recipe

#: Gives loss, its parts and the gradients of (parameters, batch, key).
Gradients: TypeAlias = Callable[[Any, Batch, jax.Array | None], tuple[jax.Array, Any, Any]]


class Trained(NamedTuple):
    """What a step changes: parameters in float32, the optimizer's state, and the average of the parameters.

    `average` is None unless the recipe asks for it.
    """

    parameters: Any
    optimizer: Any
    average: Any

    @property
    def best_known(self) -> Any:
        """The parameters to translate with: their average if there is one."""
        return self.parameters if self.average is None else self.average


def begin(parameters: Any, optimizer: optax.GradientTransformation, recipe: Recipe) -> Trained:
    """Before the first step."""
    average = jax.tree.map(jnp.copy, parameters) if recipe.run.average else None
    return Trained(parameters, optimizer.init(parameters), average)


def make_update(
    graph: Any,
    optimizer: optax.GradientTransformation,
    recipe: Recipe,
    mesh: Mesh | None = None,
    out_shardings: Any = None,
) -> Callable[[Trained, Batch, int], tuple[Trained, dict[str, jax.Array]]]:
    """One compiled training step: (trained, batch, step) -> trained anew, in the same memory, and metrics.

    The metrics are `training_loss`'s and `gradient_norm`, before clipping.
    mesh, out_shardings: on many devices, over which, and where the results lie.
    """
    gradients_of = make_gradients(graph, recipe.objective, mesh)

    @partial(jax.jit, donate_argnums=0, out_shardings=out_shardings)
    def update(trained: Trained, batch: Batch, step: Any) -> tuple[Trained, dict[str, jax.Array]]:
        # The key depends on the step alone, so that a resumed run drops the same units.
        key = jax.random.fold_in(jax.random.key(recipe.run.seed, impl="rbg"), step)
        _, parts, gradients = gradients_of(trained.parameters, batch, key)
        parts["gradient_norm"] = optax.tree.norm(gradients)
        updates, moments = optimizer.update(gradients, trained.optimizer, trained.parameters)
        parameters = optax.apply_updates(trained.parameters, updates)
        average = trained.average
        if average is not None:
            # Short at first, so that the random start is soon forgotten.
            weight = 1 - jnp.minimum(recipe.run.average, (1 + step) / (10 + step))
            average = jax.tree.map(lambda a, p: a + weight * (p - a), average, parameters)
        return Trained(parameters, moments, average), parts

    return update


def make_gradients(graph: Any, recipe: ObjectiveRecipe, mesh: Mesh | None = None) -> Gradients:
    """Loss, parts and gradients of a batch, in the recipe's compute type, in as many parts as it asks for."""

    def loss(parameters: Any, batch: Batch, key: Any, whole: Batch) -> Any:
        network = nnx.merge(graph, computed(parameters, recipe.compute))
        return training_loss(network, batch, recipe, key, whole, mesh)

    differentiate = jax.value_and_grad(loss, has_aux=True)

    def at_once(parameters: Any, batch: Batch, key: jax.Array | None) -> tuple[Any, Any, Any]:
        (value, parts), gradients = differentiate(parameters, batch, key, batch)
        return value, parts, gradients

    def in_parts(parameters: Any, batch: Batch, key: jax.Array | None) -> tuple[Any, Any, Any]:
        def add(sums: Any, number_and_part: Any) -> Any:
            number, part = number_and_part
            inner = None if key is None else jax.random.fold_in(key, number)
            (value, parts), gradients = differentiate(parameters, part, inner, batch)
            return jax.tree.map(jnp.add, sums, (value, parts, gradients)), None

        count = recipe.accumulate
        parts = jax.tree.map(partial(_deal, count=count), batch)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        shapes = jax.eval_shape(at_once, parameters, first, key)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(add, nothing, (jnp.arange(count), parts))[0]

    return at_once if recipe.accumulate == 1 else in_parts


def _deal(rows: jax.Array, count: int) -> jax.Array:
    """Rows [B, ...] as `count` parts [count, B / count, ...], dealt out in turn like cards.

    In turn, so that rows that lie on many devices stay where they are.
    """
    return rows.reshape(-1, count, *rows.shape[1:]).swapaxes(0, 1)


def computed(parameters: Any, kind: str) -> Any:
    """The parameters in the type that a step computes in; the routers' stay float32.

    On CPU bfloat16 stands for products alone, those with linear maps and experts (see `workbench.nn.products`):
    everything else is slower in it there. Over many CPU devices the experts' are float32.
    """
    if kind == "float32":
        return parameters
    in_products: tuple[str, ...] = ("",)
    if jax.default_backend() == "cpu":
        in_products = ("kernel",) if jax.device_count() > 1 else ("kernel", "w_in", "w_out")

    def cast(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        kept = "router" in name or not any(part in name for part in in_products)
        return leaf if kept else leaf.astype(kind)

    return jax.tree_util.tree_map_with_path(cast, parameters)


def pad_rows(batch: Batch, multiple: int, pad_id: int) -> Batch:
    """The batch with rows of padding, which count for nothing, until their number is a multiple."""
    missing = -len(batch.source) % multiple
    if not missing:
        return batch
    sides = [
        np.pad(side, ((0, missing), (0, 0)), constant_values=pad_id)
        for side in (batch.source, batch.inputs, batch.labels)
    ]
    ids = [np.pad(ids, (0, missing)) for ids in (batch.encoder_task_ids, batch.decoder_task_ids)]
    return Batch(*sides, *ids)


def make_optimizer(recipe: ObjectiveRecipe, steps: int) -> optax.GradientTransformation:
    """Clipping, then Adam (Vaswani et al. 2017), AdamW or Adafactor, under the recipe's schedule."""
    schedule = make_schedule(recipe, steps)
    if recipe.optimizer == "adafactor":
        return optax.adafactor(schedule, clipping_threshold=recipe.clip)
    adam: Any = optax.adam
    if recipe.weight_decay:
        adam = partial(optax.adamw, weight_decay=recipe.weight_decay)
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip), adam(schedule, b1=0.9, b2=0.98, eps=1e-9)
    )


def make_schedule(recipe: ObjectiveRecipe, steps: int) -> Callable[[Any], Any]:
    """Learning rate by step: linear warm-up to the peak, then constant, linear to zero, or 1/sqrt(step)."""
    peak, warmup = recipe.learning_rate, recipe.warmup_steps

    def schedule(step: Any) -> Any:
        rise = jnp.minimum(1.0, (step + 1) / max(1, warmup))
        if recipe.schedule == "inverse_sqrt":
            return peak * rise * jnp.sqrt(max(1, warmup) / jnp.maximum(step + 1, max(1, warmup)))
        if recipe.schedule == "linear":
            return peak * rise * jnp.clip((steps - step) / max(1, steps - warmup), 0.0, 1.0)
        return peak * rise

    return schedule
