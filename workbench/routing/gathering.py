"""Gathering: the statistics of a model's gates on a corpus, summed on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.arguments import as_count, as_one, as_texts
from workbench.decoding.programs import BATCHES, LENGTHS, bucket
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.routers import Routing
from workbench.routing.statistics import Statistics, routed_layers
from workbench.tasks import Task, as_task
from workbench.wording import counted


@runtime_checkable
class Parallel(Protocol):
    """Lines with their direction, as a `TestSet` has them."""

    @property
    def name(self) -> str:
        """What messages call them."""

    @property
    def task(self) -> Task:
        """Their direction."""

    @property
    def sources(self) -> Sequence[str]:
        """Lines of the one side."""

    @property
    def references(self) -> Sequence[str]:
        """Lines of the other."""


#: Source lines, and reference lines; None for these where the model's own translations shall be read.
Lines = tuple[Sequence[str], Sequence[str] | None]
#: Lines by task.
Corpus = (
    Mapping[Task, Lines | Parallel]
    | Mapping[str, Lines | Parallel]
    | Mapping[Task | str, Lines | Parallel]
)


def gather_statistics(
    model: Translator,
    corpus: Parallel | Corpus,
    batch_size: int = 32,
    products: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Statistics of every task of `corpus`, over all of its tokens but padding.

    The encoder reads the sources; the decoder the references or, where there are none, the model's own greedy
    translations, which is what Koishekenov et al. did with beam search. Lines that are blank on either side are left
    out.

    Args:
        model: whose gates; it needs experts.
        corpus: direction, also as text -> its lines: a `TestSet`, or a pair of source lines and reference lines, with
            None for the latter where the model's own translations shall be read:
            `{"en-de": (sources, references), "en-fr": (sources, None)}`. Or one `TestSet` alone.
        batch_size: sentences at once.
        products: whether to average the products of logits too, for grouping experts that are alike: the
            method "mc-smoe" of `merge` wants them.
        progress: called with (sentences done, sentences in all).

    Raises:
        WorkbenchError: the model has no experts, lacks a task, or a task has no sentence or no lines.
    """
    model = as_one(model, Translator, "model", "a loaded model")
    if model.config.is_dense:
        raise WorkbenchError(f"{model.name} is dense: it has no experts, so nothing is routed.")
    layers, experts = routed_layers(model.config)
    lines = _lines(model, corpus)
    batch_size = as_count(batch_size, "batch_size")
    total = sum(len(sources) for sources, _ in lines.values())
    done = 0
    rows: list[dict[str, np.ndarray]] = []
    for task, (sources, references) in lines.items():
        batches = _batches(model, task, sources, references, batch_size)
        sums: dict[str, np.ndarray] = {}
        for count, arrays in batches:
            found = jax.device_get(_program(model, products)(model, task, arrays))
            for key, value in _stacked(found, max(experts)).items():
                sums[key] = sums.get(key, 0.0) + value
            done += count
            if progress:
                progress(min(done, total), total)
        rows.append(sums)
    sums = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    tokens = sums["tokens"][..., None]
    divided = lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=b > 0)  # noqa: E731
    return Statistics(
        top1=sums["first"] / tokens,
        top2=sums["best"] / tokens,
        conf1=divided(sums["first_gate"], sums["first"]),
        conf2=divided(sums["best_gate"], sums["best"]),
        mean=sums["gate"] / tokens,
        tasks=tuple(map(str, lines)),
        layers=layers,
        experts=experts,
        products=sums["products"] / tokens[..., None] if products else None,
        origin="references"
        if all(references is not None for _, references in lines.values())
        else "translations",
        model=model.name,
    )


def _lines(model: Translator, corpus: Parallel | Corpus) -> dict[Task, Lines]:
    """Source and reference lines by task. Raises as `gather_statistics`."""
    if isinstance(corpus, Parallel):
        corpus = {corpus.task: corpus}
    if not isinstance(corpus, Mapping) or not corpus:
        raise WorkbenchError(
            "The corpus must be a TestSet, or a mapping of at least one task to its lines, e.g."
            ' {"en-de": (sources, references)}.'
        )
    found: dict[Task, Lines] = {}
    for key, given in corpus.items():
        task = as_task(key, model.config.languages)
        model.config.check_task(task)
        if task in found:
            raise WorkbenchError(f"The corpus has {task} twice: join its lines.")
        if isinstance(given, Parallel):
            if given.task != task:
                raise WorkbenchError(f"{given.name} is a test set of {given.task}, not of {task}.")
            given = given.sources, given.references
        if not isinstance(given, tuple | list) or len(given) != 2 or isinstance(given[0], str):
            raise WorkbenchError(
                f"The lines of {task} must be a TestSet or a pair: source lines, and reference lines or None."
            )
        sources, references = given
        found[task] = (
            as_texts(sources, "sources"),
            None if references is None else as_texts(references, "references"),
        )
    return found


def _batches(
    model: Translator,
    task: Task,
    sources: Sequence[str],
    references: Sequence[str] | None,
    batch_size: int,
) -> list[tuple[int, dict[str, np.ndarray]]]:
    """Padded token ids of each stack's inputs, batch by batch, sentences of like length together."""
    if references is not None and len(references) != len(sources):
        raise WorkbenchError(
            f"There are {counted(len(sources), 'source')} but {counted(len(references), 'reference')}."
        )
    sides = [sources] if references is None else [sources, references]
    kept = [i for i in range(len(sources)) if all(side[i].strip() for side in sides)]
    if not kept:
        raise WorkbenchError(f"There is no sentence of {task} to gather statistics on.")
    config, longest = model.config, model.config.max_positions
    texts = [sources[i] for i in kept]
    if references is None:
        written = model.translate(
            texts, task.source, task.target, batch_size=batch_size, with_scores=False
        )
        language = model.tokenizer.language_id(task.target)
        # A long text was translated in parts: each is read with what was written of it.
        whole = [(read, [language, *ids]) for line in written for read, ids in line.parts]
    else:
        inputs = model.tokenizer.encode_sources(texts, task.source)
        targets = model.tokenizer.encode_targets([references[i] for i in kept], task.target)
        whole = list(zip(map(tuple, inputs), targets, strict=True))
    # The decoder reads the end token, then all but the last of what it writes.
    pairs = sorted(
        ((ids[:longest], [config.eos_id, *own[:-1]][:longest]) for ids, own in whole),
        key=lambda pair: len(pair[0]) + len(pair[1]),
    )
    batches = []
    for first in range(0, len(pairs), batch_size):
        chosen = pairs[first : first + batch_size]
        rows = min(bucket(len(chosen), BATCHES), max(batch_size, len(chosen)))
        arrays = {}
        for side, stack in enumerate(("encoder", "decoder")):
            length = bucket(max(len(pair[side]) for pair in chosen), LENGTHS)
            arrays[stack] = np.full((rows, length), config.pad_id, np.int32)
            for row, pair in enumerate(chosen):
                arrays[stack][row, : len(pair[side])] = pair[side]
        batches.append((len(chosen), arrays))
    return batches


#: One for each model as long as that lives, so that no shape is compiled twice.
_PROGRAMS: WeakKeyDictionary[Translator, dict[bool, Callable[..., Any]]] = WeakKeyDictionary()


def _program(model: Translator, products: bool) -> Callable[..., Any]:
    programs = _PROGRAMS.setdefault(model, {})
    if products in programs:
        return programs[products]
    graph, parameters = nnx.split(model.network)
    pad = model.config.pad_id

    @jax.jit
    def sums(parameters: Any, source: Any, target: Any, encoder_ids: Any, decoder_ids: Any) -> Any:
        routing = nnx.merge(graph, parameters)(source, target, encoder_ids, decoder_ids)[1]
        masks = {"encoder": source != pad, "decoder": target != pad}
        return [
            _sums(layer, masks[stack], products)
            for stack in ("encoder", "decoder")
            for layer in routing[stack]
        ]

    def run(owner: Translator, task: Task, arrays: Mapping[str, np.ndarray]) -> Any:
        rows = len(arrays["encoder"])
        ids = [np.full(rows, i, np.int32) for i in owner.config.task_ids(task)]
        return sums(parameters, arrays["encoder"], arrays["decoder"], *ids)

    programs[products] = run
    return run


def _sums(routing: Routing, mask: jax.Array, products: bool) -> dict[str, jax.Array]:
    """Sums over the tokens where `mask` [B, T] is true; shares and gates of each expert [E]."""
    spread = routing.spread(mask.shape[1])
    probabilities, count = spread.probabilities, spread.probabilities.shape[-1]
    ranked = jax.lax.top_k(probabilities, min(2, count))[1]
    chosen = jax.nn.one_hot(ranked, count) * mask[..., None, None]
    first, best = chosen[:, :, 0], chosen.sum(axis=2)
    seen = mask[..., None].astype(probabilities.dtype)
    over = lambda values: values.sum(axis=(0, 1))  # noqa: E731
    found = {
        "tokens": mask.sum().astype(jnp.float32),
        "first": over(first),
        "best": over(best),
        "first_gate": over(first * probabilities),
        "best_gate": over(best * probabilities),
        "gate": over(seen * probabilities),
    }
    if products:
        logits = spread.logits * seen
        found["products"] = jnp.einsum("btd,bte->de", logits, logits)
    return found


def _stacked(layers: Sequence[Mapping[str, Any]], width: int) -> dict[str, np.ndarray]:
    """Layer by layer, in float64, experts padded with zeros to `width`."""
    return {
        key: np.stack(
            [
                np.pad(value, [(0, width - size) for size in value.shape]) if value.ndim else value
                for value in (np.asarray(layer[key], np.float64) for layer in layers)
            ]
        )
        for key in layers[0]
    }
