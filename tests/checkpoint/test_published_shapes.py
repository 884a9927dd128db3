"""Every tensor of the published models has its place here: shapes only, nothing is allocated.

The configurations are written down from what is published: the `config.json` of `facebook/nllb-moe-54b`,
`facebook/nllb-200-3.3B`, `facebook/nllb-200-1.3B` and `facebook/nllb-200-distilled-600M` on the Hugging Face hub;
the dense shapes also in facebookresearch/fairseq2, src/fairseq2/models/nllb/_config.py, the sparse one in
"No Language Left Behind" (arXiv 2207.04672), section 6.
"""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from flax import nnx

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from workbench.checkpoint.hub_config import from_json, layout_in  # noqa: E402
from workbench.checkpoint.tensor_names import tensors  # noqa: E402
from workbench.checkpoint.weights import abstract_network, memory_needed  # noqa: E402


def dense(width: int, inner: int, depth: int) -> dict[str, Any]:
    return {
        "model_type": "m2m_100",
        "activation_function": "relu",
        "d_model": width,
        "encoder_layers": depth,
        "decoder_layers": depth,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner,
        "max_position_embeddings": 1024,
        "vocab_size": 256206,
        "scale_embedding": True,
        "is_encoder_decoder": True,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }


#: Configuration, and parameters as published, in billions.
PUBLISHED = {
    "nllb-200-distilled-600M": (dense(1024, 4096, 12), 0.615),
    "nllb-200-1.3B": (dense(1024, 8192, 24), 1.37),
    "nllb-200-3.3B": (dense(2048, 8192, 24), 3.34),
    "nllb-moe-54b": (
        dense(2048, 8192, 24)
        | {
            "model_type": "nllb-moe",
            "num_experts": 128,
            "encoder_sparse_step": 4,
            "decoder_sparse_step": 4,
            "expert_capacity": 64,
            "router_bias": False,
            "router_dtype": "float32",
            "router_ignore_padding_tokens": False,
            "second_expert_policy": "all",
            "normalize_router_prob_before_dropping": False,
            "batch_prioritized_routing": False,
            "moe_eval_capacity_token_fraction": 1.0,
            "moe_token_dropout": 0.2,
        },
        54.5,
    ),
}


def reference_shapes(table: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that `transformers` keeps of this model, tied names left out."""
    settings = {key: value for key, value in table.items() if key != "model_type"}
    with torch.device("meta"):
        if table["model_type"] == "m2m_100":
            model = transformers.M2M100ForConditionalGeneration(
                transformers.M2M100Config(**settings)
            )
        else:
            model = transformers.NllbMoeForConditionalGeneration(
                transformers.NllbMoeConfig(**settings)
            )
    tied = (
        "lm_head.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    )
    return {k: tuple(v.shape) for k, v in model.state_dict().items() if k not in tied}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_of_a_published_model_has_a_place(name):
    table, billions = PUBLISHED[name]
    config = from_json(table)
    wanted = tensors(config, layout_in(table))
    assert {t.name: t.shape for t in wanted} == reference_shapes(table)

    shapes = dict(nnx.to_flat_state(nnx.state(abstract_network(config))))
    held: dict[tuple[str | int, ...], int] = {}
    for tensor in wanted:
        leaf = shapes[tensor.path]
        shape = tensor.shape[::-1] if tensor.transposed else tensor.shape
        assert leaf.shape == (shape if tensor.expert is None else (128, *shape)), tensor.name
        held[tensor.path] = held.get(tensor.path, 0) + prod(shape)
    assert held == {path: prod(leaf.shape) for path, leaf in shapes.items()}
    total = sum(held.values())
    assert total / 1e9 == pytest.approx(billions, rel=5e-3)
    assert memory_needed(config) == 4 * total


def test_the_large_one_has_the_experts_that_are_published():
    """PAPER: 128 experts in every 4th layer of each stack, 1,536 in all, of 33.6M parameters each."""
    config = from_json(PUBLISHED["nllb-moe-54b"][0])
    wanted = tensors(config, "nllb-moe")
    experts = {(t.path, t.expert) for t in wanted if t.expert is not None and "w_in" in t.path}
    assert len(experts) == 1536
    of_one = [
        t for t in wanted if t.name.startswith("model.decoder.layers.23.ffn.experts.expert_127.")
    ]
    assert sum(prod(t.shape) for t in of_one) == pytest.approx(33.6e6, rel=2e-3)
    assert config.expert_output_scale == pytest.approx(0.8)
