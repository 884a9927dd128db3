"""Directories that `transformers` wrote load as they are and compute the same."""

from __future__ import annotations

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import workbench as wb  # noqa: E402
from tests.checkpoint.published import mended_experts, published, write  # noqa: E402
from tests.models import captions, tiny_tokenizer  # noqa: E402
from workbench.decoding.translator import Translator  # noqa: E402
from workbench.engines.export import _readme  # noqa: E402
from workbench.engines.loading import under  # noqa: E402

TEXTS = captions()[:6]
LENGTH = 12
ALL_EQUAL = 1e-4


@pytest.fixture(autouse=True)
def _mended(monkeypatch):
    from transformers.models.nllb_moe import modeling_nllb_moe

    monkeypatch.setattr(modeling_nllb_moe.NllbMoeExperts, "forward", mended_experts)


def batch(model: Translator):
    rows = model.tokenizer.encode_sources(TEXTS, "eng_Latn")
    length = max(map(len, rows))
    source = np.array([row + [1] * (length - len(row)) for row in rows], np.int32)
    target = np.random.default_rng(0).integers(4, 400, (len(rows), 9)).astype(np.int32)
    return source, target


@partial(jax.jit, static_argnums=0)
def _forward(graph, parameters, source, target):
    network = nnx.merge(graph, parameters)
    nobody = jnp.zeros(len(source), jnp.int32)
    encoded = network.encode(source, nobody)
    states, routing = network.decode(target, encoded, nobody)
    return encoded.states, network.logits(states), encoded.routing + routing


def compute_here(model: Translator, source, target):
    """Encoder states, logits, and the routings of all layers, the encoder's first."""
    return jax.device_get(_forward(*nnx.split(model.network), source, target))


def compute_there(there, source, target):
    """The same, routings as (gates [N, E], logits [N, E])."""
    seen = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append((out[1], out[2])))
        for name, module in there.named_modules()
        if name.endswith("ffn.router")
    ]
    with torch.no_grad():
        out = there(
            input_ids=torch.tensor(source, dtype=torch.long),
            attention_mask=torch.tensor(source != 1, dtype=torch.long),
            decoder_input_ids=torch.tensor(target, dtype=torch.long),
        )
    for hook in hooks:
        hook.remove()
    routings = [tuple(a.numpy() for a in pair) for pair in seen]
    return out.encoder_last_hidden_state.numpy(), out.logits.numpy(), routings


def assert_same_arrays(model: Translator, there):
    source, target = batch(model)
    real = source != 1
    assert not real.all()
    states, logits, routings = compute_here(model, source, target)
    states_there, logits_there, routings_there = compute_there(there, source, target)
    assert np.abs(states[real] - states_there[real]).max() <= ALL_EQUAL
    assert np.abs(logits - logits_there).max() <= ALL_EQUAL
    assert np.abs(logits).max() > 1
    assert len(routings) == len(routings_there)
    for layer, (routing, (gates, router_logits)) in enumerate(
        zip(routings, routings_there, strict=True)
    ):
        rows = real.reshape(-1) if layer < len(model.config.encoder.expert_layers) else slice(None)
        width = routing.logits.shape[-1]
        ours = np.zeros((*routing.logits.shape[:2], width), np.float32)
        np.put_along_axis(ours, routing.experts, routing.gates, axis=2)
        probabilities = torch.softmax(torch.tensor(router_logits), dim=-1).numpy()
        for found, expected in (
            (routing.logits, router_logits),
            (routing.probabilities, probabilities),
            (ours, gates),
        ):
            assert np.abs(found.reshape(-1, width)[rows] - expected[rows]).max() <= ALL_EQUAL


def assert_same_tokens(model: Translator, there):
    source, _ = batch(model)
    language = model.tokenizer.language_id("deu_Latn")
    for beam_size in (1, 4):
        with torch.no_grad():
            written = there.generate(
                input_ids=torch.tensor(source, dtype=torch.long),
                attention_mask=torch.tensor(source != 1, dtype=torch.long),
                forced_bos_token_id=language,
                num_beams=beam_size,
                do_sample=False,
                max_length=LENGTH + 2,
            ).numpy()
        outputs = model.translate(
            list(TEXTS), "en", "de", beam_size=beam_size, batch_size=8, max_length=LENGTH
        )
        assert beam_size > 1 or len({output.token_ids for output in outputs}) > 1
        for output, row in zip(outputs, written, strict=True):
            assert row[:2].tolist() == [2, language]
            assert tuple(row[2 : 2 + len(output.token_ids)]) == output.token_ids
            assert (row[2 + len(output.token_ids) :] == 1).all()


SHAPES = {
    "dense-odd": (
        "m2m_100",
        {
            "d_model": 45,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 5,
            "encoder_ffn_dim": 21,
            "decoder_ffn_dim": 50,
            "encoder_layers": 1,
            "decoder_layers": 3,
            "scale_embedding": False,
        },
    ),
    "one-expert": ("nllb-moe", {"num_experts": 1}),
    "two-experts-uneven-steps": (
        "nllb-moe",
        {
            "num_experts": 2,
            "encoder_sparse_step": 1,
            "decoder_layers": 3,
            "decoder_sparse_step": 2,
            "encoder_ffn_dim": 17,
        },
    ),
    "five-experts-odd": (
        "nllb-moe",
        {
            "num_experts": 5,
            "d_model": 39,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 1,
            "encoder_layers": 3,
            "encoder_sparse_step": 3,
            "decoder_sparse_step": 1,
            "decoder_ffn_dim": 33,
        },
    ),
    "sixteen-experts-dense-encoder": (
        "nllb-moe",
        {"num_experts": 16, "moe_token_dropout": 0.0, "encoder_sparse_step": 0},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_model_computes_the_same_here(name, tmp_path):
    kind, changes = SHAPES[name]
    there = published(kind, **changes)
    model = wb.load(write(there, tmp_path / "it"))
    assert model.config.languages == model.tokenizer.languages
    assert_same_arrays(model, there)
    assert_same_tokens(model, there)


def test_a_model_with_m2m100s_own_tokenizer_translates_the_same(tmp_path):
    import sentencepiece
    import transformers

    path = tmp_path / "it"
    model = tiny_tokenizer()._model
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    there = published("m2m_100", vocab_size=len(pieces) + 108)
    there.save_pretrained(path)
    (path / "sentencepiece.bpe.model").write_bytes(model)
    vocabulary = {pieces.IdToPiece(i): i for i in range(len(pieces))}
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    their_tokenizer = transformers.M2M100Tokenizer.from_pretrained(path, src_lang="en")
    here = wb.load(path)
    assert here.task("en", "de") == wb.parse_task("eng_Latn-deu_Latn")
    rows = their_tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    source, _ = batch(here)
    np.testing.assert_array_equal(rows.input_ids.numpy(), source)
    assert here.tokenizer.language_id("de") == their_tokenizer.get_lang_id("de")
    assert_same_tokens(here, there)
    asked = {"batch_size": 8, "max_length": LENGTH}
    converted = under(here, "ctranslate2").translate(list(TEXTS), "en", "de", **asked)
    ours = here.translate(list(TEXTS), "en", "de", **asked)
    assert [each.token_ids for each in converted] == [each.token_ids for each in ours]
    task = here.config.directions[0]
    assert str(task) == "afr_Latn-amh_Ethi"
    told = _readme(here, "float32")
    assert 'src_lang="af")' in told and 'target_prefix=[["__am__"]]' in told


def test_shards_hold_the_same_as_one_file(tmp_path):
    there = published("nllb-moe")
    whole = wb.load(write(there, tmp_path / "whole"))
    write(there, tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    shards = wb.load(tmp_path / "shards")
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in (whole, shards)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_loaded_and_saved_is_opened_there_again(tmp_path):
    import transformers

    for kind in ("m2m_100", "nllb-moe"):
        there = published(kind)
        wb.load(write(there, tmp_path / kind)).save(tmp_path / f"{kind}-again")
        again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / f"{kind}-again")
        assert type(again) is type(there)
        for name, parameter in there.named_parameters():
            assert torch.equal(again.get_parameter(name), parameter), name


# The details of NLLB-MoE, each by itself.


def test_expert_outputs_are_scaled_by_what_dropout_leaves(tmp_path):
    """And not at all where it is zero: `sixteen-experts-dense-encoder` above."""
    there = published("nllb-moe", moe_token_dropout=0.35)
    model = wb.load(write(there, tmp_path / "it"))
    assert model.config.expert_output_scale == pytest.approx(0.65)
    assert_same_arrays(model, there)


@pytest.mark.parametrize("before", [False, True])
def test_gates_may_be_normalised_before_or_after_dropping_nothing(before, tmp_path):
    there = published("nllb-moe", normalize_router_prob_before_dropping=before)
    assert_same_arrays(wb.load(write(there, tmp_path / "it")), there)


def test_where_all_tokens_want_one_expert_none_is_dropped(tmp_path):
    """Capacity at evaluation is the fraction 1.0 of the tokens: room for all of them."""
    there = published("nllb-moe")
    with torch.no_grad():
        for layer in there.model.encoder.layers[1:]:
            layer.ff_layer_norm.bias.fill_(1.0)
            layer.ff_layer_norm.weight.fill_(0.01)
            layer.ffn.router.classifier.weight[2] = 5.0
    model = wb.load(write(there, tmp_path / "it"))
    source, target = batch(model)
    chosen = compute_here(model, source, target)[2][0].experts[..., 0]
    assert (chosen == 2).all()
    assert_same_arrays(model, there)


@pytest.mark.parametrize("ignore", [False, True])
def test_padding_may_be_routed_or_masked_and_no_real_token_sees_it(ignore, tmp_path):
    there = published("nllb-moe", router_ignore_padding_tokens=ignore)
    model = wb.load(write(there, tmp_path / "it"))
    assert_same_arrays(model, there)
    source, target = batch(model)
    gates = compute_there(there, source, target)[2][0][0].reshape(*source.shape, -1)
    assert (gates[source == 1].sum() > 0) == ignore


def test_batch_prioritised_routing_changes_nothing(tmp_path):
    there = published("nllb-moe", batch_prioritized_routing=True)
    assert_same_arrays(wb.load(write(there, tmp_path / "it")), there)


def test_the_router_stays_in_float32_in_a_shorter_network(tables):
    model = wb.load(tables / "nllb-moe", dtype="bfloat16")
    block = model.network.encoder.layers[1].ffn
    assert block.w_in.dtype == jnp.bfloat16
    assert block.router.kernel.dtype == jnp.float32
    stored = load_file(tables / "nllb-moe" / "model.safetensors")
    name = "model.encoder.layers.1.ffn.router.classifier.weight"
    np.testing.assert_array_equal(block.router.kernel[...].T, stored[name])
    name = "model.encoder.layers.1.ffn.experts.expert_3.fc1.weight"
    half = stored[name].astype(jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(block.w_in[3]).T, half)


def test_languages_stand_first_on_both_sides(tables):
    tokenizer = wb.load(tables / "nllb-moe").tokenizer
    ids = tokenizer.encode_source("A man.", "en")
    assert (ids[0], ids[-1]) == (tokenizer.language_id("eng_Latn"), 2)
    assert tokenizer.encode_target("A man.", "de")[0] == tokenizer.language_id("deu_Latn")


def oracle(states, router, experts, scale):
    """The layer of NLLB-MoE in float64: top 2 of a softmax, renormalised, outputs scaled."""
    logits = states @ router.T
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    mixed = np.zeros_like(states)
    for row, probabilities in enumerate(odds):
        best = np.argsort(-probabilities)[:2]
        for expert in best:
            gate = probabilities[expert] / probabilities[best].sum()
            w_in, b_in, w_out, b_out = experts[expert]
            hidden = np.maximum(w_in @ states[row] + b_in, 0)
            mixed[row] += scale * gate * (w_out @ hidden + b_out)
    return mixed


def test_the_mended_reference_is_the_published_formula(tables):
    """The reference is worth what its own check in float64 is; and so is ours."""
    there = published("nllb-moe")
    block = there.model.encoder.layers[1].ffn
    states = np.random.default_rng(1).normal(size=(2, 7, 32))
    with torch.no_grad():
        found = block(torch.tensor(states, dtype=torch.float32)).numpy()
    weights = {k: v.numpy().astype(np.float64) for k, v in block.state_dict().items()}
    experts = [
        [
            weights[f"experts.expert_{e}.{part}"]
            for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
        ]
        for e in range(4)
    ]
    expected = oracle(states.reshape(-1, 32), weights["router.classifier.weight"], experts, 0.8)
    np.testing.assert_allclose(found.reshape(-1, 32), expected, atol=1e-5)
    ours = wb.load(tables / "nllb-moe").network.encoder.layers[1].ffn
    ours.dispatcher = "reference"  # which all others agree with, and which compiles fastest
    given = jnp.asarray(states, jnp.float32)
    out, _ = ours(given, given.mean(axis=1), jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(np.asarray(out).reshape(-1, 32), expected, atol=1e-5)
