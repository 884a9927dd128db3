"""The translator: a loaded checkpoint that turns sentences of one language into another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from workbench.checkpoint.directory import Checkpoint, read_checkpoint, write_checkpoint
from workbench.checkpoint.hub import find_checkpoint, name_of
from workbench.checkpoint.placement import expert_placement
from workbench.config import ModelConfig
from workbench.decoding.beam import beam_search
from workbench.decoding.opening import check_fit, open_checkpoint
from workbench.decoding.programs import BATCHES, LENGTHS, Programs, bucket, enable_compilation_cache
from workbench.decoding.screening import Screen, make_screen
from workbench.decoding.search import Found, Request, greedy
from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.nn.network import TranslationNetwork
from workbench.tasks import Task
from workbench.text.segmentation import split_long
from workbench.text.tokenizer import Tokenizer

#: Rows of a beam search, at most.
MOST_BEAMS = 32


class Translation(str):
    """A translation: its text, with what is known about it.

    token_ids: what the network wrote after the language token, the end token included; for a text that was
    split, the pieces' one after another. tokens: the same as pieces of text. score: mean log-probability
    of a token in nats. seconds: its share of the time its batch ran; compile_seconds: time spent compiling
    programs for this call, the same for all of its translations. truncated: whether the limit cut it short.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    score: float
    seconds: float
    compile_seconds: float
    truncated: bool

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)


class Translator:
    """A checkpoint in memory, ready to translate.

    name: what tables call it. path: where it was loaded from, if anywhere. card: its model card (Markdown).
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        tokenizer: Tokenizer,
        network: TranslationNetwork,
        *,
        path: Path | None = None,
        card: str = "",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        check_fit(name, config, tokenizer)
        self.name, self.config, self.tokenizer, self.network = name, config, tokenizer, network
        self.path, self.card, self.provenance = path, card, provenance or {}
        self._graph, state = nnx.split(network)
        # Plain arrays: handing nnx's own state to a program costs more than a step of a small network.
        self._parameters, self._structure = jax.tree.flatten(state)
        self._screen = _screen_of(network)
        self.programs = Programs(
            self._search, static_argnames=("capacity", "with_scores", "beam_size")
        )

    @classmethod
    def load(cls, path: str | Path, dtype: str = "float32", mesh: Mesh | None = None) -> Translator:
        """The translator in a checkpoint directory, or of a model on the Hugging Face hub.

        Args:
            path: a directory, or `owner/name` or `owner/name@revision` on the hub.
            dtype: float32 or bfloat16, how weights are held in memory and computed with, however they are
                stored.
            mesh: devices with an axis `expert`, over which the experts are spread; their number must divide
                that of the experts. Everything else lies on all of them.

        Raises:
            WorkbenchError: something about the checkpoint is wrong, or it cannot fit in memory; one line says
                what.
        """
        enable_compilation_cache()
        directory = find_checkpoint(path)
        config, tokenizer = open_checkpoint(directory)
        placement = None if mesh is None else expert_placement(mesh)
        checkpoint = read_checkpoint(directory, dtype, placement)
        checkpoint.network.config = config
        return cls(
            name_of(path, directory),
            config,
            tokenizer,
            checkpoint.network,
            path=directory,
            card=checkpoint.card,
            provenance=checkpoint.provenance,
        )

    def save(self, directory: str | Path, dtype: str = "float32") -> None:
        """Write a checkpoint directory; nothing is left behind if that fails.

        dtype: how weights are stored, float32, bfloat16 or int8.
        """
        write_checkpoint(
            Path(directory),
            Checkpoint(self.config, self.network, self.card, self.provenance),
            write_tokenizer=self.tokenizer.save,
            dtype=dtype,
        )

    def task(self, source: str, target: str) -> Task:
        """The task from `source` to `target`, written in any accepted way.

        Raises:
            WorkbenchError: a language is unknown, or this checkpoint does not translate the direction.
        """
        among = self.config.languages
        task = Task(find_language(source, among).code, find_language(target, among).code)
        self.config.check_task(task)
        return task

    def translate(
        self,
        sentences: str | Sequence[str],
        source: str,
        target: str,
        beam_size: int = 1,
        batch_size: int = 32,
        max_length: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        with_scores: bool = True,
    ) -> list[Translation]:
        """Translate sentences, in order; an empty or blank one gives an empty translation.

        A text longer than the network's positions is split into sentences, translated and joined again.
        How sentences are batched or padded does not change their translations.

        Args:
            sentences: one or many.
            source, target: languages, as codes, aliases or names.
            beam_size: 1, greedy search; else the rows of a beam search, see `workbench.decoding.beam`.
            batch_size: sentences translated at once, at most.
            max_length: tokens of one translation, at most; default twice its source's tokens plus 32.
            progress: called with (sentences done, sentences in all) after each batch.
            with_scores: whether to compute scores; without, they are NaN.

        Raises:
            WorkbenchError: an unknown direction, or an argument out of range.
        """
        task = self.task(source, target)
        if not 1 <= beam_size <= MOST_BEAMS:
            raise WorkbenchError(f"beam_size is {beam_size}: it must be from 1 to {MOST_BEAMS}.")
        if batch_size < 1 or (max_length is not None and max_length < 1):
            raise WorkbenchError(
                f"batch_size ({batch_size}) and max_length ({max_length}) must be at least 1."
            )
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        pieces, owners = self._pieces(texts, task.source)
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
        results: list[_Piece | None] = [None] * len(pieces)
        compiled_before = self.programs.compile_seconds
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            found, seconds = self._run(
                [pieces[i] for i in chosen], task, batch_size, max_length, with_scores, beam_size
            )
            for row, i in enumerate(chosen):
                results[i] = _Piece(found, row, seconds / len(chosen))
            if progress:
                progress(first + len(chosen), len(order))
        compile_seconds = self.programs.compile_seconds - compiled_before
        grouped: list[list[_Piece]] = [[] for _ in texts]
        for owner, piece in zip(owners, results, strict=True):
            assert piece is not None
            grouped[owner].append(piece)
        joiner = "" if task.target.startswith(("zho", "jpn", "tha", "yue")) else " "
        return [self._join(parts, joiner, compile_seconds, with_scores) for parts in grouped]

    def _pieces(self, texts: Sequence[str], source: str) -> tuple[list[list[int]], list[int]]:
        """Token ids of every piece that is translated on its own, and the text that each belongs to."""
        longest = self.config.max_positions
        pieces: list[list[int]] = []
        owners: list[int] = []

        def fits(part: str) -> bool:
            return len(self.tokenizer.encode_source(part, source)) <= longest

        encoded = self.tokenizer.encode_sources(texts, source)
        for owner, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
            parts = [ids]
            if len(ids) > longest:
                cut = [part.strip() for part in split_long(text, fits)]
                parts = self.tokenizer.encode_sources(cut, source)
            # Without a token between the language and the end there is nothing to translate.
            parts = [part for part in parts if len(part) > 2]
            pieces += parts
            owners += [owner] * len(parts)
        return pieces, owners

    def _run(
        self,
        pieces: list[list[int]],
        task: Task,
        batch_size: int,
        max_length: int | None,
        with_scores: bool,
        beam_size: int,
    ) -> tuple[Found, float]:
        """Translate one batch: what was found, as numpy arrays, and the seconds it ran."""
        request, capacity = self.request(pieces, task, batch_size, max_length)
        single = len(request.source) == 1 and beam_size == 1 and not with_scores
        screen = self._screen if single else None
        program = self.programs.get(
            self._parameters,
            screen,
            request,
            single=screen is not None,
            capacity=capacity,
            with_scores=with_scores,
            beam_size=beam_size,
        )
        began = time.perf_counter()
        found = jax.device_get(program(self._parameters, screen, request))
        return found, time.perf_counter() - began

    def request(
        self, pieces: list[list[int]], task: Task, batch_size: int, max_length: int | None = None
    ) -> tuple[Request, int]:
        """The arrays for a batch of token ids, padded to a bucket, and the capacity that goes with them."""
        positions = self.config.max_positions
        # A full batch has its own shape; a smaller one goes up to a bucket, never beyond the full one.
        rows = (
            batch_size
            if len(pieces) == batch_size
            else min(bucket(len(pieces), BATCHES), batch_size)
        )
        length = min(bucket(max(map(len, pieces)), LENGTHS), max(positions, max(map(len, pieces))))
        capacity = min(2 * length + 32, positions - 2)
        source = np.full((rows, length), self.config.pad_id, np.int32)
        limits = np.zeros(rows, np.int32)
        for row, ids in enumerate(pieces):
            source[row, : len(ids)] = ids
            limits[row] = min(max_length or 2 * len(ids) + 32, capacity)
        encoder_id, decoder_id = self.config.task_ids(task)
        language = self.tokenizer.language_id(task.target)
        same = lambda value: np.full(rows, value, np.int32)  # noqa: E731
        return Request(source, same(encoder_id), same(decoder_id), same(language), limits), capacity

    def _search(
        self,
        parameters: Any,
        screen: Screen | None,
        request: Request,
        capacity: int,
        with_scores: bool,
        beam_size: int,
    ) -> Found:
        network = nnx.merge(self._graph, jax.tree.unflatten(self._structure, parameters))
        if beam_size > 1:
            return beam_search(network, request, capacity, beam_size)
        return greedy(network, request, capacity, with_scores, screen)

    def _join(
        self, parts: list[_Piece], joiner: str, compile_seconds: float, with_scores: bool
    ) -> Translation:
        ids = [part.token_ids for part in parts]
        translation = Translation(joiner.join(self.tokenizer.decode(part) for part in ids))
        translation.token_ids = tuple(token for part in ids for token in part)
        translation.tokens = tuple(map(self._token, translation.token_ids))
        total = sum(float(part.found.scores[part.row]) for part in parts)
        count = max(1, len(translation.token_ids))
        translation.score = total / count if with_scores else float("nan")
        translation.seconds = sum(part.seconds for part in parts)
        translation.compile_seconds = compile_seconds
        translation.truncated = any(part[-1] != self.config.eos_id for part in ids)
        return translation

    def _token(self, token_id: int) -> str:
        # Published networks have a few more rows than their tokenizer has tokens.
        known = token_id < self.tokenizer.vocab_size
        return self.tokenizer.token(token_id) if known else f"<{token_id}>"


def _screen_of(network: TranslationNetwork) -> Screen | None:
    """The screen of a network that lies in float32 on one processor: elsewhere it gains nothing."""
    embedding = network.embedding[...]
    devices = embedding.devices()
    if embedding.dtype != jnp.float32 or {device.platform for device in devices} != {"cpu"}:
        return None
    return jax.jit(make_screen)(embedding) if len(devices) == 1 else None


class _Piece:
    """One row of a batch's result."""

    def __init__(self, found: Found, row: int, seconds: float) -> None:
        self.found, self.row, self.seconds = found, row, seconds
        self.token_ids = [int(t) for t in found.tokens[row, : int(found.lengths[row])]]
