"""Cutting from disk: of a checkpoint only what is kept is read, one tensor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.checkpoint.hub_config import layout_of, model_type
from workbench.checkpoint.selection import Selection, write_new
from workbench.checkpoint.tensor_names import Tensor
from workbench.config import ModelConfig, StackName
from workbench.nn.held import Held
from workbench.nn.network import TranslationNetwork
from workbench.nn.routers import Router
from workbench.subnetworks.choices import (
    Choices,
    by_task,
    choice_of,
    choices_of,
    remainder_of,
)
from workbench.subnetworks.cutting import Kept, kept_columns
from workbench.subnetworks.extract import checked_tasks, extracted_config
from workbench.tasks import Task


def write_pruned(
    selection: Selection, kept: Kept, config: ModelConfig, directory: Path, dtype: str = "float32"
) -> None:
    """Write the weights of the network of shape `config` that keeps the experts `kept`, in order, of the one that
    `selection` reads; each tensor is read when its turn comes.
    """

    def array(tensor: Tensor) -> np.ndarray:
        path = tensor.path
        stack: Any = path[0]
        experts = kept.get((stack, int(path[2]))) if "ffn" in path else None
        if experts is None:
            return selection.read(path, tensor.expert)
        if tensor.expert is not None:
            return selection.read(path, experts[tensor.expert])
        columns, _ = kept_columns(getattr(selection.config, stack), int(path[2]), experts)
        return selection.read(path)[list(columns)]  # of the router, stored by rows

    layout = layout_of(model_type(config))
    write_new(directory, config, layout, lambda tensor: partial(array, tensor), dtype)


class DiskExtraction:
    """The sub-network of `tasks` in the checkpoint that `selection` reads; only routers are read so far.

    config: of the sub-network. kept: stack -> layer -> task key -> expert -> gate.

    Raises:
        WorkbenchError: as `extract`.
    """

    def __init__(self, selection: Selection, tasks: Sequence[str | Task], name: str) -> None:
        self.selection, self.parent = selection, selection.config
        self.tasks = checked_tasks(self.parent, tasks, name)
        self._routers: dict[tuple[StackName, int], Router] = {}
        self._choices: dict[StackName, Choices] = {}
        self._chosen: dict[tuple[StackName, int, int], tuple[np.ndarray, np.ndarray]] = {}
        for stack in by_task(self.parent):
            shape = getattr(self.parent, stack)
            routers = {layer: self._router(stack, layer) for layer in shape.expert_layers}
            self._routers |= {(stack, layer): router for layer, router in routers.items()}
            self._choices[stack] = choices_of(shape, routers, self.parent.d_model, self.tasks)
        self.config = extracted_config(self.parent, self.tasks, self._choices)

    @property
    def kept(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Task -> stack -> layer -> expert -> gate, where routing is by task."""
        table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
        for task in self.tasks:
            for stack, layer in self._routers:
                row = getattr(self.parent, stack).router.key_index(task)
                experts, gates = self._choice(stack, layer, row)
                table.setdefault(str(task), {}).setdefault(stack, {})[str(layer)] = {
                    str(e): round(float(g), 6) for e, g in zip(experts, gates, strict=True)
                }
        return table

    def write(self, directory: Path, dtype: str = "float32") -> None:
        """Write the sub-network's weights; each tensor is read when its turn comes."""
        write_new(
            directory,
            self.config,
            layout_of(model_type(self.config)),
            lambda tensor: partial(self._array, tensor),
            dtype,
        )

    def parent_network(self) -> TranslationNetwork:
        """The parent itself, with its own routers whole, holding only the experts of the tasks.

        In a layer that holds some of its experts, one that is missing would make NaN: see `Held`.
        """
        held = {
            (stack, layer): experts
            for stack, choice in self._choices.items()
            for layer, experts in choice.experts.items()
        }
        network = self.selection.network(held)
        for (stack, layer), experts in held.items():
            total = getattr(self.parent, stack).experts_in(layer)
            getattr(network, stack).layers[layer].ffn.dispatcher = Held(experts, total)
        return network

    def _choice(self, stack: StackName, layer: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        key = stack, layer, row
        if key not in self._chosen:
            self._chosen[key] = choice_of(self._routers[stack, layer], row, self.parent.d_model)
        return self._chosen[key]

    def _router(self, stack: StackName, layer: int) -> Router:
        shape = getattr(self.parent, stack)
        graph, state = nnx.split(
            nnx.eval_shape(
                lambda: Router(
                    self.parent.d_model,
                    shape.experts_in(layer),
                    shape.router,
                    shape.groups_in(layer),
                    rngs=nnx.Rngs(0),
                )
            )
        )
        values = {
            name: self.selection.read((stack, "layers", layer, "ffn", "router", name))
            for name in nnx.to_pure_dict(state)
        }
        if "kernel" in values:
            values["kernel"] = values["kernel"].T
        nnx.replace_by_pure_dict(state, {k: jnp.asarray(v, jnp.float32) for k, v in values.items()})
        return nnx.merge(graph, state)

    def _array(self, tensor: Tensor) -> np.ndarray:
        """A tensor of the sub-network, as it is stored."""
        path = tensor.path
        stack: Any = path[0]
        choice = self._choices.get(stack)
        if choice is None or "ffn" not in path or (layer := int(path[2])) not in choice.experts:
            return self.selection.read(path, tensor.expert)
        block = path[:4]
        if choice.folds:
            return self._folded(block, path[4:], stack, layer, choice.rows[0])
        experts = choice.experts[layer]
        if tensor.expert is not None:
            return self.selection.read(path, experts[tensor.expert])
        if path[-1] == "remainder":
            router = self._routers[stack, layer]
            return remainder_of(router, choice.rows, experts, self.parent.d_model)
        # Stored by rows: a router's experts, a task embedding's keys.
        rows = experts if path[-1] == "kernel" else choice.rows
        return self.selection.read(path)[list(rows)]

    def _folded(
        self,
        block: tuple[str | int, ...],
        name: tuple[str | int, ...],
        stack: StackName,
        layer: int,
        row: int,
    ) -> np.ndarray:
        """One tensor of a folded block: as `fold`, but of arrays as they are stored, [outputs, inputs]."""
        experts, gates = self._choice(stack, layer, row)
        scales = gates.astype(np.float64) * self.parent.expert_output_scale
        source = {
            ("fc1", "kernel"): "w_in",
            ("fc1", "bias"): "b_in",
            ("fc2", "kernel"): "w_out",
            ("fc2", "bias"): "b_out",
        }[name]  # type: ignore[index]
        shape = self.selection.shape((*block, source), int(experts[0]))
        if source == "b_out":
            biases = [self.selection.read((*block, source), int(e)) for e in experts]
            return sum(scale * bias for scale, bias in zip(scales, biases, strict=True))
        # Into its place, without a second copy: this is what extraction spends its time on.
        size, count = shape[-1 if source == "w_out" else 0], len(experts)
        if source != "w_out":
            joined = np.empty((count * size, *shape[1:]), np.float32)
            for k, expert in enumerate(experts):
                part = joined[k * size : (k + 1) * size]
                self.selection.read_into((*block, source), int(expert), part)
            return joined
        joined = np.empty((shape[0], count * size), np.float32)
        part = np.empty(shape, np.float32)
        for k, (expert, scale) in enumerate(zip(experts, scales, strict=True)):
            self.selection.read_into((*block, source), int(expert), part)
            # A product of two float32 is rounded once either way; another factor needs float64 for that.
            factor = np.float32(scale) if np.float32(scale) == scale else scale
            into = joined[:, k * size : (k + 1) * size]
            np.multiply(part, factor, out=into, casting="same_kind")
        return joined
