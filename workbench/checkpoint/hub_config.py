"""`config.json`: our configuration, written so that `transformers` reads what it can of it."""

from __future__ import annotations

import dataclasses
from typing import Any

from workbench.checkpoint.public_config import MODEL_TYPES, from_public
from workbench.checkpoint.tensor_names import Layout
from workbench.config import ConfigError, ModelConfig, RouterConfig, StackConfig
from workbench.tasks import parse_task

#: Where our own configuration lies in `config.json`; `transformers` passes over it.
KEY = "workbench"
#: The `model_type` of networks that no other library knows.
OWN_MODEL_TYPE = "task-moe"

#: Keys of other libraries that say what our own part says too; those of training, storage and capacity do not.
_SAID_TWICE = (
    *("d_model", "vocab_size", "max_position_embeddings", "scale_embedding"),
    *("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"),
    *("encoder_ffn_dim", "decoder_ffn_dim", "activation_function", "tie_word_embeddings"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
    *("num_experts", "encoder_sparse_step", "decoder_sparse_step", "router_bias"),
    *("second_expert_policy", "normalize_router_prob_before_dropping", "moe_token_dropout"),
)

_ARCHITECTURES = {
    "m2m_100": "M2M100ForConditionalGeneration",
    "nllb-moe": "NllbMoeForConditionalGeneration",
    OWN_MODEL_TYPE: "TaskMoeForConditionalGeneration",
}


def model_type(config: ModelConfig) -> str:
    """M2M100 for a dense network, NLLB-MoE for one routed by token alike in both stacks, else our own."""
    if config.is_dense:
        return "m2m_100"
    encoder, decoder = config.encoder, config.decoder
    same = (
        encoder.experts == decoder.experts
        and all(
            s.router is not None
            and s.router.granularity == "token"
            and s.router.top_k == min(2, s.experts)
            for s in (encoder, decoder)
        )
        and all(
            len(set(s.feed_forward_widths)) == 1
            and _sparse_step(s) is not None
            and not s.experts_by_layer
            and not s.router_groups
            for s in (encoder, decoder)
        )
    )
    return "nllb-moe" if same else OWN_MODEL_TYPE


def layout_of(model_type: str) -> Layout:
    """How a checkpoint of this `model_type` names its tensors."""
    return "m2m100" if model_type == "m2m_100" else "nllb-moe"


def layout_in(table: Any) -> Layout:
    """How the checkpoint with this `config.json`, which `from_json` has accepted, names its tensors."""
    return layout_of(table["model_type"])


def to_json(config: ModelConfig, kind: str | None = None) -> dict[str, Any]:
    """The contents of `config.json`; kind: its `model_type`, if not the one that `model_type` gives."""
    kind = kind or model_type(config)
    shared = {
        "model_type": kind,
        "architectures": [_ARCHITECTURES[kind]],
        "d_model": config.d_model,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.max_positions,
        "scale_embedding": config.scale_embedding,
        "encoder_layers": config.encoder.depth,
        "decoder_layers": config.decoder.depth,
        "num_hidden_layers": config.encoder.depth,
        "encoder_attention_heads": config.encoder.heads,
        "decoder_attention_heads": config.decoder.heads,
        "encoder_ffn_dim": max(config.encoder.feed_forward_widths),
        "decoder_ffn_dim": max(config.decoder.feed_forward_widths),
        "activation_function": "relu",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "decoder_start_token_id": config.eos_id,
        # Where `generate` is not told, it would end after 20 tokens.
        "max_length": config.max_positions,
        # Weights may be stored shorter, but are computed with in float32.
        "dtype": "float32",
    }
    if kind == "nllb-moe":
        shared |= {
            "num_experts": config.encoder.experts,
            "encoder_sparse_step": _sparse_step(config.encoder),
            "decoder_sparse_step": _sparse_step(config.decoder),
            "router_bias": False,
            "router_dtype": "float32",
            "router_ignore_padding_tokens": False,
            "second_expert_policy": "all",
            "normalize_router_prob_before_dropping": False,
            "moe_eval_capacity_token_fraction": 1.0,
            "moe_token_dropout": 1.0 - config.expert_output_scale,
        }
    return shared | {KEY: _ours(config)}


def from_json(table: Any) -> ModelConfig:
    """The configuration in `config.json`; of a published model, without its languages.

    Raises:
        ConfigError: it is of another kind of model, or a value is missing, of the wrong type or impossible.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"config.json holds {type(table).__name__}, not an object.")
    kind = table.get("model_type")
    kind = MODEL_TYPES.get(kind, kind) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise ConfigError(
            f"model_type is {kind!r}: this is a checkpoint of another kind. Accepted: "
            + ", ".join(_ARCHITECTURES)
            + "."
        )
    if KEY not in table and kind in MODEL_TYPES:
        return from_public(table)
    ours = table.get(KEY)
    if not isinstance(ours, dict):
        raise ConfigError(
            f"config.json of model_type {kind!r} has no {KEY!r} part, which says how it routes."
        )
    config = _fill(ModelConfig, ours, KEY)
    if kind not in (model_type(config), OWN_MODEL_TYPE):
        raise ConfigError(
            f"config.json says model_type {kind!r}, but its {KEY!r} part describes {model_type(config)!r}."
        )
    expected = to_json(config, kind)
    for key in _SAID_TWICE:
        if key in expected and key in table and table[key] != expected[key]:
            raise ConfigError(
                f"config.json says {key} {table[key]!r}, but its {KEY!r} part describes {expected[key]!r}: one of them"
                " was changed. Where another library changed the network, remove the part, and it is read as that"
                " library's."
            )
    return config


def _sparse_step(stack: StackConfig) -> int | None:
    """The n of `experts in every n-th layer`, if the stack is built so."""
    if not stack.expert_layers:
        return None
    step = stack.expert_layers[0] + 1
    return step if stack.expert_layers == tuple(range(step - 1, stack.depth, step)) else None


def _ours(config: ModelConfig) -> dict[str, Any]:
    table = dataclasses.asdict(config)
    return table | {"tasks": [str(task) for task in config.tasks]}


def _fill(kind: Any, table: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [key for key in table if key not in fields]
    missing = [
        name
        for name, f in fields.items()
        if name not in table
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if unknown or missing:
        raise ConfigError(
            f"config.json, {where}: "
            + "; ".join(
                f"{word} {', '.join(keys)}"
                for word, keys in (("unknown", unknown), ("missing", missing))
                if keys
            )
            + "."
        )
    nested = {"encoder": StackConfig, "decoder": StackConfig, "router": RouterConfig}
    values: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{where}.{key}"
        if key in nested and isinstance(value, dict):
            values[key] = _fill(nested[key], value, place)
        elif key == "tasks" and isinstance(value, list):
            values[key] = tuple(parse_task(str(task)) for task in value)
        else:
            values[key] = _tuples(value)
            _check_type(fields[key].type, values[key], place)
    return kind(**values)


def _tuples(value: Any) -> Any:
    """Lists as tuples, also those in lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_type(hint: Any, value: Any, where: str) -> None:
    """Refuse a value that is not of the annotated type, given as text."""
    accepted = {
        "int": lambda v: type(v) is int,
        "float": lambda v: type(v) in (int, float),
        "bool": lambda v: type(v) is bool,
        "tuple[int, ...]": lambda v: isinstance(v, tuple) and all(type(x) is int for x in v),
        "tuple[str, ...]": lambda v: isinstance(v, tuple) and all(type(x) is str for x in v),
        "tuple[tuple[int, ...], ...]": lambda v: (
            isinstance(v, tuple)
            and all(isinstance(row, tuple) and all(type(x) is int for x in row) for row in v)
        ),
        "StackConfig": lambda v: False,
        "RouterConfig | None": lambda v: v is None,
        "Granularity": lambda v: type(v) is str,
        "TaskKey | None": lambda v: v is None or type(v) is str,
    }.get(str(hint))
    if accepted is None or not accepted(value):
        raise ConfigError(f"config.json, {where}: {value!r} is not of type {hint}.")
