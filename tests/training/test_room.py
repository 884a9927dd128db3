"""Room in memory: what is reckoned of a network's shape is nearly what its weights take, and no more."""

import pytest

from tests.models import KINDS, config
from workbench.checkpoint.weights import memory_needed
from workbench.training.room import _parameters


@pytest.mark.parametrize(("encoder", "decoder"), KINDS)
def test_weights_are_reckoned_from_below(encoder, decoder):
    shape = config(encoder, decoder)
    assert 0.9 * memory_needed(shape) < 4 * _parameters(shape) <= memory_needed(shape)
