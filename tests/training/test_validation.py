"""Validation: a direction's loss is that of all its tokens, worked through in batches of one shape."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, captions, config, network, tiny_tokenizer
from workbench.decoding.translator import Translator
from workbench.tasks import Task
from workbench.text.pairs import Pairs
from workbench.training.recipe import recipe_from
from workbench.training.validation import Validator

DE_EN = Task("deu_Latn", "eng_Latn")
RECIPE = {
    "name": "tiny",
    "data": {
        "directory": "-",
        "languages": ["en", "de"],
        "batch_tokens": 2 * 64 + 5,
        "buckets": [32, 64],
    },
    "model": {"max_positions": 64},
    "run": {"valid_sentences": 5},
}


def test_losses_are_of_every_token_and_one_program_does_for_all_directions(monkeypatch):
    def translate(_self, sentences, *_rest, **_more):
        return list(sentences)

    monkeypatch.setattr(Translator, "translate", translate)
    sides = [sorted(captions(code), key=len)[:7] for code in ("eng_Latn", "deu_Latn")]
    pairs = Pairs({DE_EN: (sides[1][:3], sides[0][:3]), EN_DE: (sides[0], sides[1])})
    shape = dataclasses.replace(config(), tasks=(DE_EN, EN_DE))
    validator = Validator(pairs, tiny_tokenizer(), shape, recipe_from(RECIPE))
    made = network(shape)
    found = validator(made)["valid_nats"]
    assert validator._losses._cache_size() == 1
    assert {b.source.shape for each in validator._batches.values() for b in each} == {(2, 64)}
    assert [len(each) for each in validator._batches.values()] == [2, 3]

    graph, state = nnx.split(made)

    @jax.jit
    def surprise(state, source, inputs, labels, ids):
        net = nnx.merge(graph, state)
        logits = net.logits(net(source, inputs, *ids)[0])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]

    tokens = []
    for source, target in zip(sides[0][:5], sides[1][:5], strict=True):
        rows = np.full((3, 1, 64), shape.pad_id, np.int32)
        s, t = (
            tiny_tokenizer().encode_sources([line], code)[0]
            for line, code in ((source, "eng_Latn"), (target, "deu_Latn"))
        )
        rows[0, 0, : len(s)], rows[2, 0, : len(t)] = s, t
        rows[1, 0, : len(t)] = [shape.eos_id, *t[:-1]]
        ids = [np.full(1, i, np.int32) for i in shape.task_ids(EN_DE)]
        tokens.append(np.asarray(surprise(state, *rows, ids))[0, 1 : len(t)])
    assert found[str(EN_DE)] == pytest.approx(np.concatenate(tokens).mean(), rel=1e-5)
