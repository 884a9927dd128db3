"""Recipes: everything that decides a training run, read from TOML and checked before it starts."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from workbench.config import ConfigError, ModelConfig, StackConfig
from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.nn.training_mode import SecondExpert, TrainingOptions
from workbench.tasks import Task, parse_task
from workbench.training.recipe_file import RecipeError, read_table, with_settings
from workbench.training.stacks import RoutingName, routed_stack

#: Of whole numbers: what fits into the int32 of arrays and counters. And layers of a stack, far beyond any use.
_LARGEST, _DEEPEST = 2**31 - 1, 1000


@dataclass(frozen=True)
class DataRecipe:
    """Which text, and how it becomes batches."""

    directory: str  # {split}.{language}[.gz] or {split}.{source}-{target}.{language}[.gz]; or a table, .tsv
    languages: tuple[str, ...]  # codes, aliases or names
    train: str = "train"  # the training split, a path from the directory; or a table, .tsv
    valid: str = "val"  # likewise to validate on; or "sacrebleu:wmt19", further names after commas
    pivot: str = ""  # only directions to and from this language; empty: every pair
    directions: tuple[str, ...] = ()  # instead of a pivot: just these, such as "en-de"
    vocabulary: int = 8000  # tokens in all, language codes included
    tokenizer: str = ""  # checkpoint whose tokenizer is taken; empty: trained on the training text
    tokenizer_temperature: float = (
        1.0  # languages are sampled for it in proportion to lines ** (1 / it)
    )
    tokenizer_lines: int = (
        0  # lines that it is trained on, in all languages together; 0: as many as there are
    )
    longest_ratio: float = (
        0.0  # pieces of a pair's longer side for one of the shorter, at most; 0: any
    )
    drop_identical: bool = False  # leave out pairs whose sides are the same text
    drop_duplicates: bool = False  # leave out pairs that came before in their direction
    temperature: float = 1.0  # directions are sampled in proportion to size ** (1 / temperature)
    batch_tokens: int = 4096  # padded tokens of one side of a batch
    buckets: tuple[int, ...] = (16, 24, 32, 64)  # lengths in tokens that batches are padded to


@dataclass(frozen=True)
class ModelRecipe:
    """The shape of the network."""

    d_model: int = 128
    heads: int = 4
    feed_forward: int = 512  # width of a dense block and of one expert
    encoder_layers: int = 2
    decoder_layers: int = 2
    encoder_routing: RoutingName = "dense"
    decoder_routing: RoutingName = "dense"
    experts: int = 8  # in each layer that has experts
    top_k: int = 2
    unit_gates: bool = False  # with top_k 1: gate 1 instead of the router's probability
    sparse_step: int = 2  # every n-th layer of a routed stack has experts
    max_positions: int = 256


@dataclass(frozen=True)
class ObjectiveRecipe:
    """What is minimised, and by what."""

    optimizer: Literal["adam", "adafactor"] = "adam"
    learning_rate: float = 2e-3  # at its highest
    schedule: Literal["constant", "linear", "inverse_sqrt"] = "linear"  # after the warm-up
    warmup_steps: int = 500
    # Largest global norm of the gradient; with adafactor, largest root mean square of an array's update.
    clip: float = 1.0
    weight_decay: float = 0.0  # adam's, decoupled (AdamW)
    compute: Literal["float32", "bfloat16"] = (
        "float32"  # routers and the weights kept are always float32
    )
    # Parts that a batch is worked through in, for less memory; each has its own capacity and load-balance loss.
    accumulate: int = 1
    label_smoothing: float = 0.1
    dropout: float = 0.1
    load_balance: float = 0.01  # weight of the load-balance loss
    router_z: float = 0.001  # weight of the router z-loss
    # These hold in training alone, see `workbench.nn.limits`; a translation never drops anything.
    capacity_factor: float = 0.0  # an expert takes so many even shares of choices; 0: any number
    second_expert: SecondExpert = "all"  # random: sent with probability 2 x gate; sampling: drawn
    expert_output_masking: float = 0.0  # share of tokens whose expert output is masked

    @property
    def options(self) -> TrainingOptions:
        """What the network does differently while it is trained so."""
        return TrainingOptions(
            self.dropout, self.capacity_factor, self.second_expert, self.expert_output_masking
        )


@dataclass(frozen=True)
class RunRecipe:
    """How long, from where, and how often it reports."""

    steps: int = 1000
    seed: int = 0
    start_from: str = ""  # checkpoint whose weights it starts from; its tokenizer is taken over
    start_parts: Literal["all", "non-expert"] = (
        "all"  # what is taken of start_from; the rest is drawn anew
    )
    fresh_units: float = 0.5  # share of each expert's hidden units drawn anew when upcycling
    # What task routers begin with: any experts, or each task the ones that static assignment would give it.
    task_experts: Literal["random", "even"] = "even"
    log_every: int = 50  # steps between lines of metrics
    valid_every: int = 500  # steps between validations
    save_every: int = 500  # steps between resumable states
    valid_sentences: int = 200  # sentences a direction for validation loss and BLEU
    average: float = 0.0  # decay of the running average of the weights, e.g. 0.999; 0: none is kept
    patience: int = (
        0  # validations without a better average BLEU after which the run ends; 0: never
    )
    mesh: str = ""  # devices, such as "data=4,expert=2"; empty: one
    final: Literal["last", "best"] = (
        "last"  # weights of the finished checkpoint: at the end, or at the best BLEU
    )


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. `name` names the checkpoint; `about` says command, hardware, time and score."""

    name: str
    data: DataRecipe
    model: ModelRecipe = field(default_factory=ModelRecipe)
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    about: str = ""

    def __post_init__(self) -> None:
        data, model, objective = self.data, self.model, self.objective
        checks = [
            (len(data.languages) >= 2, "data.languages: at least two languages are needed"),
            (data.vocabulary >= 1, "data.vocabulary: must be at least 1"),
            (data.temperature > 0, "data.temperature: must be above 0"),
            (data.tokenizer_temperature > 0, "data.tokenizer_temperature: must be above 0"),
            (data.tokenizer_lines >= 0, "data.tokenizer_lines: must not be below 0"),
            (
                data.longest_ratio == 0 or data.longest_ratio > 1,
                "data.longest_ratio: must be above 1, or 0 for none",
            ),
            (
                not (data.tokenizer and self.run.start_from),
                "data.tokenizer: run.start_from brings its own; give one of the two",
            ),
            (list(data.buckets) == sorted(set(data.buckets)), "data.buckets: must increase"),
            (
                bool(data.buckets)
                and data.buckets[0] >= 4
                and data.buckets[-1] <= model.max_positions,
                f"data.buckets: lengths from 4 to model.max_positions, {model.max_positions}",
            ),
            (
                bool(data.buckets) and data.batch_tokens >= data.buckets[-1],
                "data.batch_tokens: must hold one sentence of the longest bucket",
            ),
            (model.d_model >= 1, "model.d_model: must be at least 1"),
            (model.d_model % max(1, model.heads) == 0, "model.heads: must divide model.d_model"),
            (
                max(model.encoder_layers, model.decoder_layers) <= _DEEPEST,
                f"model.encoder_layers, model.decoder_layers: must be at most {_DEEPEST}",
            ),
            (model.sparse_step >= 1, "model.sparse_step: must be at least 1"),
            (1 <= model.top_k <= model.experts, "model.top_k: must be from 1 to model.experts"),
            (objective.learning_rate > 0, "objective.learning_rate: must be above 0"),
            (objective.warmup_steps >= 0, "objective.warmup_steps: must not be below 0"),
            (objective.clip > 0, "objective.clip: must be above 0"),
            (
                min(objective.load_balance, objective.router_z) >= 0,
                "objective.load_balance, objective.router_z: must not be below 0",
            ),
            (0 <= objective.dropout < 1, "objective.dropout: must be from 0 to below 1"),
            (objective.capacity_factor >= 0, "objective.capacity_factor: must not be below 0"),
            (
                objective.second_expert == "all" or model.top_k >= 2,
                "objective.second_expert: with model.top_k 1 there is no second expert",
            ),
            (
                0 <= objective.expert_output_masking < 1,
                "objective.expert_output_masking: must be from 0 to below 1",
            ),
            (0 <= objective.label_smoothing < 1, "objective.label_smoothing: from 0 to below 1"),
            (objective.weight_decay >= 0, "objective.weight_decay: must not be below 0"),
            (
                objective.weight_decay == 0 or objective.optimizer == "adam",
                "objective.weight_decay: goes with adam only",
            ),
            (
                bool(data.buckets)
                and 1 <= objective.accumulate <= data.batch_tokens // data.buckets[0],
                "objective.accumulate: must be at least 1, and at most the rows of a batch, data.batch_tokens /"
                " data.buckets",
            ),
            (self.run.steps >= 1, "run.steps: must be at least 1"),
            (self.run.seed >= 0, "run.seed: must not be below 0"),
            (self.run.valid_sentences >= 1, "run.valid_sentences: must be at least 1"),
            (
                self.run.start_parts == "all" or bool(self.run.start_from),
                "run.start_parts: needs run.start_from",
            ),
            (0 <= self.run.average < 1, "run.average: must be from 0 to below 1"),
            (self.run.patience >= 0, "run.patience: must not be below 0"),
            (0 <= self.run.fresh_units < 1, "run.fresh_units: must be from 0 to below 1"),
            (
                min(self.run.log_every, self.run.valid_every, self.run.save_every) >= 1,
                "run.log_every, run.valid_every, run.save_every: must be at least 1",
            ),
        ]
        for sound, message in checks:
            if not sound:
                raise RecipeError(f"Recipe {self.name!r}: {message}.")
        self._check_mesh()
        self._check_directions()
        try:
            self.model_config(data.vocabulary)
        except ConfigError as error:
            raise RecipeError(f"Recipe {self.name!r}, [model]: {error}") from error

    def _check_directions(self) -> None:
        codes, data = self.languages, self.data
        if len(set(codes)) < len(codes):
            raise RecipeError(f"Recipe {self.name!r}: data.languages names a language twice.")
        if data.pivot and data.directions:
            raise RecipeError(
                f"Recipe {self.name!r}: data.pivot, {data.pivot!r}, and data.directions are both given: choose"
                ' one of them (pivot = "" takes the other one back).'
            )
        if data.pivot and find_language(data.pivot).code not in codes:
            raise RecipeError(f"Recipe {self.name!r}: data.pivot is not among data.languages.")
        for text in data.directions:
            try:
                task = parse_task(text)
            except WorkbenchError as error:
                raise RecipeError(f"Recipe {self.name!r}, data.directions: {error}") from error
            foreign = [code for code in (task.source, task.target) if code not in codes]
            if foreign or task.source == task.target:
                problem = (
                    f"{foreign[0]} is not among data.languages"
                    if foreign
                    else "it has one language on both sides"
                )
                raise RecipeError(f"Recipe {self.name!r}: data.directions has {text!r}: {problem}.")
        if len(set(map(parse_task, data.directions))) < len(data.directions):
            raise RecipeError(f"Recipe {self.name!r}: data.directions names one twice.")

    def _check_mesh(self) -> None:
        devices = mesh_shape(self.run.mesh)["expert"]
        routed = {self.model.encoder_routing, self.model.decoder_routing} != {"dense"}
        if devices > 1 and not routed:
            raise RecipeError(
                f"run.mesh {self.run.mesh}: a dense network has no experts to spread."
            )
        if routed and self.model.experts % devices:
            raise RecipeError(
                f"run.mesh {self.run.mesh}: {self.model.experts} experts do not divide over {devices} devices."
            )

    @property
    def languages(self) -> tuple[str, ...]:
        """FLORES codes, sorted."""
        return tuple(sorted(find_language(language).code for language in self.data.languages))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The directions it trains, sorted."""
        if self.data.directions:
            return tuple(sorted(map(parse_task, self.data.directions)))
        pivot = find_language(self.data.pivot).code if self.data.pivot else None
        return tuple(
            Task(a, b)
            for a in self.languages
            for b in self.languages
            if a != b and (pivot is None or pivot in (a, b))
        )

    def model_config(self, vocabulary: int) -> ModelConfig:
        """The network that this recipe trains, for a tokenizer of `vocabulary` tokens."""
        model = self.model
        return ModelConfig(
            d_model=model.d_model,
            vocabulary=vocabulary,
            encoder=self._stack(model.encoder_layers, model.encoder_routing),
            decoder=self._stack(model.decoder_layers, model.decoder_routing),
            languages=self.languages,
            tasks=self.tasks,
            max_positions=model.max_positions,
            expert_output_scale=1.0 - self.objective.expert_output_masking,
        )

    def _stack(self, layers: int, routing: RoutingName) -> StackConfig:
        model = self.model
        return routed_stack(
            routing,
            heads=model.heads,
            widths=(model.feed_forward,) * layers,
            tasks=self.tasks,
            experts=model.experts,
            top_k=model.top_k,
            step=model.sparse_step,
            unit_gates=model.unit_gates,
        )


def mesh_shape(text: str) -> dict[str, int]:
    """How many devices lie along `data` and along `expert`; an axis that is not named has one.

    Raises:
        RecipeError: the text is not like `data=4,expert=2`.
    """
    sizes = {"data": 1, "expert": 1}
    named = [part.partition("=") for part in text.split(",") if text]
    for axis, _, size in named:
        if axis not in sizes or not size.isdecimal() or int(size) < 1:
            raise RecipeError(
                f"run.mesh {text!r}: give devices along the axes data and expert, such as data=4,expert=2."
            )
        sizes[axis] = int(size)
    if len({axis for axis, _, _ in named}) < len(named):
        raise RecipeError(f"run.mesh {text!r}: an axis is named twice.")
    return sizes


def read_recipe(path: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """The recipe in a TOML file, with what it extends and with `settings` such as `run.steps=200`.

    Raises:
        RecipeError: a file is missing or is not TOML; a key is unknown or missing; a value has the wrong
            type or cannot work. The message names the key.
    """
    return recipe_from(with_settings(read_table(path), settings))


def recipe_from(table: dict[str, Any]) -> Recipe:
    """The recipe that a parsed TOML table describes. Raises RecipeError as `read_recipe` does."""
    return _fill(Recipe, table, "")


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dicts, lists and numbers, for metrics, cards and provenance."""
    return dataclasses.asdict(recipe)


def _fill(kind: Any, table: dict[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1)
            hint = f" Did you mean {prefix}{close[0]}?" if close else ""
            raise RecipeError(
                f"Unknown key {prefix}{key} in the recipe. Known: {', '.join(hints)}.{hint}"
            )
    values = {key: _value(hints[key], value, prefix + key) for key, value in table.items()}
    for item in dataclasses.fields(kind):
        needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if needed and item.name not in values:
            raise RecipeError(f"The recipe lacks the key {prefix}{item.name}.")
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{name} must be a table [{name}], got {value!r}.")
        return _fill(hint, value, name + ".")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise RecipeError(
                f"{name} is {value!r}; it must be one of {', '.join(get_args(hint))}."
            )
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{name} must be a list, got {value!r}.")
        return tuple(_value(get_args(hint)[0], item, name) for item in value)
    if hint is float and type(value) in (int, float):
        return _finite(value, name)
    if type(value) is not hint:
        raise RecipeError(f"{name} must be of type {hint.__name__}, got {value!r}.")
    if hint is int and abs(value) > _LARGEST:
        raise RecipeError(f"{name} must be at most {_LARGEST:,}, got {value:,}.")
    return value


def _finite(value: float, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecipeError(f"{name} must be a finite number, got {number}.")
    return number
