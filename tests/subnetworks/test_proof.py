"""What a proof refuses to call proved."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.models import EN_DE, captions, new_translator, translator
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.subnetworks.proof import Proof, proofs_table, prove, unequal_table


def test_equal_tokens_alone_are_no_proof():
    """All logits are twice as large: the same words win, in another network."""
    parent, other = translator("target", "target"), new_translator("target", "target")
    for parameter in (
        other.network.decoder.layer_norm.scale,
        other.network.decoder.layer_norm.bias,
    ):
        parameter[...] = 2 * parameter[...]
    other = Translator(other.name, other.config, other.tokenizer, other.network)
    proof = prove(parent, other, captions()[0], "en-de", batch_size=8)
    assert (proof.sentences, proof.identical, proof.different) == (1, 1, 0)
    assert proof.largest_logit_difference > 100 * proof.logits_within
    assert not proof.holds
    assert str(proof).startswith("NOT PROVED")
    assert "but by a tie, yet logits differ by" in proof.objection


def test_logits_that_are_no_numbers_are_no_proof():
    proof = Proof("en-de", "p", 1, 1, 0, 0, float("nan"), 2, 1, (), (), 1.0)
    assert not proof.holds
    assert "logits differ by nan" in proof.objection
    inf = float("inf")
    assert not Proof("en-de", "p", 1, 1, 0, 0, inf, 2, 1, (), (), inf).holds


def test_a_network_of_no_numbers_is_no_proof():
    parent, other = translator("target", "target"), new_translator("target", "target")
    # Its programs translate by the parameters that it was made with: nothing but logits can tell.
    bias = other.network.decoder.layers[1].ffn.b_out
    bias[...] = np.nan * bias[...]
    proof = prove(parent, other, captions()[0], "en-de", batch_size=8)
    assert proof.different == 0
    assert not proof.holds
    assert (
        json.loads(json.dumps(proof.to_json(), allow_nan=False))["largest_logit_difference"] is None
    )


def test_proofs_in_a_table():
    held = Proof("en-de", "p", 5, 5, 0, 0, 1e-6, 10, 5, (), (), 1e-3)
    table = proofs_table(
        [held, replace(held, task="en-fr", identical=4, different=1, differing=(3,))]
    )
    assert list(table["task"]) == ["en-de", "en-fr"]
    assert list(table["holds"]) == [True, False]
    assert unequal_table([held]).empty and "margin" in unequal_table([])


def test_objections_name_a_sentence():
    proof = Proof("en-de", "p", 5, 4, 0, 1, 0.5, 10, 5, (), (3,), 1e-3)
    assert proof.objection == "1 sentence of en-de differs from p's, e.g. number 3."


def test_a_network_with_other_tokens_is_refused():
    with pytest.raises(WorkbenchError, match="was not made from"):
        prove(translator(), new_translator(vocabulary=501), ["a"], EN_DE)
