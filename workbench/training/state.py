"""The resumable state of a run on disk, written by Orbax in the background."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from workbench.errors import WorkbenchError

KEPT = 2


def latest_step(directory: Path) -> int | None:
    """The step of the newest whole state under `directory`, if any, found without opening it."""
    return max((int(p.name) for p in directory.glob("*") if p.name.isdecimal()), default=None)


class StateStore:
    """Keeps the last two states of a run under `directory`.

    A state counts once it is whole: it is written beside its place and renamed, so that a kill or a full disk
    leaves those before it as they were. What a killed run left half-written is removed when it goes on.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with self._explained(None):
            self._manager = ocp.CheckpointManager(
                directory.absolute(),
                item_handlers=ocp.StandardCheckpointHandler(),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=KEPT, create=True, cleanup_tmp_directories=True
                ),
            )

    @property
    def latest(self) -> int | None:
        """The step of the newest whole state, if any."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Begin to write `state`, a pytree of arrays, as the state after `step`.

        Raises:
            WorkbenchError: this state or the one before it could not be written.
        """
        # Copied first: the next training step reuses the memory that these arrays lie in.
        leaves = {
            name: jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf.copy()
            for name, leaf in _named(state)
        }
        with self._explained(step):
            # Not earlier than now, since a state that is being written takes memory.
            self._manager.wait_until_finished()
            self._manager.save(step, args=ocp.args.StandardSave(leaves), force=True)

    def restore(self, like: Any) -> Any:
        """The newest state, with the structure, shapes, types and places of `like`; None if there is none.

        A state that cannot be read, damaged after it was written, is passed over for the one before it.

        Raises:
            WorkbenchError: the state was written by a run of another shape, or none can be read.
        """
        self._manager.wait_until_finished()
        names = [name for name, _ in _named(like)]
        wanted = {
            name: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)
            )
            for name, leaf in _named(like)
        }
        steps = sorted(self._manager.all_steps(), reverse=True)
        reason, damaged = "", []
        for step in steps:
            try:
                self._check(step, wanted)
                found = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
            except WorkbenchError:
                raise
            except Exception as error:  # whatever a damaged file makes its readers raise
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                damaged.append(step)
                continue
            for other in damaged:
                self._manager.delete(other)
            return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in names])
        if steps:
            raise WorkbenchError(
                f"No state in {self._directory} can be read ({reason}). Choose another output directory."
            )
        return None

    def close(self) -> None:
        """Wait until everything is on disk.

        Raises:
            WorkbenchError: the last state could not be written.
        """
        with self._explained(None):
            self._manager.wait_until_finished()
        self._manager.close()

    def _check(self, step: int, wanted: dict[str, jax.ShapeDtypeStruct]) -> None:
        found = self._manager.item_metadata(step)
        found = getattr(found, "tree", found)
        different = sorted(found.keys() ^ wanted.keys())
        problem = f"only one of them has {different[0]}" if different else ""
        for name, leaf in wanted.items():
            if not problem and tuple(found[name].shape) != leaf.shape:
                problem = f"{name} is {tuple(found[name].shape)}, not {leaf.shape}"
        if problem:
            raise WorkbenchError(
                f"The run in {self._directory} does not fit this recipe ({problem})."
                " Choose another output directory."
            )

    @contextmanager
    def _explained(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            what = "the state" if step is None else f"the state of step {step}"
            kept = sorted(int(p.name) for p in self._directory.glob("*") if p.name.isdecimal())
            intact = f"The state of step {kept[-1]} is intact" if kept else "No state was finished"
            raise WorkbenchError(
                f"Cannot write {what} to {self._directory}: {_reason(error)}. {intact}; make room and run the"
                " same command again."
            ) from error


def _reason(error: BaseException) -> str:
    """Why the disk refused, found along the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        # TensorStore, which writes the arrays, has the system's message in its own.
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES):
            if errno.errorcode[code] in str(cause) or _message(code) in str(cause):
                return _message(code)
        cause = cause.__cause__ or cause.__context__
    return str(error).strip().split("\n")[0] or type(error).__name__


def _message(code: int) -> str:
    return os.strerror(code)


def _named(state: Any) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(state)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]
