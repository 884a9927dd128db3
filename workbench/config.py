"""The shape of a translation network: what a checkpoint's `config.json` says, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workbench.errors import WorkbenchError
from workbench.tasks import Task, TaskKey, key_of

Granularity = Literal["token", "sentence", "task"]
StackName = Literal["encoder", "decoder"]


class ConfigError(WorkbenchError):
    """A configuration that no network can have."""


@dataclass(frozen=True)
class RouterConfig:
    """How one stack chooses its experts.

    granularity: what the gate looks at: the token's vector, the mean of the sentence's vectors, or the
        task's id.
    top_k: experts chosen for each decision.
    task_key: for task routing, which part of the direction is the task's id.
    keys: for task routing, the known ids in the order of the router's embedding rows: FLORES codes,
        or directions such as `eng_Latn-deu_Latn`.
    unit_gates: whether a single expert's gate is 1 instead of its probability; more have gates that sum to 1.
    assignment: for task routing by hand, the K experts of each key, in the order of `keys`; their gates are 1/K
        and nothing about them is learned. Empty: the router learns its choice.
    remainder: for task routing with one expert chosen, whether the router knows how much of each key's
        probability belongs to experts that were cut away, so that the gates stay what they were.
    """

    granularity: Granularity = "token"
    top_k: int = 2
    task_key: TaskKey | None = None
    keys: tuple[str, ...] = ()
    unit_gates: bool = False
    assignment: tuple[tuple[int, ...], ...] = ()
    remainder: bool = False

    def __post_init__(self) -> None:
        if self.granularity not in ("token", "sentence", "task"):
            raise ConfigError(
                f"Unknown routing granularity {self.granularity!r}: use token, sentence or task."
            )
        if (self.granularity == "task") != (self.task_key is not None):
            raise ConfigError(
                f"A {self.granularity} router with task_key {self.task_key!r}: a task_key (source, target"
                " or pair) belongs to task routing, and only there."
            )
        if self.granularity == "task" and not self.keys:
            raise ConfigError("A task router needs the list of its task keys.")
        if self.assignment:
            self._check_assignment()
        if self.remainder and (self.granularity, self.top_k) != ("task", 1):
            raise ConfigError(
                f"A {self.granularity} router with top_k {self.top_k} has no remainder: it belongs to task"
                " routing with one expert chosen."
            )

    def _check_assignment(self) -> None:
        if len(self.assignment) != len(self.keys):
            raise ConfigError(
                f"An assignment of experts has a row for each task key: got {len(self.assignment)} rows for"
                f" {len(self.keys)} keys."
            )
        for key, row in zip(self.keys, self.assignment, strict=True):
            if len(set(row)) != self.top_k or len(row) != self.top_k or min(row) < 0:
                raise ConfigError(
                    f"{key} is assigned to the experts {list(row)}: give it top_k = {self.top_k} different"
                    " ones, counted from 0."
                )

    def key_index(self, task: Task) -> int:
        """Row of this task in the router's embedding; 0 where the router does not look at tasks."""
        if self.task_key is None:
            return 0
        key = key_of(task, self.task_key)
        if key not in self.keys:
            raise ConfigError(
                f"The router knows no {self.task_key} {key!r}; it knows: {', '.join(self.keys)}."
            )
        return self.keys.index(key)


@dataclass(frozen=True)
class StackConfig:
    """One stack, encoder or decoder.

    heads: attention heads of every layer.
    feed_forward_widths: hidden width F of each layer's feed-forward block; its length is the depth.
        In a layer with experts it is the width of one expert.
    expert_layers: indices of the layers whose feed-forward block is a mixture of experts.
    experts: experts in each of those layers; where they differ, in the layer that has most.
    router: how they are chosen; None in a dense stack.
    experts_by_layer: experts of each of `expert_layers`, where pruning left more of them in one layer than in
        another; empty where all have `experts`.
    router_groups: of each of `expert_layers`, the expert that each column of the router belongs to, where
        experts were merged and share one; an expert's probability is the sum over its columns. Empty: column i
        belongs to expert i.
    """

    heads: int
    feed_forward_widths: tuple[int, ...]
    expert_layers: tuple[int, ...] = ()
    experts: int = 0
    router: RouterConfig | None = None
    experts_by_layer: tuple[int, ...] = ()
    router_groups: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.feed_forward_widths or min(self.feed_forward_widths) < 1 or self.heads < 1:
            raise ConfigError(
                f"A stack needs layers of width >= 1 and heads >= 1, got {self.feed_forward_widths}"
                f" and {self.heads}."
            )
        if bool(self.expert_layers) != (self.router is not None):
            raise ConfigError("A stack has a router exactly when it has layers with experts.")
        if self.router is not None and not 1 <= self.router.top_k <= self.experts:
            raise ConfigError(
                f"top_k is {self.router.top_k}, but a layer has {self.experts} experts: choose 1 to"
                f" {self.experts}."
            )
        if self.router is not None and any(
            expert >= self.experts for row in self.router.assignment for expert in row
        ):
            raise ConfigError(
                f"The assignment {self.router.assignment} names experts beyond the {self.experts} of a layer."
            )
        if any(not 0 <= layer < self.depth for layer in self.expert_layers):
            raise ConfigError(
                f"Expert layers {self.expert_layers} in a stack of {self.depth} layers."
            )
        self._check_layers()

    def _check_layers(self) -> None:
        counts = self.experts_by_layer
        if counts and (
            self.router is None
            or len(counts) != len(self.expert_layers)
            or max(counts) != self.experts
            or min(counts) < self.router.top_k
        ):
            raise ConfigError(
                f"experts_by_layer is {counts}: give each of the layers {self.expert_layers} at least top_k"
                f" experts, and the largest layer {self.experts}."
            )
        if self.router_groups and (
            len(self.router_groups) != len(self.expert_layers)
            or any(
                set(groups) != set(range(self.experts_in(layer)))
                for layer, groups in zip(self.expert_layers, self.router_groups, strict=False)
            )
        ):
            raise ConfigError(
                "router_groups must give each layer with experts a list that names each of its experts."
            )

    def experts_in(self, layer: int) -> int:
        """Experts of the layer with this index; 0 where its feed-forward block is dense."""
        if layer not in self.expert_layers:
            return 0
        counts = self.experts_by_layer
        return counts[self.expert_layers.index(layer)] if counts else self.experts

    def groups_in(self, layer: int) -> tuple[int, ...]:
        """The expert that each router column of a layer belongs to; empty: column i belongs to expert i."""
        groups = self.router_groups
        return groups[self.expert_layers.index(layer)] if groups else ()

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.feed_forward_widths)


@dataclass(frozen=True)
class ModelConfig:
    """A whole encoder-decoder network and the tasks it was made for.

    d_model: width D. vocabulary: V, language codes included. max_positions: longest sequence in tokens.
    languages: FLORES codes it knows. tasks: directions it was made for; empty means all of them.
    scale_embedding: multiply embeddings by sqrt(D), as M2M100 does.
    expert_output_scale: factor on expert outputs at inference (NLLB-MoE: 1 - moe_token_dropout).
    """

    d_model: int
    vocabulary: int
    encoder: StackConfig
    decoder: StackConfig
    languages: tuple[str, ...]
    tasks: tuple[Task, ...] = ()
    max_positions: int = 256
    scale_embedding: bool = True
    expert_output_scale: float = 1.0
    pad_id: int = field(default=1, kw_only=True)
    bos_id: int = field(default=0, kw_only=True)
    eos_id: int = field(default=2, kw_only=True)

    def __post_init__(self) -> None:
        # Positions are sines of D/2 - 1 steps; a text is a language, a token and an end.
        for key, least in (("d_model", 4), ("max_positions", 3)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key} is {getattr(self, key)}: it must be at least {least}.")
        for name, stack in self.stacks:
            if self.d_model % stack.heads:
                raise ConfigError(
                    f"d_model {self.d_model} does not divide into the {name}'s {stack.heads} heads."
                )

    @property
    def stacks(self) -> tuple[tuple[StackName, StackConfig], tuple[StackName, StackConfig]]:
        """Both stacks with their names, the encoder first."""
        return (("encoder", self.encoder), ("decoder", self.decoder))

    @property
    def is_dense(self) -> bool:
        """Whether no layer has experts."""
        return self.encoder.router is None and self.decoder.router is None

    @property
    def directions(self) -> tuple[Task, ...]:
        """Every task it translates: `tasks`, or all ordered pairs of `languages`."""
        return self.tasks or tuple(
            Task(a, b) for a in self.languages for b in self.languages if a != b
        )

    def check_task(self, task: Task) -> None:
        """Raise ConfigError unless this network translates `task`."""
        known = set(self.languages)
        both = {task.source, task.target} <= known and task.source != task.target
        if task in self.tasks if self.tasks else both:
            return
        targets = [str(t) for t in self.directions]
        shown = ", ".join(targets[:20]) + (
            f", ... ({len(targets)} in all)" if len(targets) > 20 else ""
        )
        raise ConfigError(f"This checkpoint does not translate {task}. It translates: {shown}.")

    def task_ids(self, task: Task) -> tuple[int, int]:
        """Router rows of `task` in the encoder and in the decoder (0 where a stack has no task router)."""
        encoder, decoder = (
            stack.router.key_index(task) if stack.router else 0 for _, stack in self.stacks
        )
        return encoder, decoder
