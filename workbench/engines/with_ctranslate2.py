"""CTranslate2 as a system: a dense network, converted and loaded there."""

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
from workbench.engines.export import check_dense, convert, pieces_of
from workbench.engines.found import rows_found
from workbench.engines.packages import need


class CTranslate2(System):
    """A dense translator under CTranslate2.

    Weights of the converted copy are read into memory; its directory is gone afterwards. The limit of the
    longest piece of a batch holds for all of it, and what is over a piece's own is cut off.

    quantization: of `QUANTIZATIONS`; what CTranslate2 makes of it on this device is `dtype`.

    Raises:
        EngineError: CTranslate2 is not installed, the network has experts, or the conversion fails.
    """

    def __init__(self, name: str, model: Translator, quantization: str = "float32") -> None:
        check_dense(model.config, model.name)
        need("ctranslate2")
        import ctranslate2

        super().__init__(name, model.config, model.tokenizer)
        self._tokens = pieces_of(model.tokenizer)
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        with tempfile.TemporaryDirectory() as scratch:
            dense, converted = Path(scratch) / "m2m100", Path(scratch) / "ctranslate2"
            model.save(dense)
            convert(dense, converted, quantization)
            self._engine: Any = ctranslate2.Translator(
                str(converted),
                device="cuda" if jax.default_backend() == "gpu" else "cpu",
                compute_type=quantization,
                inter_threads=1,
                intra_threads=processors(),
            )

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return str(self._engine.device)

    @property
    def dtype(self) -> str:
        """What weights are held in, and after it, if it is another, what is computed in between."""
        return str(self._engine.compute_type)

    def _run(self, batch: Batch, options: SearchOptions) -> tuple[Found, float]:
        limits = self.limits(batch.pieces, batch.max_length)
        language = self._tokens[self.tokenizer.language_id(batch.task.target)]
        source = [[self._tokens[i] for i in ids] for ids in batch.pieces]
        began = time.perf_counter()
        results = self._engine.translate_batch(
            source,
            target_prefix=[[language]] * len(source),
            beam_size=options.beam_size,
            length_penalty=1,
            max_batch_size=0,
            max_input_length=0,
            # The language token counts.
            max_decoding_length=max(limits) + 1,
            return_scores=options.with_scores,
            return_end_token=True,
        )
        seconds = time.perf_counter() - began
        written = [[self._ids[token] for token in result.hypotheses[0][1:]] for result in results]
        scores = [
            result.scores[0] * len(result.hypotheses[0]) if options.with_scores else 0.0
            for result in results
        ]
        return rows_found(written, limits, scores, self.config.pad_id), seconds
