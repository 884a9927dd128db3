"""Systems: whatever translates sentences of one language into another, on this engine or on another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from workbench.arguments import as_texts, as_whole
from workbench.checkpoint.components import parameters_by_component
from workbench.config import ModelConfig
from workbench.decoding.search import Found, SearchOptions
from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.tasks import Task
from workbench.text.segmentation import split_sentences
from workbench.text.tokenizer import Tokenizer
from workbench.wording import counted

#: Rows of a beam search, at most.
MOST_BEAMS = 32


class Translation(str):
    """A translation: its text, with what is known about it.

    token_ids: what the network wrote after the language token, the end token included; for a text that was
    split, those of its parts one after another. parts: of each part that was translated on its own, the token ids that
    were read and those that were written. tokens: token_ids as pieces of text. score: mean log-probability
    of a token in nats. seconds: its share of the time its batch ran; compile_seconds: time spent compiling
    programs for this call, the same for all of its translations. truncated: whether the limit cut it short.
    """

    token_ids: tuple[int, ...]
    parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    tokens: tuple[str, ...]
    score: float
    seconds: float
    compile_seconds: float
    truncated: bool

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)


class Batch(NamedTuple):
    """What a system translates at once.

    pieces: token ids of sources, the language's first and the end token last, shortest first. task: their direction.
    size: most pieces in a batch of this call. max_length: as given to `System.translate`.
    """

    pieces: list[list[int]]
    task: Task
    size: int
    max_length: int | None


class System(ABC):
    """A network with its tokenizer, ready to translate; what runs the network is for the subclass to say.

    name: what tables call it. config: the network's.
    """

    def __init__(self, name: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
        self.name, self.config, self.tokenizer = name, config, tokenizer
        self._token_names: dict[int, str] = {}

    def __repr__(self) -> str:
        tasks = self.config.directions
        which = str(tasks[0]) if len(tasks) == 1 else counted(len(tasks), "direction")
        stacks = [
            f"{name} {'dense' if stack.router is None else f'routed by {stack.router.granularity}'}"
            for name, stack in self.config.stacks
        ]
        parameters = sum(parameters_by_component(self.config).values())
        return (
            f"{type(self).__name__}({self.name}: {which}, {', '.join(stacks)}, {parameters:,} parameters,"
            f" {self.dtype})"
        )

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it computes, e.g. `cpu` or `NVIDIA H100 80GB HBM3`."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """What it computes in."""

    @property
    def compile_seconds(self) -> float:
        """Spent on compiling so far; nothing where programs are not compiled."""
        return 0.0

    @abstractmethod
    def _run(self, batch: Batch, options: SearchOptions) -> tuple[Found, float]:
        """Translate one batch: what was found, as numpy arrays, and the seconds it ran."""

    def task(self, source: str, target: str) -> Task:
        """The task from `source` to `target`, written in any accepted way.

        Raises:
            WorkbenchError: a language is unknown, or this checkpoint does not translate the direction.
        """
        for side, language in (("source", source), ("target", target)):
            if not isinstance(language, str):
                raise WorkbenchError(
                    f"{side} is {language!r:.40}: give a language as text, e.g. en, eng_Latn or English."
                )
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
        early_stopping: bool = False,
        by_sentence: bool = False,
    ) -> list[Translation]:
        """Translate sentences, in order; an empty or blank one gives an empty translation.

        A text longer than the network's positions is split into sentences, translated and joined again. A network
        that was trained on single sentences tends to make one of several, and to leave things out.
        How sentences are batched or padded does not change their translations. In bfloat16 it may: programs of other
        shapes round otherwise, and such a network has many close choices.

        Args:
            sentences: one or many.
            source, target: languages, as codes, aliases or names.
            beam_size: 1, greedy search; else the rows of a beam search, see `workbench.decoding.beam`.
            batch_size: sentences translated at once, at most.
            max_length: tokens of one translation, at most; default twice its source's tokens plus 32.
            progress: called with (sentences done, sentences in all) after each batch.
            with_scores: whether to compute scores; without, they are NaN.
            early_stopping: end a beam search as soon as `beam_size` translations are finished.
            by_sentence: split every text, not only those that are too long.

        Raises:
            WorkbenchError: an unknown direction, an argument out of range, or a sentence that is no text.
        """
        task = self.task(source, target)
        texts = as_texts(sentences, "sentences")
        beam_size = as_whole(beam_size, "beam_size")
        batch_size = as_whole(batch_size, "batch_size")
        if max_length is not None:
            max_length = as_whole(max_length, "max_length")
        if not 1 <= beam_size <= MOST_BEAMS:
            raise WorkbenchError(f"beam_size is {beam_size}: it must be from 1 to {MOST_BEAMS}.")
        if batch_size < 1 or (max_length is not None and max_length < 1):
            raise WorkbenchError(
                f"batch_size ({batch_size}) and max_length ({max_length}) must be at least 1."
            )
        options = SearchOptions(beam_size, early_stopping and beam_size > 1, with_scores)
        pieces, owners = self._pieces(texts, task.source, by_sentence)
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
        results: list[_Piece | None] = [None] * len(pieces)
        compiled_before = self.compile_seconds
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            found, seconds = self._run(
                Batch([pieces[i] for i in chosen], task, batch_size, max_length), options
            )
            for row, i in enumerate(chosen):
                results[i] = _Piece(pieces[i], found, row, seconds / len(chosen))
            if progress:
                progress(first + len(chosen), len(order))
        compile_seconds = self.compile_seconds - compiled_before
        grouped: list[list[_Piece]] = [[] for _ in texts]
        for owner, piece in zip(owners, results, strict=True):
            assert piece is not None
            grouped[owner].append(piece)
        joiner = "" if task.target.startswith(("zho", "jpn", "tha", "yue")) else " "
        return [self._join(parts, joiner, compile_seconds, with_scores) for parts in grouped]

    def _pieces(
        self, texts: Sequence[str], source: str, by_sentence: bool
    ) -> tuple[list[list[int]], list[int]]:
        """Token ids of every piece that is translated on its own, and the text that each belongs to."""
        longest = self.config.max_positions
        pieces: list[list[int]] = []
        owners: list[int] = []

        def fits(part: str) -> bool:
            return len(self.tokenizer.encode_source(part, source)) <= longest

        encoded = self.tokenizer.encode_sources(texts, source)
        for owner, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
            parts = [ids]
            if by_sentence or len(ids) > longest:
                cut = [part.strip() for part in split_sentences(text, fits)]
                parts = self.tokenizer.encode_sources(cut, source)
            # Without a token between the language and the end there is nothing to translate.
            parts = [part for part in parts if len(part) > 2]
            pieces += parts
            owners += [owner] * len(parts)
        return pieces, owners

    def limits(self, pieces: Sequence[Sequence[int]], max_length: int | None) -> list[int]:
        """Tokens to write for each piece, at most, the end token included."""
        most = self.config.max_positions - 2
        return [min(max_length or 2 * len(ids) + 32, most) for ids in pieces]

    def _join(
        self, parts: list[_Piece], joiner: str, compile_seconds: float, with_scores: bool
    ) -> Translation:
        ids = [part.token_ids for part in parts]
        translation = Translation(joiner.join(self.tokenizer.decode(part) for part in ids))
        translation.token_ids = tuple(token for part in ids for token in part)
        translation.parts = tuple(
            (tuple(part.source), written)
            for part, written in zip(parts, map(tuple, ids), strict=True)
        )
        translation.tokens = tuple(map(self._token, translation.token_ids))
        total = sum(float(part.found.scores[part.row]) for part in parts)
        count = max(1, len(translation.token_ids))
        translation.score = total / count if with_scores else float("nan")
        translation.seconds = sum(part.seconds for part in parts)
        translation.compile_seconds = compile_seconds
        translation.truncated = any(part[-1] != self.config.eos_id for part in ids)
        return translation

    def _token(self, token_id: int) -> str:
        if token_id not in self._token_names:
            # Published networks have a few more rows than their tokenizer has tokens.
            known = token_id < self.tokenizer.vocab_size
            self._token_names[token_id] = (
                self.tokenizer.token(token_id) if known else f"<{token_id}>"
            )
        return self._token_names[token_id]


class _Piece:
    """One row of a batch's result."""

    def __init__(self, source: list[int], found: Found, row: int, seconds: float) -> None:
        self.source, self.found, self.row, self.seconds = source, found, row, seconds
        self.token_ids = [int(t) for t in found.tokens[row, : int(found.lengths[row])]]
