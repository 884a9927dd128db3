"""The proof of a sub-network: same tokens as its parent, and by how much the logits differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx

from workbench.arguments import as_one, as_texts
from workbench.decoding.programs import LENGTHS, bucket
from workbench.decoding.system import Translation
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.network import TranslationNetwork
from workbench.subnetworks.extract import parameter_count
from workbench.tasks import Task, as_task
from workbench.wording import counted

#: Two best logits closer than this may swap by rounding: a tie (float32).
TIE = 1e-4
#: Logits may differ by this share of the parent's largest one by rounding, for each type computed in. In float32 an
#: extraction's differ by a hundredth of that; in bfloat16 by about 0.01, and a change of that size goes unseen.
ROUNDING = {"float32": 1e-4, "bfloat16": 0.05}


@dataclass(frozen=True)
class Unequal:
    """Where the two translations of a sentence part.

    sentence: its number, from 0. source: its text. position: of the first unequal token, from 0. parent_token, token:
    the parent's and the smaller network's, empty where that one has no more. margin: between the parent's two best
    logits there; None of a text that was translated in pieces. tie: whether that margin is rounding's.
    """

    sentence: int
    source: str
    position: int
    parent_token: str
    token: str
    margin: float | None
    tie: bool


@dataclass(frozen=True)
class Proof:
    """What was compared, and what came out.

    sentences: translated by both, greedily. identical: sentences with equal tokens. ties: the other sentences where, at
    the first unequal token, the parent's two best logits lie within 1e-4. different: the rest; zero in a sound
    extraction. largest_logit_difference: over all tokens of the parent's translations, both networks reading the
    same; infinite where a logit is NaN. parameters_before, parameters_after: of the parent and of the smaller network.
    tied, differing: numbers of sentences, from 0. logits_within: the largest difference of logits that is rounding, see
    `prove`.
    unequal: where each of those sentences parts from the parent's.

    `holds` says whether it is proved; `to_json` has that and, as `tie_within`, the margin of a tie too.
    """

    task: str
    parent: str
    sentences: int
    identical: int
    ties: int
    different: int
    largest_logit_difference: float
    parameters_before: int
    parameters_after: int
    tied: tuple[int, ...]
    differing: tuple[int, ...]
    logits_within: float = TIE
    unequal: tuple[Unequal, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no sentence differs but by a tie, and no logit by more than rounding."""
        return self.different == 0 and self._rounded

    @property
    def _rounded(self) -> bool:
        """Whether logits differ by rounding alone; if one is NaN or infinite, nobody knows."""
        return self.largest_logit_difference <= self.logits_within < math.inf

    @property
    def objection(self) -> str:
        """Why it does not hold, as a sentence for a person; empty where it does."""
        if self.holds:
            return ""
        if self.different:
            differ = "differs" if self.different == 1 else "differ"
            return (
                f"{counted(self.different, 'sentence')} of {self.task} {differ} from {self.parent}'s, e.g. number"
                f" {self.differing[0]}."
            )
        return (
            f"No sentence of {self.task} differs from {self.parent}'s but by a tie, yet logits differ by"
            f" {self.largest_logit_difference:.2g}, and rounding explains {self.logits_within:.2g} at most."
        )

    def to_json(self) -> dict[str, Any]:
        """As plain numbers, strings and lists; a difference that is no number as null."""
        table = asdict(self) | {"holds": self.holds, "tie_within": TIE}
        numbers = ("largest_logit_difference", "logits_within")
        return table | {
            name: table[name] if math.isfinite(table[name]) else None for name in numbers
        }

    def __str__(self) -> str:
        saved = 1 - self.parameters_after / self.parameters_before
        verdict = "proved" if self.holds else "NOT PROVED"
        beyond = "" if self._rounded else f" (rounding: {self.logits_within:.2g} at most)"
        return (
            f"{verdict}: {self.task}, {self.identical} of {counted(self.sentences, 'sentence')} token for token"
            f" equal to {self.parent}, {counted(self.ties, 'tie')}, {self.different} different;"
            f" largest logit difference {self.largest_logit_difference:.2g}{beyond};"
            f" {self.parameters_before:,} -> {self.parameters_after:,} parameters ({saved:.1%} fewer)"
        )


def prove(
    parent: Translator,
    small: Translator,
    sources: str | Sequence[str],
    task: Task | str,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Proof:
    """Translate `sources` with both and compare, token by token and logit by logit.

    It holds if no sentence differs but by a tie, and if no logit differs by more than rounding explains: 0.0001 of the
    parent's largest logit. In bfloat16 that is 0.05 of it, and rounding alone makes some sentences differ: prove in
    float32 what shall be shipped.

    Args:
        parent, small: the network and what was made from it.
        sources: one sentence or many; blank ones are left out.
        task: the direction, also as text.
        batch_size: sentences at once.
        progress: called with (sentences done, sentences in all), each network counting.

    Raises:
        WorkbenchError: there is nothing to compare, one is no model, or the two do not have the same tokens.
    """
    for name, model in (("parent", parent), ("small", small)):
        as_one(model, Translator, name, "a loaded model")
    task = as_task(task, parent.config.languages)
    texts = [text for text in as_texts(sources, "sources") if text.strip()]
    if not texts:
        raise WorkbenchError("A proof needs at least one sentence.")
    if parent.config.vocabulary != small.config.vocabulary:
        raise WorkbenchError(
            f"{small.name} was not made from {parent.name}: they have {small.config.vocabulary:,} and"
            f" {parent.config.vocabulary:,} tokens."
        )
    outputs: list[list[Translation]] = []
    for index, model in enumerate((parent, small)):
        outputs.append(
            model.translate(
                texts,
                task.source,
                task.target,
                batch_size=batch_size,
                with_scores=False,
                progress=progress
                and (lambda done, total, index=index: progress(index * total + done, 2 * total)),  # type: ignore[misc]
            )
        )
    parting = {
        number: next(i for i, (x, y) in enumerate(zip_longest(a.token_ids, b.token_ids)) if x != y)
        for number, (a, b) in enumerate(zip(*outputs, strict=True))
        if a.token_ids != b.token_ids
    }
    difference, size, margins = _compare_logits(
        parent, small, texts, outputs[0], task, batch_size, parting
    )
    unequal = []
    for number, first in parting.items():
        a, b = (_token_at(output[number], first) for output in outputs)
        margin = margins.get(number)
        tie = margin is not None and margin <= TIE
        unequal.append(Unequal(number, texts[number], first, a, b, margin, tie))
    tied = tuple(each.sentence for each in unequal if each.tie)
    differing = tuple(each.sentence for each in unequal if not each.tie)
    return Proof(
        task=str(task),
        parent=parent.name,
        sentences=len(texts),
        identical=len(texts) - len(tied) - len(differing),
        ties=len(tied),
        different=len(differing),
        largest_logit_difference=difference,
        parameters_before=parameter_count(parent.config),
        parameters_after=parameter_count(small.config),
        tied=tied,
        differing=differing,
        logits_within=size * max(ROUNDING[model.dtype] for model in (parent, small)),
        unequal=tuple(unequal),
    )


def proofs_table(proofs: Sequence[Proof]) -> pd.DataFrame:
    """A row for each proof: columns task, sentences, identical, ties, different, largest_logit_difference,
    logits_within and holds.
    """
    columns = (
        "task",
        "sentences",
        "identical",
        "ties",
        "different",
        "largest_logit_difference",
        "logits_within",
        "holds",
    )
    rows = [[getattr(proof, column) for column in columns] for proof in proofs]
    return pd.DataFrame(rows, columns=list(columns))


def unequal_table(proofs: Sequence[Proof]) -> pd.DataFrame:
    """A row for each sentence that is not equal token for token: its task, and what `Unequal` says of it."""
    columns = ["task", *Unequal.__dataclass_fields__]
    rows = [{"task": proof.task} | asdict(each) for proof in proofs for each in proof.unequal]
    return pd.DataFrame(rows, columns=columns)


def _token_at(translation: Translation, position: int) -> str:
    tokens = translation.tokens
    return tokens[position] if position < len(tokens) else ""


def _compare_logits(
    parent: Translator,
    small: Translator,
    texts: Sequence[str],
    outputs: Sequence[Translation],
    task: Task,
    batch_size: int,
    asked: Mapping[int, int],
) -> tuple[float, float, dict[int, float]]:
    """What the parent's tokens show: the largest difference of logits, the parent's largest logit without its sign,
    and, by sentence, the margin at the token that is asked for, where it has one.
    """
    pad, eos = parent.config.pad_id, parent.config.eos_id
    language = parent.tokenizer.language_id(task.target)
    longest = parent.config.max_positions
    graphs = [nnx.split(model.network) for model in (parent, small)]

    @jax.jit
    def compare(states: Any, source: Any, target: Any, ids: Any, counted: Any) -> Any:
        logits = []
        for (graph, _), state, (encoder_id, decoder_id) in zip(graphs, states, ids, strict=True):
            network: TranslationNetwork = nnx.merge(graph, state)
            rows = jnp.zeros(source.shape[0], jnp.int32)
            hidden, _ = network(source, target, rows + encoder_id, rows + decoder_id)
            logits.append(network.logits(hidden))
        # Not top_k, which takes minutes for this on CPU.
        best = logits[0].max(axis=-1, keepdims=True)
        alike = logits[0] == best
        second = jnp.where(alike, -jnp.inf, logits[0]).max(axis=-1)
        margin = jnp.where(alike.sum(axis=-1) > 1, 0, best[..., 0] - second)
        gap = jnp.abs(logits[0] - logits[1])
        # A maximum on CPU may pass over NaN.
        gap = jnp.where(jnp.isnan(gap), jnp.inf, gap).max(axis=-1)
        size = jnp.abs(logits[0]).max(axis=-1)
        return *(jnp.where(counted, each, 0).max() for each in (gap, size)), margin

    ids = [model.config.task_ids(task) for model in (parent, small)]
    sources = parent.tokenizer.encode_sources(list(texts), task.source)
    # A text that was translated in pieces has no single forward pass to compare.
    whole = [i for i, s in enumerate(sources) if len(s) <= longest and outputs[i].token_ids]
    whole.sort(key=lambda i: len(sources[i]))
    largest, most = 0.0, 0.0
    margins: dict[int, float] = {}
    for first in range(0, len(whole), batch_size):
        chosen = whole[first : first + batch_size]
        request, _ = parent.request([sources[i] for i in chosen], task, batch_size)
        width = bucket(1 + max(len(outputs[i].token_ids) for i in chosen), LENGTHS)
        target = np.full((len(request.source), width), pad, np.int32)
        for row, i in enumerate(chosen):
            tokens = [eos, language, *outputs[i].token_ids[:-1]]
            target[row, : len(tokens)] = tokens
        # Position 0 foretells the language token, which is given and never chosen.
        counted = (target != pad) & (np.arange(target.shape[1]) > 0)
        gap, size, margin = compare([s for _, s in graphs], request.source, target, ids, counted)
        largest, most = max(largest, float(gap)), max(most, float(size))
        margin = np.asarray(margin)
        for row, i in enumerate(chosen):
            if i in asked and asked[i] < len(outputs[i].token_ids):
                margins[i] = float(margin[row, asked[i] + 1])
    return largest, most, margins
