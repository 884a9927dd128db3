"""The translator: a loaded checkpoint that turns sentences of one language into another."""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from workbench.arguments import as_one
from workbench.checkpoint.directory import Checkpoint, read_checkpoint, write_checkpoint
from workbench.checkpoint.hub import find_checkpoint, name_of
from workbench.checkpoint.placement import expert_placement
from workbench.config import ModelConfig
from workbench.decoding.beam import beam_search
from workbench.decoding.hardware import device_name
from workbench.decoding.opening import check_fit, open_checkpoint
from workbench.decoding.programs import (
    BATCHES,
    LENGTHS,
    Programs,
    bucket,
    enable_compilation_cache,
    kernels_for,
)
from workbench.decoding.screening import Screen, make_screen
from workbench.decoding.search import Found, Request, SearchOptions, greedy
from workbench.decoding.system import Batch, System
from workbench.nn.network import TranslationNetwork
from workbench.tasks import Task
from workbench.text.tokenizer import Tokenizer

#: Rows that a greedy search on CPU has at most, where they share their weights: more take as long a row, and all of
#: them wait for the longest.
MOST_ROWS = 32


class Translator(System):
    """A checkpoint in memory, ready to translate on JAX.

    path: where it was loaded from, if anywhere. card: its model card (Markdown).
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
        super().__init__(name, config, tokenizer)
        self.network = network
        self.path, self.card, self.provenance = path, card, provenance or {}
        self._graph, state = nnx.split(network)
        # Plain arrays: handing nnx's own state to a program costs more than a step of a small network.
        parameters, self._structure = jax.tree.flatten(state)
        self.programs = Programs(
            self._search, static_argnames=("capacity", "options"), parameters=parameters
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
        as_one(directory, (str, os.PathLike), "directory", "a path")
        write_checkpoint(
            Path(directory),
            Checkpoint(self.config, self.network, self.card, self.provenance),
            write_tokenizer=self.tokenizer.save,
            dtype=dtype,
        )

    @property
    def device(self) -> str:
        """What JAX computes on."""
        return device_name()

    @property
    def dtype(self) -> str:
        """What the weights are held in and computed with."""
        return str(self.network.embedding.dtype)

    @property
    def weight_bytes(self) -> int:
        """What its weights occupy in memory, in bytes."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(self.network)))

    @property
    def compile_seconds(self) -> float:
        """Spent on compiling so far."""
        return self.programs.compile_seconds

    @cached_property
    def _screen(self) -> Screen | None:
        """The network's screen if it lies in float32 on one processor: elsewhere it gains nothing."""
        embedding = self.network.embedding[...]
        if not self._on_cpu or embedding.dtype != jnp.float32 or len(embedding.devices()) > 1:
            return None
        return jax.jit(make_screen)(embedding)

    @cached_property
    def _on_cpu(self) -> bool:
        return {each.platform for each in self.network.embedding[...].devices()} == {"cpu"}

    def _run(self, batch: Batch, options: SearchOptions) -> tuple[Found, float]:
        size = self._most_rows(batch.size, options.beam_size)
        firsts = range(0, len(batch.pieces), size)
        parts = [
            self._run_at_once(
                batch._replace(pieces=batch.pieces[first : first + size], size=size), options
            )
            for first in firsts
        ]
        return _joined([found for found, _ in parts], self.config.pad_id), sum(s for _, s in parts)

    def _most_rows(self, batch_size: int, beam_size: int) -> int:
        routers = [stack.router for _, stack in self.config.stacks]
        share = all(router is None or router.granularity == "task" for router in routers)
        return (
            min(batch_size, MOST_ROWS) if self._on_cpu and share and beam_size == 1 else batch_size
        )

    def _run_at_once(self, batch: Batch, options: SearchOptions) -> tuple[Found, float]:
        request, capacity = self.request(*batch)
        # A step reads the whole cache, and few translations are much longer than their sources.
        length = request.source.shape[1]
        found, seconds = self.find(request, min(capacity, length + length // 2), options)
        rows = np.flatnonzero(~found.finished)
        if not rows.size:
            return found, seconds
        again = batch._replace(pieces=[batch.pieces[row] for row in rows])
        longer, more = self.find(*self.request(*again), options)
        return _replaced(found, rows, longer, self.config.pad_id), seconds + more

    def find(self, request: Request, capacity: int, options: SearchOptions) -> tuple[Found, float]:
        """What a search with room for so many tokens finds, as numpy arrays, and the seconds it ran."""
        rows = len(request.source) * options.beam_size
        screen = self._screen if rows == 1 and not options.with_scores else None
        program = self.programs.get(
            screen,
            request,
            kernels=kernels_for(rows, options.beam_size, screened=screen is not None),
            capacity=capacity,
            options=options,
        )
        began = time.perf_counter()
        found = Found(*map(np.asarray, program(screen, request)))
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
        capacity = min(max(2 * length + 32, max_length or 0), positions - 2)
        source = np.full((rows, length), self.config.pad_id, np.int32)
        for row, ids in enumerate(pieces):
            source[row, : len(ids)] = ids
        limits = np.zeros(rows, np.int32)
        limits[: len(pieces)] = self.limits(pieces, max_length)
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
        options: SearchOptions,
    ) -> Found:
        network = nnx.merge(self._graph, jax.tree.unflatten(self._structure, parameters))
        if options.beam_size > 1:
            return beam_search(
                network, request, capacity, options.beam_size, options.early_stopping
            )
        return greedy(network, request, capacity, options.with_scores, screen)


def _joined(parts: list[Found], pad_id: int) -> Found:
    """What was found in parts of a batch, one after another."""
    if len(parts) == 1:
        return parts[0]
    most = max(part.tokens.shape[1] for part in parts)
    wide = [
        np.pad(part.tokens, ((0, 0), (0, most - part.tokens.shape[1])), constant_values=pad_id)
        for part in parts
    ]
    # Rows that only fill a part are the last one's.
    return Found(
        np.concatenate(wide), *map(np.concatenate, zip(*(part[1:] for part in parts), strict=True))
    )


def _replaced(found: Found, rows: np.ndarray, others: Found, pad_id: int) -> Found:
    """What was found, with the first of `others`, which had more capacity, in the place of these rows."""
    tokens = np.full((len(found.tokens), others.tokens.shape[1]), pad_id, np.int32)
    tokens[:, : found.tokens.shape[1]] = found.tokens
    merged = Found(tokens, *(array.copy() for array in found[1:]))
    for array, new in zip(merged, others, strict=True):
        array[rows] = new[: len(rows)]
    return merged
