"""Directories as `transformers` writes them, of random M2M100 and NLLB-MoE models, and what they compute there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.models import tiny_tokenizer

#: A few more rows than the tokenizer has ids, as published models have.
VOCABULARY = 504

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "max_position_embeddings": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
MOE: dict[str, Any] = SHAPE | {
    "num_experts": 4,
    "encoder_sparse_step": 2,
    "decoder_sparse_step": 2,
}


def published(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A random model of `transformers`; kind: m2m_100 or nllb-moe. Its weights are as a trained one's may be."""
    if kind == "m2m_100":
        config: Any = transformers.M2M100Config(**SHAPE | changes)
        model: Any = transformers.M2M100ForConditionalGeneration(config)
    else:
        config = transformers.NllbMoeConfig(**MOE | changes)
        model = transformers.NllbMoeForConditionalGeneration(config)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = random.normal(size=parameter.shape)
            if name.endswith("norm.weight"):
                values = 1 + 0.1 * values
            elif name.endswith("bias"):
                values = 0.1 * values
            else:
                values = values * parameter.shape[1] ** -0.5
            if any(part in name for part in ("q_proj.weight", "out_proj.weight", "fc2.weight")):
                values = 3 * values
            parameter.copy_(torch.tensor(values))
        model.model.shared.weight[config.eos_token_id] *= 2.5
    return model.eval()


def write(model: Any, directory: Path, **options: Any) -> Path:
    """The model's directory as `save_pretrained` writes it, with a tokenizer."""
    model.save_pretrained(directory, **options)
    tiny_tokenizer().save(directory)
    return directory


def mended_experts(experts, hidden_states, router_mask, router_probs):  # type: ignore[no-untyped-def]
    """NLLB-MoE's experts as published: each expert, its tokens, its weights.

    `transformers` 5.23 one-hot encodes what already is a mask; see `test_transformers`.
    """
    mixed = torch.zeros_like(hidden_states)
    for index in range(experts.num_experts):
        output = experts[f"expert_{index}"](hidden_states) * (1 - experts.moe_token_dropout)
        mixed = mixed + router_probs[:, index, None] * output
    return mixed
