"""Traces: the routing of translations, as the network itself returned it, in one tidy table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import numpy as np
import pandas as pd
from flax import nnx
from pandas.api.types import union_categoricals

from workbench.arguments import as_count, as_one, as_texts
from workbench.decoding.programs import BATCHES, LENGTHS, bucket
from workbench.decoding.system import Translation
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.tasks import Task
from workbench.wording import counted

#: The columns of the tidy table, and their types.
TYPES: dict[str, Any] = {
    "sentence": "int32",
    "task": "category",
    "stack": "category",
    "layer": "int16",
    "position": "int32",
    "token": "category",
    "rank": "int8",
    "expert": "int16",
    "gate": "float32",
}
COLUMNS = tuple(TYPES)


@dataclass(frozen=True, eq=False)
class Routes:
    """The routing of sentences of one or more tasks.

    frame: the tidy table, a row for each sentence, layer with experts, token and chosen expert: `sentence`
    (its number), `task`, `stack` (encoder or decoder), `layer` (from 0), `position` and `token` (what went in at
    that position; in the decoder, the token just read), `rank` (0: first choice), `expert`, `gate` (weight of
    that expert's output). Padding has no rows.
    sources, translations: the sentences; a blank sentence has no rows, nor has one whose given reference is blank.
    layers: the layers with experts of each stack, and `experts` how many the largest of them has;
    experts_by_layer: (stack, layer) -> how many that one has, where layers differ. cut: the numbers of sentences that
    are longer than the network's positions, so that their tokens beyond have no rows. model: the network's name.
    """

    frame: pd.DataFrame
    tasks: tuple[Task, ...]
    sources: tuple[str, ...]
    translations: tuple[str, ...]
    layers: dict[str, tuple[int, ...]]
    experts: dict[str, int]
    experts_by_layer: dict[tuple[str, int], int] = field(default_factory=dict)
    cut: tuple[int, ...] = ()
    model: str = ""

    def __repr__(self) -> str:
        of = str(self.tasks[0]) if len(self.tasks) == 1 else counted(len(self.tasks), "task")
        layers = sum(map(len, self.layers.values()))
        return (
            f"Routes({counted(len(self.sources), 'sentence')} of {of}, {counted(layers, 'layer')} with experts,"
            f" {counted(len(self.frame), 'row')})"
        )

    def experts_in(self, stack: str, layer: int) -> int:
        """Experts of one layer."""
        return self.experts_by_layer.get((stack, layer), self.experts[stack])

    def to_frame(self) -> pd.DataFrame:
        """The tidy table, as described above, to do with as one likes."""
        return self.frame.copy()

    def only(self, tasks: Sequence[Task]) -> Routes:
        """The routes of some of the tasks; sentences keep their numbers."""
        named = set(map(str, tasks))
        frame = self.frame[self.frame["task"].astype(str).isin(named)].reset_index(drop=True)
        return replace(self, frame=frame, tasks=tuple(t for t in self.tasks if str(t) in named))

    def __add__(self, other: Routes) -> Routes:
        """Both together; the sentences of `other` are numbered on."""
        other = as_one(other, Routes, "what is added", "routes")
        if (self.layers, self.experts, self.experts_by_layer) != (
            other.layers,
            other.experts,
            other.experts_by_layer,
        ):
            raise WorkbenchError("Routes of networks with different experts cannot be joined.")
        if self.model and other.model and self.model != other.model:
            raise WorkbenchError(f"Routes of {self.model} and of {other.model} cannot be joined.")
        moved = other.frame.assign(sentence=other.frame["sentence"] + len(self.sources))
        tasks = tuple(dict.fromkeys(self.tasks + other.tasks))
        return Routes(
            _joined(self.frame, moved),
            tasks,
            self.sources + other.sources,
            self.translations + other.translations,
            self.layers,
            self.experts,
            self.experts_by_layer,
            self.cut + tuple(len(self.sources) + number for number in other.cut),
            self.model or other.model,
        )


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The rows of both tables."""
    if first.empty or second.empty:
        return second if first.empty else first
    labels = ["task", "stack", "token"]
    numbers = [frame.drop(columns=labels) for frame in (first, second)]
    frame = pd.concat(numbers, ignore_index=True)
    for label in labels:  # concat would write each out where the two do not have the same ones
        frame[label] = union_categoricals([first[label], second[label]], sort_categories=True)
    return frame[list(COLUMNS)]


def trace_routes(
    model: Translator,
    sources: str | Sequence[str],
    source: str,
    target: str,
    references: str | Sequence[str] | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Routes:
    """The routing of the model's own translations of `sources`, or of given `references`.

    References that are `Translation`s keep the tokens they were written in, and the parts that a long text was split
    into: each is traced with the source it was written from, and positions are counted on. Plain text is tokenised; with
    it a sentence longer than the network's positions is cut there: its tokens beyond have no rows, `Routes.cut` names it.
    progress: called with (sentences done, sentences in all), blank ones left out. One that is translated and not
    yet traced is half done.

    Raises:
        WorkbenchError: the model has no experts, does not translate the direction, or there are not as many
            references as sources.
    """
    model = as_one(model, Translator, "model", "a loaded model")
    task = model.task(source, target)
    if model.config.is_dense:
        raise WorkbenchError(f"{model.name} is dense: it has no experts, so nothing is routed.")
    texts = as_texts(sources, "sources")
    batch_size = as_count(batch_size, "batch_size")
    references = None if references is None else as_texts(references, "references")
    if references is not None and len(references) != len(texts):
        raise WorkbenchError(
            f"There are {counted(len(texts), 'source')} but {counted(len(references), 'reference')}."
        )
    source_ids = model.tokenizer.encode_sources(texts, task.source)
    translated = 0
    if references is None:
        translated = sum(len(ids) > 2 for ids in source_ids)
        references = model.translate(
            texts,
            task.source,
            task.target,
            batch_size=batch_size,
            progress=progress
            and (lambda done, total: progress(done * translated // (2 * total), translated)),
        )
    # A translation has its tokens.
    plain = ["" if isinstance(line, Translation) else line for line in references]
    target_ids = model.tokenizer.encode_targets(plain, task.target)
    language = model.tokenizer.language_id(task.target)
    units = [
        unit
        for i, line in enumerate(references)
        if len(source_ids[i]) > 2 and (isinstance(line, Translation) or line.strip())
        for unit in _units(i, source_ids[i], target_ids[i], line, language)
    ]
    longest = model.config.max_positions
    cut = tuple(sorted({u.sentence for u in units if max(map(len, u.ids)) > longest}))
    units = [unit.up_to(longest) for unit in units]
    written = [str(line) for line in references]

    units.sort(key=lambda unit: sum(map(len, unit.ids)))
    run = _program(model)
    frames: list[pd.DataFrame] = []
    sentences = len({unit.sentence for unit in units})
    for first in range(0, len(units), batch_size):
        chosen = units[first : first + batch_size]
        frames += run(chosen, task, batch_size)
        if progress:
            traced = (first + len(chosen)) * sentences // len(units)
            progress((translated + traced) // 2 if translated else traced, sentences)
    empty = pd.DataFrame({column: [] for column in COLUMNS})
    frame = pd.concat(frames, ignore_index=True) if frames else empty
    frame = frame.sort_values(["sentence", "stack", "layer", "position", "rank"], ignore_index=True)
    return Routes(
        _compact(frame, model, task),
        (task,),
        tuple(texts),
        tuple(written),
        {name: stack.expert_layers for name, stack in model.config.stacks if stack.router},
        {name: stack.experts for name, stack in model.config.stacks if stack.router},
        {
            (name, layer): stack.experts_in(layer)
            for name, stack in model.config.stacks
            if stack.experts_by_layer
            for layer in stack.expert_layers
        },
        cut,
        model.name,
    )


#: One for each model as long as that lives, so that no shape is compiled twice.
_PROGRAMS: WeakKeyDictionary[Translator, Callable[..., list[pd.DataFrame]]] = WeakKeyDictionary()


def _program(model: Translator) -> Callable[..., list[pd.DataFrame]]:
    """A function that gives the tables of a batch, one a layer with experts."""
    if model not in _PROGRAMS:
        _PROGRAMS[model] = _make_program(model)
    return _PROGRAMS[model]


def _make_program(model: Translator) -> Callable[..., list[pd.DataFrame]]:
    config = model.config
    graph, parameters = nnx.split(model.network)
    pad = config.pad_id

    @jax.jit
    def routing(
        parameters: Any, source: Any, target: Any, encoder_ids: Any, decoder_ids: Any
    ) -> Any:
        found = nnx.merge(graph, parameters)(source, target, encoder_ids, decoder_ids)[1]
        # The decision alone: logits over all experts would be many times larger.
        return jax.tree.map(
            lambda layer: (layer.experts, layer.gates), found, is_leaf=lambda x: hasattr(x, "gates")
        )

    def run(chosen: Sequence[_Unit], task: Task, batch_size: int) -> list[pd.DataFrame]:
        rows = min(bucket(len(chosen), BATCHES), max(batch_size, len(chosen)))
        # The decoder reads the end token, then all but the last of what it writes.
        inputs = {
            "encoder": [list(unit.ids[0]) for unit in chosen],
            "decoder": [[config.eos_id, *unit.ids[1][:-1]] for unit in chosen],
        }
        arrays = {}
        for stack, ids in inputs.items():
            length = bucket(max(map(len, ids)), LENGTHS)
            arrays[stack] = np.full((rows, length), pad, np.int32)
            for row, tokens in enumerate(ids):
                arrays[stack][row, : len(tokens)] = tokens
        task_ids = [np.full(rows, i, np.int32) for i in config.task_ids(task)]
        found = jax.device_get(routing(parameters, arrays["encoder"], arrays["decoder"], *task_ids))
        return [
            _table(
                np.array([(unit.sentence, unit.before[side]) for unit in chosen]),
                inputs[name],
                stack.expert_layers[index],
                name,
                *layer,
            )
            for side, (name, stack) in enumerate(config.stacks)
            for index, layer in enumerate(found[name])
        ]

    return run


class _Unit(NamedTuple):
    """What goes through the network at once: a sentence, or a part of one that was translated on its own.

    ids: its tokens, read and written (language token first). before: tokens of the sentence's earlier parts in the
    encoder and in the decoder.
    """

    sentence: int
    ids: tuple[Sequence[int], Sequence[int]]
    before: tuple[int, int] = (0, 0)

    def up_to(self, longest: int) -> _Unit:
        return self._replace(ids=(self.ids[0][:longest], self.ids[1][:longest]))


def _units(
    sentence: int, source: Sequence[int], target: Sequence[int], line: str, language: int
) -> Iterator[_Unit]:
    """The sentence as it was translated: a translation keeps its tokens and its parts, a plain text is one."""
    if not isinstance(line, Translation):
        yield _Unit(sentence, (source, target))
        return
    before = (0, 0)
    for read, written in line.parts or ((tuple(source), ()),):
        yield _Unit(sentence, (read, (language, *written)), before)
        before = before[0] + len(read), before[1] + len(written) + 1


def _table(
    places: np.ndarray,
    ids: Sequence[Sequence[int]],
    layer: int,
    stack: str,
    experts: np.ndarray,
    gates: np.ndarray,
) -> pd.DataFrame:
    """Rows of one layer: experts and gates [B, T or 1, K] of token ids `ids`; places [B, 2]: their sentences, and how many
    tokens stand before them.
    """
    lengths = np.array([len(tokens) for tokens in ids])
    rows = np.repeat(np.arange(len(ids)), lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    where = np.minimum(positions, experts.shape[1] - 1)
    top_k = experts.shape[2]
    repeat = lambda values: np.repeat(values, top_k)  # noqa: E731
    return pd.DataFrame(
        {
            "sentence": repeat(places[rows, 0]),
            "stack": stack,
            "layer": layer,
            "position": repeat(positions + places[rows, 1]),
            "token": repeat(np.concatenate([np.asarray(tokens) for tokens in ids])),
            "rank": np.tile(np.arange(top_k), len(rows)),
            "expert": experts[rows, where].reshape(-1),
            "gate": gates[rows, where].reshape(-1),
        }
    )


def _compact(frame: pd.DataFrame, model: Translator, task: Task) -> pd.DataFrame:
    """The table with tokens as text, in its columns' order and their smallest sensible types."""
    tokens = frame["token"].astype("int64")
    names = {i: model.tokenizer.token(int(i)) for i in tokens.unique()}
    frame = frame.assign(task=str(task), token=tokens.map(names))
    return frame[list(TYPES)].astype(TYPES)
