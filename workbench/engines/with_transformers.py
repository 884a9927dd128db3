"""transformers as a system: a dense network, opened there by PyTorch."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from workbench.decoding.hardware import processors
from workbench.decoding.search import Found, SearchOptions
from workbench.decoding.system import Batch, System
from workbench.decoding.translator import Translator
from workbench.engines.export import check_dense
from workbench.engines.found import rows_found
from workbench.engines.packages import need, without_progress_bars


class Transformers(System):
    """A dense translator under `generate` of transformers, in float32.

    The limit of the longest piece of a batch holds for all of it, and what is over a piece's own is cut off.

    Raises:
        EngineError: transformers or PyTorch is not installed, or the network has experts.
    """

    def __init__(self, name: str, model: Translator) -> None:
        check_dense(model.config, model.name)
        need("transformers")
        import torch
        import transformers

        super().__init__(name, model.config, model.tokenizer)
        torch.set_num_threads(processors())
        self._torch: Any = torch
        with tempfile.TemporaryDirectory() as scratch:
            dense = Path(scratch) / "m2m100"
            model.save(dense)
            with without_progress_bars():
                network: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(dense)
        self._network = network.eval().to("cuda" if jax.default_backend() == "gpu" else "cpu")

    @property
    def device(self) -> str:
        """`cpu` or `cuda:0`."""
        return str(self._network.device)

    @property
    def dtype(self) -> str:
        """What is computed in."""
        return str(self._network.dtype).removeprefix("torch.")

    def _run(self, batch: Batch, options: SearchOptions) -> tuple[Found, float]:
        torch, pad = self._torch, self.config.pad_id
        limits = self.limits(batch.pieces, batch.max_length)
        width = max(map(len, batch.pieces))
        began = time.perf_counter()
        source = torch.tensor(
            [[*ids, *[pad] * (width - len(ids))] for ids in batch.pieces],
            device=self._network.device,
        )
        with torch.inference_mode():
            output = self._network.generate(
                input_ids=source,
                attention_mask=(source != pad).long(),
                forced_bos_token_id=self.tokenizer.language_id(batch.task.target),
                num_beams=options.beam_size,
                do_sample=False,
                length_penalty=1.0,
                early_stopping=options.early_stopping,
                # The language token counts.
                max_new_tokens=max(limits) + 1,
                return_dict_in_generate=True,
                output_scores=options.with_scores,
            )
        # The end token and the language's come first.
        rows = output.sequences[:, 2:].tolist()
        seconds = time.perf_counter() - began
        written = [row[: _length(row, self.config.eos_id)] for row in rows]
        scores = [0.0] * len(rows)
        if options.with_scores:
            steps = self._network.compute_transition_scores(
                output.sequences,
                output.scores,
                getattr(output, "beam_indices", None),
                normalize_logits=options.beam_size == 1,
            )
            scores = [
                float(step[1 : 1 + len(row)].sum())
                for step, row in zip(steps, written, strict=True)
            ]
        return rows_found(written, limits, scores, pad), seconds


def _length(row: list[int], eos_id: int) -> int:
    return row.index(eos_id) + 1 if eos_id in row else len(row)
