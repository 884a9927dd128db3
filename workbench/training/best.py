"""The best weights of a run: kept on disk as a checkpoint, and counted, so that a run can end early."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from workbench.decoding.translator import Translator

#: Best BLEU so far, the step that reached it, and validations since: float64 [3], saved with a run's state.
Standing = np.ndarray


def no_standing() -> Standing:
    """Before the first validation."""
    return np.array([-np.inf, 0.0, 0.0])


def stand(standing: Standing, step: int, bleu: float) -> Standing:
    """After the validation at `step`."""
    best, best_step, stale = standing
    return np.array([best, best_step, stale + 1] if bleu <= best else [bleu, step, 0.0])


class BestStore:
    """Keeps the checkpoint of the best validation so far as `directory/step-N`.

    The one before is removed when the new one is whole, so that a kill or a full disk leaves one of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self._directory / f"step-{step}"

    def save(self, step: int, model: Translator) -> None:
        """Write the new best, which a killed run may have written before, then remove those before it.

        Raises:
            WorkbenchError: it could not be written; the one before is intact.
        """
        place = self.path(step)
        if not place.exists():
            model.save(place)
        for other in self._directory.iterdir():
            if other != place:
                shutil.rmtree(other, ignore_errors=True)

    def checked(self, standing: Standing) -> Standing:
        """`standing`, or none when its checkpoint is gone: the next validation is the best again.

        So it is after a kill between a new best and the next saved state; the run comes by the new one again.
        """
        return standing if self.path(int(standing[1])).exists() else no_standing()
