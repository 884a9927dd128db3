"""`config.json` of published M2M100, NLLB and NLLB-MoE models, as our configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config import ConfigError, ModelConfig, RouterConfig, StackConfig

#: Both spellings of NLLB-MoE occur.
MODEL_TYPES = {"m2m_100": "m2m_100", "nllb-moe": "nllb-moe", "nllb_moe": "nllb-moe"}

_ONE_VALUE: dict[str, tuple[Any, str]] = {
    "activation_function": ("relu", "the network's blocks know no other"),
    "tie_word_embeddings": (True, "source, target and output share one embedding here"),
    "is_encoder_decoder": (True, "the network has both"),
    "pad_token_id": (1, "positions are counted from it"),
    "eos_token_id": (2, "the tokenizers of this family end with it"),
    "decoder_start_token_id": (2, "the decoder begins with the end token"),
}
_ONE_VALUE_MOE: dict[str, tuple[Any, str]] = {
    "router_bias": (False, "routers have no bias here"),
    "router_dtype": ("float32", "routers compute in float32"),
    "second_expert_policy": ("all", "others draw at random"),
}


def from_public(table: Mapping[str, Any]) -> ModelConfig:
    """The network that a `config.json` without a part of ours describes; its languages are the tokenizer's.

    What may be left out has the value that `transformers` gives it. What makes no difference when translating
    (dropout, layer drop, expert capacity, batch-prioritised or padding-ignoring routing where nothing is
    dropped) is passed over.

    Raises:
        ConfigError: a value is missing, of the wrong type, or describes what the network cannot do exactly.
    """
    kind = MODEL_TYPES[table["model_type"]]
    fixed = _ONE_VALUE | (_ONE_VALUE_MOE if kind == "nllb-moe" else {})
    for key, (accepted, why) in fixed.items():
        found = table.get(key, accepted)
        if type(found) is not type(accepted) or found != accepted:
            raise _refused(key, found, f"{accepted!r} ({why})")
    scale = 1.0
    routers: dict[str, tuple[int, int]] = {}
    if kind == "nllb-moe":
        scale = 1.0 - _fraction(table, "moe_token_dropout", 0.2)
        _check_capacity(table)
        experts = _count(table, "num_experts")
        if experts == 1 and table.get("normalize_router_prob_before_dropping", False) is not False:
            raise _refused(
                "normalize_router_prob_before_dropping",
                table["normalize_router_prob_before_dropping"],
                "False where num_experts is 1 (the only expert would get half its weight)",
            )
        _flag(table, "normalize_router_prob_before_dropping", False)
        routers = {
            name: (experts, _count(table, f"{name}_sparse_step", least=0))
            for name in ("encoder", "decoder")
        }
    return ModelConfig(
        d_model=_count(table, "d_model"),
        vocabulary=_count(table, "vocab_size"),
        encoder=_stack(table, "encoder", routers.get("encoder")),
        decoder=_stack(table, "decoder", routers.get("decoder")),
        languages=(),
        max_positions=_count(table, "max_position_embeddings"),
        scale_embedding=_flag(table, "scale_embedding", True),
        expert_output_scale=scale,
        bos_id=_count(table, "bos_token_id", least=0, default=0),
    )


def _stack(table: Mapping[str, Any], name: str, sparse: tuple[int, int] | None) -> StackConfig:
    depth = _count(table, f"{name}_layers")
    heads = _count(table, f"{name}_attention_heads")
    widths = (_count(table, f"{name}_ffn_dim"),) * depth
    experts, step = sparse or (0, 0)
    layers = tuple(range(step - 1, depth, step)) if step else ()
    if not layers:
        return StackConfig(heads, widths)
    # Top 2, as its router is called; the only expert of a layer is chosen once.
    return StackConfig(heads, widths, layers, experts, RouterConfig("token", min(2, experts)))


def _check_capacity(table: Mapping[str, Any]) -> None:
    """Evaluation drops no token exactly when every expert has room for all of them."""
    key = "moe_eval_capacity_token_fraction"
    found = table.get(key, 1.0)
    if type(found) not in (int, float) or found < 1:
        raise _refused(
            key, found, "1.0 (with less room tokens are dropped, and a row depends on others)"
        )


def _count(table: Mapping[str, Any], key: str, least: int = 1, default: int | None = None) -> int:
    found = table.get(key, default)
    if key not in table and default is None:
        raise ConfigError(f"config.json lacks {key!r}, a whole number from {least} on.")
    if type(found) is not int or found < least:
        raise _refused(key, found, f"a whole number from {least} on")
    return found


def _fraction(table: Mapping[str, Any], key: str, default: float) -> float:
    found = table.get(key, default)
    if type(found) not in (int, float) or not 0 <= found < 1:
        raise _refused(key, found, "a number from 0 to less than 1")
    return float(found)


def _flag(table: Mapping[str, Any], key: str, default: bool) -> bool:
    found = table.get(key, default)
    if type(found) is not bool:
        raise _refused(key, found, "True or False")
    return found


def _refused(key: str, found: Any, accepted: str) -> ConfigError:
    return ConfigError(f"config.json: {key} is {found!r}. Accepted: {accepted}.")
