"""Checkpoints as `transformers` reads them: same states, same logits, same tokens."""

import numpy as np
import pytest

from tests.models import EN_DE, captions, new_translator, stack, tiny_tokenizer, translator
from workbench.checkpoint.directory import read_config
from workbench.config import StackConfig
from workbench.errors import WorkbenchError
from workbench.subnetworks.extract import extract

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = captions()[:6]
LENGTH = 24


def mended_experts(experts, hidden_states, router_mask, router_probs):
    """NLLB-MoE's experts as published: each expert, its tokens, its weights.

    `transformers` 5.23 one-hot encodes what already is a mask, so that experts 0 and 1 stand in for all of
    them (`test_the_reference_still_needs_mending`).
    """
    mixed = torch.zeros_like(hidden_states)
    for index in range(experts.num_experts):
        output = experts[f"expert_{index}"](hidden_states) * (1 - experts.moe_token_dropout)
        mixed = mixed + router_probs[:, index, None] * output
    return mixed


@pytest.fixture
def mended(monkeypatch):
    from transformers.models.nllb_moe import modeling_nllb_moe

    monkeypatch.setattr(modeling_nllb_moe.NllbMoeExperts, "forward", mended_experts)


def open_there(model, directory):
    model.save(directory)
    there, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        directory, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return there.eval()


def assert_equal_to_theirs(model, there):
    """Encoder states, teacher-forced logits, and greedy and beam-4 tokens, of a padded batch."""
    rows = model.tokenizer.encode_sources(TEXTS, "eng_Latn")
    length = max(map(len, rows))
    source = np.array([row + [1] * (length - len(row)) for row in rows], np.int32)
    limits = np.full(len(rows), LENGTH, np.int32)
    assert (source == 1).any()
    ids = [np.zeros(len(rows), np.int32)] * 2
    encoded = model.network.encode(source, ids[0])
    target = np.random.default_rng(0).integers(4, 400, (len(rows), 9)).astype(np.int32)
    ours = model.network.logits(model.network.decode(target, encoded, ids[1])[0])
    tensors = {
        "input_ids": torch.tensor(source, dtype=torch.long),
        "attention_mask": torch.tensor(source != 1, dtype=torch.long),
    }
    language = model.tokenizer.language_id("deu_Latn")
    with torch.no_grad():
        theirs = there(**tensors, decoder_input_ids=torch.tensor(target, dtype=torch.long))
        written = {
            beam_size: there.generate(
                **tensors,
                forced_bos_token_id=language,
                num_beams=beam_size,
                do_sample=False,
                max_length=LENGTH + 2,
            ).numpy()
            for beam_size in (1, 4)
        }
    seen = source != 1
    states = theirs.encoder_last_hidden_state.numpy()
    np.testing.assert_allclose(np.asarray(encoded.states)[seen], states[seen], atol=1e-4)
    scale = np.abs(theirs.logits.numpy()).max()
    assert np.abs(ours - theirs.logits.numpy()).max() <= 1e-4 * max(1.0, scale)

    for beam_size, rows_there in written.items():
        outputs = model.translate(
            TEXTS, "en", "de", beam_size=beam_size, batch_size=8, max_length=int(limits[0])
        )
        assert beam_size > 1 or len({output.token_ids for output in outputs}) > 1
        for output, row in zip(outputs, rows_there, strict=True):
            assert row[:2].tolist() == [2, language]
            assert tuple(row[2 : 2 + len(output.token_ids)]) == output.token_ids
            assert (row[2 + len(output.token_ids) :] == 1).all()


def test_a_dense_checkpoint_is_an_m2m100_model(tmp_path):
    model = translator("dense", "dense")
    there = open_there(model, tmp_path / "it")
    assert type(there).__name__ == "M2M100ForConditionalGeneration"
    assert_equal_to_theirs(model, there)
    row = torch.tensor([model.tokenizer.encode_source(TEXTS[0], "eng_Latn")])
    language = model.tokenizer.language_id("deu_Latn")
    assert there.generate(row, forced_bos_token_id=language).shape[1] > 2 + 20  # its own default
    there.save_pretrained(tmp_path / "theirs")
    assert read_config(tmp_path / "theirs") == model.config
    there.config.activation_function = "gelu"  # as who trains on may
    there.save_pretrained(tmp_path / "theirs")
    with pytest.raises(WorkbenchError, match="says activation_function 'gelu'"):
        read_config(tmp_path / "theirs")


def test_uneven_widths_are_filled_up_with_zeros(tmp_path):
    model = new_translator(StackConfig(4, (24, 40)), StackConfig(4, (16, 24, 8)))
    there = open_there(model, tmp_path / "it")
    assert there.model.encoder.layers[0].fc1.weight.shape == (40, 32)
    assert there.model.encoder.layers[0].fc1.weight[24:].abs().max() == 0
    assert there.model.decoder.layers[2].fc2.weight.shape == (32, 24)
    assert_equal_to_theirs(model, there)


def test_an_extracted_sub_network_is_an_m2m100_model(tmp_path):
    small = extract(translator("target", "target"), [EN_DE])
    assert small.config.encoder.feed_forward_widths == (24, 48)
    assert_equal_to_theirs(small, open_there(small, tmp_path / "it"))


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_a_token_routed_checkpoint_is_an_nllb_moe_model(tmp_path, mended, scale):
    model = new_translator("token", "token", expert_output_scale=scale)
    there = open_there(model, tmp_path / "it")
    assert type(there).__name__ == "NllbMoeForConditionalGeneration"
    assert there.config.moe_token_dropout == pytest.approx(1 - scale)
    assert_equal_to_theirs(model, there)


def test_uneven_sparse_steps_are_kept(tmp_path, mended):
    shapes = [stack("token", layers=2, expert_layers=(0, 1)), stack("token", layers=3)]
    model = new_translator(*shapes)
    assert_equal_to_theirs(model, open_there(model, tmp_path / "it"))


def test_the_reference_still_needs_mending(tmp_path):
    """When this fails, `transformers` has been mended: take `mended_experts` out."""
    from transformers.models.nllb_moe import modeling_nllb_moe

    there = open_there(translator("token", "token"), tmp_path / "it")
    experts = there.model.encoder.layers[1].ffn.experts
    states = torch.tensor(np.random.default_rng(0).normal(size=(5, 32)), dtype=torch.float32)
    chosen = torch.zeros(5, 4, dtype=torch.long)
    chosen[:, 3] = 1
    with torch.no_grad():
        found = modeling_nllb_moe.NllbMoeExperts.forward(experts, states, chosen, chosen.float())
        assert not torch.allclose(found, experts["expert_3"](states), atol=1e-3)


def test_the_tokenizer_gives_the_same_ids(tmp_path):
    translator().save(tmp_path / "it")
    there = transformers.AutoTokenizer.from_pretrained(tmp_path / "it", src_lang="eng_Latn")
    assert there(list(TEXTS)).input_ids == tiny_tokenizer().encode_sources(TEXTS, "eng_Latn")
    assert there.convert_tokens_to_ids("deu_Latn") == tiny_tokenizer().language_id("deu_Latn")
