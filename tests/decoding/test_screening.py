"""The screen: the full product's choice whatever the rows are, its bound, and where it leaves the choice open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import KINDS, captions, translator
from workbench.decoding.screening import Screen, choose, make_screen
from workbench.decoding.search import first_argmax

ROWS, WIDTH = 500, 96
OPEN = -1


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_full(output_map, state):
    return first_argmax(jnp.asarray(output_map) @ jnp.asarray(state)[:, None])[0][0]


@jax.jit
def chosen(output_map, state):
    """What the screen with the full product chooses, and what it proves alone: OPEN where nothing."""
    screen = make_screen(output_map)
    both = choose(screen, state, lambda: in_full(output_map, state))
    return both, choose(screen, state, lambda: jnp.int32(OPEN))


def check(output_map, states):
    """Every choice is the full product's; the share that the screen proved alone."""
    proved = 0
    for state in states:
        both, alone = map(int, chosen(output_map, state))
        wanted = int(in_full(output_map, state))
        assert both == wanted
        assert alone in (OPEN, wanted)
        proved += alone != OPEN
    return proved / len(states)


@pytest.mark.parametrize("size", [1e-3, 1, 1e3])
@pytest.mark.parametrize("width", [1, 7, WIDTH, 2048])
def test_random_rows(width, size):
    proved = check(random(ROWS, width) * np.float32(size), random(10, width, seed=1))
    # The bound grows with the width beside what random products differ by.
    assert proved > 0.2 or width in (1, 2048)


def test_rows_of_very_different_sizes():
    output_map = random(ROWS, WIDTH) * np.geomspace(1e-6, 1e3, ROWS, dtype=np.float32)[:, None]
    assert check(output_map, random(10, WIDTH, seed=1)) > 0.2


def test_rows_that_are_stored_in_8_bits_lose_nothing():
    """As the bundled checkpoints are."""
    codes = np.round(random(ROWS, WIDTH) * 40).clip(-127, 127)
    codes[:, 0] = 127
    output_map = (codes * random(ROWS, 1, seed=2) / 100).astype(np.float32)
    assert check(output_map, random(10, WIDTH, seed=1)) > 0.95


@pytest.mark.parametrize("difference", [0, 1e-7, 1e-5, 1e-3])
def test_near_ties(difference):
    """All rows almost the same: which is the largest is up to the last bits, or to the order."""
    one = random(1, WIDTH)
    output_map = one + np.float32(difference) * random(ROWS, WIDTH, seed=2)
    proved = check(output_map, random(10, WIDTH, seed=1))
    assert proved == 0 or difference > 1e-5


def test_a_tie_for_the_highest_is_left_to_the_full_product():
    output_map = random(ROWS, WIDTH)
    state = random(WIDTH, seed=1)
    best = int(in_full(output_map, state))
    for twin in (0, ROWS - 1):
        twins = output_map.copy()
        twins[twin] = output_map[best]
        both, alone = chosen(twins, state)
        assert int(both) == min(best, twin) and int(alone) == OPEN


def test_states_and_rows_of_nothing():
    output_map = random(ROWS, WIDTH)
    zero, tiny = np.zeros(WIDTH, np.float32), random(WIDTH, seed=1) * np.float32(1e-30)
    for state in (zero, tiny):
        both, alone = chosen(output_map, state)
        assert int(both) == int(in_full(output_map, state)) and int(alone) == OPEN
    assert check(np.zeros_like(output_map), random(3, WIDTH, seed=1)) == 0
    output_map[::2] = 0
    assert check(output_map, random(10, WIDTH, seed=1)) > 0.2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_proves_nothing(bad):
    state = random(WIDTH)
    state[3] = bad
    assert int(chosen(random(ROWS, WIDTH), state)[1]) == OPEN


def test_a_row_that_is_out_of_the_question():
    output_map, state = random(ROWS, WIDTH), random(WIDTH, seed=1)
    first, second = 3, 400
    output_map[first], output_map[second] = 3 * state, 2 * state
    screen = make_screen(jnp.asarray(output_map))
    assert int(choose(screen, jnp.asarray(state), lambda: jnp.int32(OPEN), int(first))) == second


def test_the_radius_holds():
    """Against sums in float64, and in the worst direction, along what the narrow copy lost of each row."""
    output_map = random(64, WIDTH)
    codes, scale, radius = (np.asarray(x) for x in make_screen(jnp.asarray(output_map)))
    lost = output_map.astype(np.float64) - codes.astype(np.float64) * scale[:, None]
    for row, direction in enumerate(lost):
        state = direction / np.linalg.norm(direction)
        off = abs(lost[row] @ state)
        assert off <= radius[row]
        assert off > radius[row] / 2  # else it would be no bound to speak of


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_one_sentence_without_scores_is_translated_alike(kind):
    """With scores there is no screen; neither is there in a batch."""
    model = translator(*kind)
    assert isinstance(model._screen, Screen)
    lengths = map(len, model.tokenizer.encode_sources(list(captions()), "en"))
    texts = [t for t, n in zip(captions(), lengths, strict=True) if 24 < n <= 32][:12]
    wanted = [o.token_ids for o in model.translate(texts, "en", "de", batch_size=1, max_length=20)]
    for size in (1, 4):
        found = model.translate(
            texts, "en", "de", batch_size=size, max_length=20, with_scores=False
        )
        assert [o.token_ids for o in found] == wanted
