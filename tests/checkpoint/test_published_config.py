"""What a published configuration says, what it leaves out, and what is refused since it cannot be done the same."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytest.importorskip("torch")
pytest.importorskip("transformers")

import workbench as wb
from tests.checkpoint.published import MOE, SHAPE
from workbench.checkpoint.directory import CheckpointError, read_config


def test_both_spellings_of_the_model_type_are_read(changed):
    """`transformers` has written both; it opens only its own."""
    assert read_config(changed("nllb-moe")) == read_config(
        changed("nllb-moe", model_type="nllb_moe")
    )
    assert wb.load(changed("nllb-moe", model_type="nllb_moe")).config.encoder.experts == 4


def test_scaling_is_one_fifth_off_where_a_configuration_does_not_say(changed):
    config = read_config(changed("nllb-moe", moe_token_dropout="absent"))
    assert config.expert_output_scale == 0.8


def test_experts_stand_in_every_nth_layer(changed):
    config = read_config(
        changed(
            "nllb-moe",
            encoder_layers=24,
            decoder_layers=10,
            encoder_sparse_step=4,
            decoder_sparse_step=3,
        )
    )
    assert config.encoder.expert_layers == (3, 7, 11, 15, 19, 23)
    assert config.decoder.expert_layers == (2, 5, 8)
    assert config.encoder.router.top_k == 2


# What cannot be the same is refused.


@pytest.mark.parametrize(
    ("kind", "key", "value", "accepted"),
    [
        ("m2m_100", "activation_function", "gelu", "'relu'"),
        ("m2m_100", "tie_word_embeddings", False, "True"),
        ("m2m_100", "pad_token_id", 0, "1"),
        ("m2m_100", "eos_token_id", 3, "2"),
        ("m2m_100", "decoder_start_token_id", 0, "2"),
        ("m2m_100", "scale_embedding", 1, "True or False"),
        ("m2m_100", "d_model", "32", "a whole number from 1 on"),
        ("m2m_100", "vocab_size", 0, "a whole number from 1 on"),
        ("m2m_100", "encoder_layers", True, "a whole number from 1 on"),
        ("nllb-moe", "router_bias", True, "False"),
        ("nllb-moe", "router_dtype", "bfloat16", "'float32'"),
        ("nllb-moe", "second_expert_policy", "sampling", "'all'"),
        ("nllb-moe", "moe_eval_capacity_token_fraction", 0.5, "1.0"),
        ("nllb-moe", "moe_eval_capacity_token_fraction", -1.0, "1.0"),
        ("nllb-moe", "moe_token_dropout", 1.0, "a number from 0 to less than 1"),
        ("nllb-moe", "decoder_sparse_step", -1, "a whole number from 0 on"),
        ("nllb-moe", "num_experts", 0, "a whole number from 1 on"),
        ("nllb-moe", "normalize_router_prob_before_dropping", "yes", "True or False"),
    ],
)
def test_what_cannot_be_done_exactly_is_refused(kind, key, value, accepted, changed):
    with pytest.raises(CheckpointError) as caught:
        wb.load(changed(kind, **{key: value}))
    message = str(caught.value)
    assert f"{key} is {value!r}. Accepted: {accepted}" in message
    assert "\n" not in message


def test_one_expert_with_gates_normalised_before_dropping_is_refused(changed):
    """There the second choice is the first again, is dropped, and takes half of the weight with it."""
    path = changed("nllb-moe", num_experts=1, normalize_router_prob_before_dropping=True)
    with pytest.raises(CheckpointError, match="normalize_router_prob_before_dropping is True"):
        read_config(path)


@pytest.mark.parametrize("key", ["d_model", "encoder_layers", "decoder_ffn_dim", "vocab_size"])
def test_what_a_configuration_lacks_is_named(key, changed):
    with pytest.raises(CheckpointError, match=rf"config\.json lacks '{key}'"):
        read_config(changed("m2m_100", **{key: "absent"}))


@pytest.mark.parametrize("model_type", ["bert", "mbart", None, ["m2m_100"]])
def test_another_architecture_is_refused(model_type, changed):
    with pytest.raises(CheckpointError, match=r"of another kind\. Accepted: m2m_100"):
        read_config(changed("m2m_100", model_type=model_type))


def test_a_shape_that_the_weights_do_not_have_is_refused(changed):
    with pytest.raises(CheckpointError, match=r"fc1\.weight has shape \[24, 32\], expected \[25"):
        wb.load(changed("m2m_100", encoder_ffn_dim=25))
    with pytest.raises(CheckpointError, match=r"has unknown .*expert_3"):
        wb.load(changed("nllb-moe", num_experts=3))


# Names under which the one embedding is stored, too or instead, and tables that are computed.

SHARED = "model.shared.weight"
ENCODER, DECODER, HEAD = (
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)


@pytest.mark.parametrize("names", [(SHARED, ENCODER, DECODER, HEAD), (HEAD,), (ENCODER, DECODER)])
def test_the_embedding_may_have_its_other_names(names, changed):
    path = changed("m2m_100")
    tensors = load_file(path / "model.safetensors")
    shared = tensors.pop(SHARED)
    tensors |= {name: shared.copy() for name in names}
    tensors["model.encoder.embed_positions.weights"] = np.zeros((66, 32), np.float32)
    save_file(tensors, path / "model.safetensors")
    np.testing.assert_array_equal(wb.load(path).network.embedding[...], shared)


def test_embeddings_that_differ_are_refused(changed):
    path = changed("m2m_100")
    tensors = load_file(path / "model.safetensors")
    tensors[HEAD] = tensors[SHARED] + 1
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is not the same as model\.shared"):
        wb.load(path)


def test_a_tokenizer_that_is_too_small_is_refused(changed):
    path = changed("m2m_100")
    config = json.loads((path / "config.json").read_text())
    tensors = load_file(path / "model.safetensors")
    tensors[SHARED] = np.zeros((900, 32), np.float32)
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config | {"vocab_size": 900}))
    with pytest.raises(wb.WorkbenchError, match="has 500 tokens, but the network's vocabulary 900"):
        wb.load(path)


def test_what_is_left_out_has_the_value_that_transformers_gives_it(changed):
    """The defaults of `public_config` are those of the reference."""
    import transformers

    for kind, settings, shape in (
        ("m2m_100", transformers.M2M100Config, SHAPE),
        ("nllb-moe", transformers.NllbMoeConfig, MOE),
    ):
        whole = settings(**shape).to_dict()
        optional = [key for key in whole if key not in shape and key != "model_type"]
        left_out = read_config(changed(kind, **dict.fromkeys(optional, "absent")))
        given = read_config(changed(kind, **{key: whole[key] for key in optional}))
        assert dataclasses.asdict(left_out) == dataclasses.asdict(given)
