"""Watching the loss: the first one that is no number ends the run, and its batch is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from workbench.errors import WorkbenchError
from workbench.training.batches import Batch


class LossWatch:
    """Looks at each step's loss and gradient once the next step is on its way, so that no device waits.

    output: directory that gets the offending batch; write: whether this process writes it; saved: gives the
    step of the last saved state, None before there is one.
    """

    def __init__(
        self, output: Path, write: bool = True, saved: Callable[[], int | None] = lambda: None
    ) -> None:
        self._output, self._write, self._saved = output, write, saved
        self._waiting: tuple[int, Any, Batch] | None = None

    def add(self, step: int, parts: dict[str, jax.Array], batch: Batch) -> None:
        """Take the metrics of `step`, just begun, and judge those of the step before.

        Raises:
            WorkbenchError: as `check` does.
        """
        before, self._waiting = self._waiting, (step, parts, batch)
        self._judge(before)

    def check(self) -> None:
        """Judge the last step too; call it before its state is kept.

        Raises:
            WorkbenchError: the loss or the gradient is NaN or infinite. Its batch is in `output`.
        """
        before, self._waiting = self._waiting, None
        self._judge(before)

    def _judge(self, waiting: tuple[int, Any, Batch] | None) -> None:
        if waiting is None:
            return
        step, parts, batch = waiting
        loss, norm = float(parts["nats"]), float(parts["gradient_norm"])
        if np.isfinite(loss) and np.isfinite(norm):
            return
        what = (
            f"the gradient's norm {norm}"
            if np.isfinite(loss)
            else f"the loss {loss}, the gradient's norm {norm}"
        )
        path = self._output / f"bad-batch-step-{step}.npz"
        if self._write:
            arrays: dict[str, Any] = {"step": step, **batch._asdict()}
            np.savez(path, **arrays)
        saved = self._saved()
        kept, where = (
            ("no state was saved yet", "")
            if saved is None
            else (f"the state of step {saved} is intact", ", in a new directory")
        )
        raise WorkbenchError(
            f"Step {step} gave {what}. Its batch is in {path}; {kept}. Lower objective.learning_rate or"
            f" lengthen objective.warmup_steps{where}."
        )
