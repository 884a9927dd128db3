"""Tensor names: where each Hugging Face tensor of M2M100 or NLLB-MoE lies in our network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from workbench.config import ModelConfig, StackConfig

#: How tensors are named: as in M2M100 (dense only) or as in NLLB-MoE (experts and our routers too).
Layout = Literal["m2m100", "nllb-moe"]


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint.

    name: in the file. path: of the parameter in the network's nested dicts. shape: in the file.
    transposed: a linear map, stored [outputs, inputs] there and [inputs, outputs] here.
    expert: its place in the stacked parameter, if it is an expert's.
    """

    name: str
    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    transposed: bool = False
    expert: int | None = None


def tensors(config: ModelConfig, layout: Layout) -> list[Tensor]:
    """Every tensor of a checkpoint of this shape, in file order."""
    width = config.d_model
    found = [Tensor("model.shared.weight", ("embedding",), (config.vocabulary, width))]
    for name, stack in config.stacks:
        for layer in range(stack.depth):
            found += _layer(config, name, stack, layer, layout)
        found += _norm(f"model.{name}.layer_norm", (name, "layer_norm"), width)
    return found


def padded_width(stack: StackConfig, layout: Layout) -> int | None:
    """The one feed-forward width that M2M100 gives a stack; None where every layer keeps its own."""
    return max(stack.feed_forward_widths) if layout == "m2m100" else None


def _layer(
    config: ModelConfig, name: str, stack: StackConfig, layer: int, layout: Layout
) -> Iterator[Tensor]:
    prefix, path = f"model.{name}.layers.{layer}", (name, "layers", layer)
    width, moe = config.d_model, layout == "nllb-moe"
    yield from _attention(f"{prefix}.self_attn", (*path, "self_attn"), width)
    yield from _norm(f"{prefix}.self_attn_layer_norm", (*path, "self_attn_layer_norm"), width)
    if name == "decoder":
        cross = "cross_attention" if moe else "encoder_attn"
        yield from _attention(f"{prefix}.{cross}", (*path, "cross_attn"), width)
        yield from _norm(f"{prefix}.{cross}_layer_norm", (*path, "cross_attn_layer_norm"), width)
    last_norm = "ff_layer_norm" if moe else "final_layer_norm"
    yield from _norm(f"{prefix}.{last_norm}", (*path, "final_layer_norm"), width)

    inner, block = stack.feed_forward_widths[layer], (*path, "ffn")
    if layer not in stack.expert_layers:
        hf = f"{prefix}.ffn" if moe else prefix
        yield from _linear(f"{hf}.fc1", (*block, "fc1"), width, inner)
        yield from _linear(f"{hf}.fc2", (*block, "fc2"), inner, width)
        return
    assert stack.router is not None
    if not stack.router.assignment:
        yield from _router(f"{prefix}.ffn.router", (*block, "router"), stack, layer, width)
    for expert in range(stack.experts_in(layer)):
        hf = f"{prefix}.ffn.experts.expert_{expert}"
        yield Tensor(f"{hf}.fc1.weight", (*block, "w_in"), (inner, width), True, expert)
        yield Tensor(f"{hf}.fc1.bias", (*block, "b_in"), (inner,), expert=expert)
        yield Tensor(f"{hf}.fc2.weight", (*block, "w_out"), (width, inner), True, expert)
        yield Tensor(f"{hf}.fc2.bias", (*block, "b_out"), (width,), expert=expert)


def _router(
    name: str, path: tuple[str | int, ...], stack: StackConfig, layer: int, width: int
) -> Iterator[Tensor]:
    columns = len(stack.groups_in(layer)) or stack.experts_in(layer)
    yield Tensor(f"{name}.classifier.weight", (*path, "kernel"), (columns, width), True)
    if stack.router is not None and stack.router.granularity == "task":
        keys = len(stack.router.keys)
        yield Tensor(f"{name}.task_embedding.weight", (*path, "task_embedding"), (keys, width))
        if stack.router.remainder:
            yield Tensor(f"{name}.remainder", (*path, "remainder"), (keys,))


def _attention(name: str, path: tuple[str | int, ...], width: int) -> Iterator[Tensor]:
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from _linear(f"{name}.{part}", (*path, part), width, width)


def _linear(name: str, path: tuple[str | int, ...], inputs: int, outputs: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (*path, "kernel"), (outputs, inputs), True)
    yield Tensor(f"{name}.bias", (*path, "bias"), (outputs,))


def _norm(name: str, path: tuple[str | int, ...], width: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (*path, "scale"), (width,))
    yield Tensor(f"{name}.bias", (*path, "bias"), (width,))
