"""Beam search: every translation enumerated, transformers' own search, neighbours in the batch."""

from itertools import product
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers

from tests.models import captions, config, network, translator
from workbench.decoding.beam import beam_search
from workbench.decoding.search import Request
from workbench.decoding.translator import Translator

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
PAD, EOS = 1, 2


def test_a_beam_as_wide_as_everything_finds_the_best_of_everything():
    """With 12 tokens and at most 3 of them, 150 rows are all there is."""
    made = network(config("token", "target", vocabulary=12), seed=2)
    source = np.array([[4, 5, 6, 2, PAD], [7, 8, 9, 10, 2]], np.int32)
    rows = np.zeros(2, np.int32)
    language, limit = 11, 3
    request = Request(source, rows, rows, rows + language, rows + limit)
    found = jax.jit(lambda: beam_search(made, request, limit, 150))()

    every = []
    for length in range(1, limit + 1):
        for tokens in product(range(12), repeat=length):
            ends = EOS in tokens and tokens.index(EOS) == length - 1
            if ends or (length == limit and EOS not in tokens):
                every.append(tokens)
    padded = np.array([t + (PAD,) * (limit - len(t)) for t in every], np.int32)
    lengths = np.array([len(t) for t in every])
    first = np.tile([EOS, language], (len(every), 1))
    read = np.concatenate([first, padded[:, :-1]], axis=1).astype(np.int32)
    ids = np.zeros(len(every), np.int32)
    for index, sentence in enumerate(source):
        states, _ = made(np.tile(sentence, (len(every), 1)), read, ids, ids)
        gains = jax.nn.log_softmax(made.logits(states)[:, 1:])
        gains = np.take_along_axis(np.asarray(gains), padded[:, :, None], axis=2)[:, :, 0]
        sums = (gains * (np.arange(limit) < lengths[:, None])).sum(axis=1)
        best = (sums / (lengths + 1)).argmax()
        assert found.tokens[index].tolist() == padded[best].tolist()
        assert found.lengths[index] == lengths[best]
        assert found.scores[index] == pytest.approx(sums[best], rel=1e-5)


@pytest.mark.parametrize("beam_size", [4])
def test_a_trained_model_gives_the_translations_of_transformers(beam_size):
    directory = CHECKPOINTS / "captions-dense"
    model, texts = Translator.load(directory), captions()[:24]
    ours = model.translate(texts, "en", "fr", beam_size=beam_size, batch_size=24)
    there = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, dtype="float32").eval()
    language = model.tokenizer.language_id("fra_Latn")
    for text, found in zip(texts, ours, strict=True):
        ids = model.tokenizer.encode_source(text, "en")
        with torch.no_grad():
            [written] = there.generate(
                input_ids=torch.tensor([ids]),
                forced_bos_token_id=language,
                num_beams=beam_size,
                do_sample=False,
                max_new_tokens=2 * len(ids) + 33,
            ).tolist()
        assert tuple(written[2:]) == found.token_ids
    assert not any(found.truncated for found in ours)
    greedy = model.translate(texts, "en", "fr", batch_size=24)
    assert any(a != b for a, b in zip(ours, greedy, strict=True))


@pytest.mark.parametrize("kind", [("dense", "dense"), ("token", "target")], ids="-".join)
def test_alone_in_a_batch_and_padded_are_the_same(kind):
    model, texts = translator(*kind), [*captions()[:5], ""]
    together = model.translate(texts, "en", "de", beam_size=3, batch_size=8, max_length=12)
    assert together[-1] == "" and together[-1].token_ids == ()
    for text, found in zip(texts, together, strict=True):
        [alone] = model.translate(text, "en", "de", beam_size=3, batch_size=1, max_length=12)
        assert alone.token_ids == found.token_ids
        assert alone.score == pytest.approx(found.score, abs=1e-4)
