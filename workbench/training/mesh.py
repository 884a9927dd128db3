"""Many devices: a mesh of them, what lies where on it, and the processes that share it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from workbench.errors import WorkbenchError
from workbench.nn.exchange import DATA, EXPERT, ROWS, exchanged
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.nn.network import TranslationNetwork
from workbench.training.batches import Batch
from workbench.training.recipe import mesh_shape

_EXPERT_ARRAYS = {"w_in", "b_in", "w_out", "b_out"}


def join(how: str) -> None:
    """Make this process one of several that train together. Call before anything else asks JAX for devices.

    how: "auto" where JAX finds the others by itself (TPU pods, Slurm, Open MPI, Kubernetes), or
        ADDRESS,COUNT,INDEX: where process 0 listens, how many there are, and which one this is.

    Raises:
        WorkbenchError: `how` is not understood, or the others are not found.
    """
    options: dict[str, Any] = {}
    if how != "auto":
        address, *numbers = how.split(",")
        if len(numbers) != 2 or not all(n.isdecimal() for n in numbers) or ":" not in address:
            raise WorkbenchError(
                f"--distributed {how}: give HOST:PORT,COUNT,INDEX, such as host0:9876,4,0, or nothing where"
                " JAX finds the other processes by itself."
            )
        count, index = map(int, numbers)
        if index >= count:
            raise WorkbenchError(f"--distributed {how}: the index goes from 0 to {count - 1}.")
        options = {"coordinator_address": address, "num_processes": count, "process_id": index}
    try:
        jax.distributed.initialize(**options)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WorkbenchError(f"--distributed {how}: cannot join the others ({reason}).") from error


def is_first() -> bool:
    """Whether this process is the one that writes files and reports."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Return when every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def is_joined() -> bool:
    """Whether this process became one of several by `join`."""
    return bool(jax.distributed.is_initialized())


def stops_after(step: int) -> bool:
    """Whether all processes stop after `step` because one of them got SIGTERM: the same answer on every process.

    Each must ask after each step. They agree in the background on a step that none has come to yet, and no step
    waits for that.
    """
    return bool(multihost_utils.reached_preemption_sync_point(step))


def agreed(value: float) -> float:
    """The first process's `value`, on every process (as float32)."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def check_shared(text: str) -> None:
    """Refuse several processes without a mesh: each would train by itself, into the same files.

    Raises:
        WorkbenchError: `text`, which names the mesh, is empty, and there are several.
    """
    count = jax.process_count()
    if count > 1 and not text:
        raise WorkbenchError(
            f"{count} processes share a run over a mesh of all their {len(jax.devices())} devices: give --mesh, such"
            f" as data={len(jax.devices())}."
        )


class TrainingMesh:
    """Devices along the axes `data` and `expert`.

    Experts, with the optimizer's state and the average of them, are spread over `expert`; all other
    parameters are on every device; the rows of a batch are spread over both axes.

    Raises:
        WorkbenchError: there are not as many devices.
    """

    def __init__(self, text: str) -> None:
        sizes = mesh_shape(text)
        devices, needed = jax.devices(), sizes[DATA] * sizes[EXPERT]
        kind = devices[0].platform
        if needed > len(devices):
            raise WorkbenchError(
                f"The mesh {text} needs {needed} devices; JAX finds {len(devices)} ({kind})."
            )
        if jax.process_count() > 1 and needed < len(devices):
            raise WorkbenchError(
                f"The mesh {text} has {needed} devices, but the {jax.process_count()} processes have"
                f" {len(devices)} ({kind}): with several processes all must be used."
            )
        self.mesh: Mesh = jax.make_mesh(
            (sizes[DATA], sizes[EXPERT]),
            (DATA, EXPERT),
            axis_types=(AxisType.Auto, AxisType.Auto),
            devices=devices[:needed],
        )
        self.size = needed
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self._rows = NamedSharding(self.mesh, ROWS)
        self._experts = NamedSharding(self.mesh, PartitionSpec(EXPERT))

    def shardings(self, tree: Any) -> Any:
        """Where each array of parameters, optimizer state or average lies."""
        experts = self.mesh.shape[EXPERT]

        def place(path: Any, leaf: Any) -> NamedSharding:
            names = {str(getattr(key, "key", getattr(key, "name", ""))) for key in path}
            # Adafactor keeps a placeholder of size 1 where it factors an array.
            divides = bool(leaf.shape) and leaf.shape[0] % experts == 0
            return self._experts if names & _EXPERT_ARRAYS and divides else self.everywhere

        return jax.tree_util.tree_map_with_path(place, tree)

    def place(self, tree: Any) -> Any:
        """Arrays that every process has, laid where they belong."""
        return jax.device_put(tree, self.shardings(tree))

    def spread(self, batch: Batch) -> Batch:
        """A batch that every process has, its rows laid out; their number is a multiple of `size`."""

        def lay(rows: np.ndarray) -> jax.Array:
            return jax.make_array_from_callback(rows.shape, self._rows, lambda index: rows[index])

        return jax.tree.map(lay, batch)

    def gathered(self, tree: Any) -> Any:
        """The whole arrays on this process's own device, one after the other; all processes must call it."""

        def gather(leaf: jax.Array) -> jax.Array:
            return jax.numpy.asarray(np.asarray(jax.device_put(leaf, self.everywhere)))

        return jax.tree.map(gather, tree)

    def graph(self, network: TranslationNetwork) -> Any:
        """The network's structure, its experts' rows exchanged between devices."""
        network = nnx.clone(network)
        dispatcher = exchanged(self.mesh)
        for _, block in nnx.iter_graph(network):
            if isinstance(block, ExpertFeedForward):
                block.dispatcher = dispatcher
        return nnx.split(network)[0]
