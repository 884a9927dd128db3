"""The resumable state of a run on disk, written by Orbax in the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from workbench.errors import WorkbenchError


class StateStore:
    """Keeps the last two states of a run under `directory`; a kill while writing leaves the one before."""

    def __init__(self, directory: Path) -> None:
        self._manager = ocp.CheckpointManager(
            directory.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
        )

    @property
    def latest(self) -> int | None:
        """The step of the newest finished state, if any."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Begin to write `state`, a pytree of arrays, as the state after `step`."""
        # Copied first: the next training step reuses the memory that these arrays lie in.
        leaves = {name: np.array(leaf) for name, leaf in _named(state)}
        self._manager.save(step, args=ocp.args.StandardSave(leaves))

    def restore(self, like: Any) -> Any:
        """The newest state, with the structure, shapes and types of `like`.

        Raises:
            WorkbenchError: the state was written by a run of another shape.
        """
        wanted = {name: np.asarray(leaf) for name, leaf in _named(like)}
        try:
            found = self._manager.restore(self.latest, args=ocp.args.StandardRestore(wanted))
            for name, leaf in wanted.items():
                if found[name].shape != leaf.shape:
                    raise ValueError(f"{name} is {found[name].shape}, not {leaf.shape}")
        except (ValueError, KeyError, TypeError) as error:
            raise WorkbenchError(
                f"The run in {self._manager.directory} does not fit this recipe"
                f" ({str(error).splitlines()[0]}). Choose another output directory."
            ) from error
        return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in wanted])

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _named(state: Any) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]
