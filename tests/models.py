"""Tiny random models for the tests: a tokenizer of the bundled captions, networks of every routing kind."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import workbench
from workbench.config import ModelConfig, RouterConfig, StackConfig
from workbench.decoding.translator import Translator
from workbench.nn.network import TranslationNetwork
from workbench.routing.statistics import Statistics, routed_layers
from workbench.tasks import Task, key_of
from workbench.text.corpus import read_lines
from workbench.text.tokenizer import Tokenizer
from workbench.training.stacks import even_assignment

CAPTIONS = Path(next(iter(workbench.__path__))) / "data" / "captions"
LANGUAGES = ("ces_Latn", "deu_Latn", "eng_Latn", "fra_Latn")
EN_DE = Task("eng_Latn", "deu_Latn")
#: Every direction from and to English.
TASKS = tuple(Task(a, b) for a in LANGUAGES for b in LANGUAGES if a != b and "eng_Latn" in (a, b))
#: (encoder, decoder) routing: each granularity and each task key in each stack at least once.
KINDS = (
    ("dense", "dense"),
    ("token", "token"),
    ("token", "target"),
    ("target", "target"),
    ("sentence", "pair"),
    ("source", "sentence"),
)


@cache
def captions(language: str = "eng_Latn") -> tuple[str, ...]:
    """The bundled captions of a language."""
    return tuple(read_lines(CAPTIONS / f"captions.{language}.txt"))


@cache
def tiny_tokenizer() -> Tokenizer:
    """500 tokens, learned from the bundled captions."""
    return Tokenizer.train([line for code in LANGUAGES for line in captions(code)], 500, LANGUAGES)


@cache
def long_captions(language: str = "eng_Latn") -> tuple[str, ...]:
    """The captions of 33 to 48 tokens. A network of 64 positions has room for all that may be written of them at
    once: a search of one shape, which is one program to compile, where others take two or more.
    """
    lines = captions(language)
    lengths = map(len, tiny_tokenizer().encode_sources(list(lines), language))
    return tuple(line for line, length in zip(lines, lengths, strict=True) if 32 < length <= 48)


def stack(
    routing: str,
    width: int = 24,
    layers: int = 2,
    experts: int = 4,
    top_k: int = 2,
    expert_layers: tuple[int, ...] = (1,),
    unit_gates: bool = False,
) -> StackConfig:
    """A stack of 4 heads; `routing`: dense, token, sentence, source, target, pair or static-target and the like."""
    widths = (width,) * layers
    if routing == "dense":
        return StackConfig(4, widths)
    if routing in ("token", "sentence"):
        router = RouterConfig(routing, top_k, unit_gates=unit_gates)  # type: ignore[arg-type]
    else:
        key: Any = routing.removeprefix("static-")
        keys = tuple(sorted({key_of(task, key) for task in TASKS}))
        assignment = even_assignment(keys, experts, top_k) if key != routing else ()
        router = RouterConfig("task", top_k, key, keys, unit_gates, assignment)
    return StackConfig(4, widths, expert_layers, experts, router)


def config(
    encoder: str | StackConfig = "dense",
    decoder: str | StackConfig = "dense",
    vocabulary: int = 500,
    max_positions: int = 64,
    expert_output_scale: float = 1.0,
) -> ModelConfig:
    """A network of width 32 for `TASKS`; stacks as `stack` makes them, or given."""
    first, second = (stack(s) if isinstance(s, str) else s for s in (encoder, decoder))
    return ModelConfig(
        d_model=32,
        vocabulary=vocabulary,
        encoder=first,
        decoder=second,
        languages=LANGUAGES,
        tasks=TASKS,
        max_positions=max_positions,
        expert_output_scale=expert_output_scale,
    )


def network(shape: ModelConfig, seed: int = 0) -> TranslationNetwork:
    """Random weights as a trained network's might be: sharp attention, blocks that outweigh what they are
    added to, no bias zero, no norm one, an end token that wins now and then, so that lengths differ.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: TranslationNetwork(shape, rngs=nnx.Rngs(0))))
    random = np.random.default_rng(seed)

    def drawn(path, leaf):  # type: ignore[no-untyped-def]
        *_, block, name = (str(getattr(step, "key", step)) for step in (None, *path))
        values = random.normal(size=leaf.shape)
        if name == "scale":
            values = 1 + 0.1 * values
        elif name in ("bias", "b_in", "b_out"):
            values = 0.1 * values
        else:
            values = values * (shape.d_model if name == "embedding" else leaf.shape[-2]) ** -0.5
        if block in ("q_proj", "out_proj", "fc2") or name == "w_out":
            values = 5 * values
        return jnp.asarray(values, jnp.float32)

    parameters = jax.tree_util.tree_map_with_path(drawn, nnx.to_pure_dict(state))
    parameters["embedding"] = parameters["embedding"].at[shape.eos_id].multiply(2.5)
    nnx.replace_by_pure_dict(state, parameters)
    return nnx.merge(graph, state)


def new_translator(
    encoder: str | StackConfig = "dense",
    decoder: str | StackConfig = "dense",
    seed: int = 0,
    **options: int | float,
) -> Translator:
    """A translator of its own for a test that changes it; see `config` for the options."""
    shape = config(encoder, decoder, **options)  # type: ignore[arg-type]
    name = "-".join(s if isinstance(s, str) else "custom" for s in (encoder, decoder))
    return Translator(name, shape, tiny_tokenizer(), network(shape, seed), card="# A tiny model\n")


@cache
def translator(encoder: str = "dense", decoder: str = "dense", seed: int = 0) -> Translator:
    """A translator that tests share and must not change: its programs are compiled once a run."""
    return new_translator(encoder, decoder, seed)


def made_up(shape: ModelConfig, tasks: tuple[Task, ...] = TASKS, seed: int = 0) -> Statistics:
    """Statistics that nobody gathered: distinct shares in every layer, the order of experts drawn."""
    layers, experts = routed_layers(shape)
    random = np.random.default_rng(seed)
    top1 = np.zeros((len(tasks), len(layers), max(experts)))
    for t in range(len(tasks)):
        for i, count in enumerate(experts):
            top1[t, i, :count] = random.permutation(np.arange(1, count + 1)) / (
                count * (count + 1) / 2
            )
    conf = np.where(top1 > 0, random.uniform(0.3, 0.9, top1.shape), 0)
    return Statistics(
        top1, np.minimum(2 * top1, 1), conf, conf, top1 / 2, tuple(map(str, tasks)), layers, experts
    )
