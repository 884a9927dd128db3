"""Greedy search in one loop on the device, with cached keys and values."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from workbench.decoding.screening import Screen, choose
from workbench.nn.network import TranslationNetwork
from workbench.nn.transformer import Cache

#: Rows of the logits whose maximum is taken first.
_BLOCK = 32

#: A numpy array on the host, or a jax one.
Array: TypeAlias = Any


class Request(NamedTuple):
    """What to translate: B sentences, padded to S tokens.

    source: int32 [B, S], padded with pad_id. encoder_task_ids, decoder_task_ids: int32 [B], router rows.
    language_ids: int32 [B], the token that every translation begins with. limits: int32 [B], most tokens
    to write after it, the end token included; 0 in rows that only fill the batch.
    """

    source: Array
    encoder_task_ids: Array
    decoder_task_ids: Array
    language_ids: Array
    limits: Array


class SearchOptions(NamedTuple):
    """How to search.

    beam_size: 1, greedy; else the rows of a beam search. early_stopping: of a beam search, see there.
    with_scores: whether scores are wanted.
    """

    beam_size: int = 1
    early_stopping: bool = False
    with_scores: bool = True


class Found(NamedTuple):
    """What was found: tokens int32 [B, capacity] after the language token, padded with pad_id; lengths int32 [B],
    the end token included; scores float32 [B], sum of log-probabilities (zero unless asked for); finished
    bool [B], False where the search would have gone on, had there been more capacity.
    """

    tokens: Array
    lengths: Array
    scores: Array
    finished: Array


class _State(NamedTuple):
    step: jax.Array  # tokens written so far, language token not counted
    token: jax.Array  # int32 [B], what the decoder reads next
    cache: Cache
    found: Found


def greedy(
    network: TranslationNetwork,
    request: Request,
    capacity: int,
    with_scores: bool,
    screen: Screen | None = None,
    without: int | None = None,
) -> Found:
    """The most probable token at every step, until the end token or the sentence's limit.

    capacity: tokens there is room for; static, it shapes the cache, which every step reads as a whole. The loop
    ends as soon as every sentence has, or with the capacity: then `finished` tells them apart.
    screen: of the network's embedding, for one sentence without scores: the same tokens, sooner on CPU.
    without: a token that is never written.
    """
    config = network.config
    encoded = network.encode(request.source, request.encoder_task_ids)
    memory = network.decoder.memory(encoded)
    positions = network.positions(capacity + 1).astype(encoded.states.dtype)
    batch = request.source.shape[0]
    assert screen is None or (batch == 1 and not with_scores)

    def read(tokens: jax.Array, position: jax.Array | int, cache: Cache) -> tuple[jax.Array, Cache]:
        x = network.look_up(tokens)[:, None] + positions[position]
        states, cache, _ = network.decoder.step(
            x, position, cache, memory, request.decoder_task_ids
        )
        return states[:, 0], cache

    def logits_of(states: jax.Array) -> jax.Array:
        logits = network.logits_by_token(states)
        if without is None:
            return logits
        return logits.at[without].set(-jnp.inf)

    def write(state: _State) -> _State:
        # The decoder has read the end token, then reads the target language's: NLLB's prefix.
        states, cache = read(state.token, state.step + 1, state.cache)
        if screen is not None:
            in_full = lambda: first_argmax(logits_of(states))[0][0]  # noqa: E731
            best = choose(screen, states[0], in_full, without)[None]
        else:
            logits = logits_of(states)
            best, highest = first_argmax(logits)
        found = state.found
        token = jnp.where(found.finished, config.pad_id, best)
        scores = found.scores
        if with_scores:
            gain = -jnp.log(jnp.exp(logits.astype(jnp.float32) - highest).sum(axis=0))
            scores = scores + jnp.where(found.finished, 0.0, gain)
        lengths = found.lengths + ~found.finished
        finished = found.finished | (token == config.eos_id) | (lengths >= request.limits)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            found.tokens, token[:, None], state.step, axis=1
        )
        found = Found(tokens, lengths, scores, finished)
        return _State(state.step + 1, token, cache, found)

    _, cache = read(
        jnp.full(batch, config.eos_id, jnp.int32),
        0,
        network.decoder.empty_cache(memory, capacity + 1),
    )
    start = _State(
        step=jnp.int32(0),
        token=request.language_ids.astype(jnp.int32),
        cache=cache,
        found=Found(
            jnp.full((batch, capacity), config.pad_id, jnp.int32),
            jnp.zeros(batch, jnp.int32),
            jnp.zeros(batch, jnp.float32),
            request.limits <= 0,
        ),
    )
    return jax.lax.while_loop(
        lambda state: ~state.found.finished.all() & (state.step < capacity), write, start
    ).found


def first_argmax(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Index int32 [N] of the first largest of `logits` [V, N] along V, and its value float32 [N].

    Maxima of blocks of rows first, which XLA vectorises on CPU, as it does not its argmax; only the first block
    that holds the largest is then looked through.
    """
    rows = logits.shape[0]
    block = (_BLOCK, 1)
    highs = jax.lax.reduce_window(
        logits, -jnp.inf, jax.lax.max, block, block, ((0, -rows % _BLOCK), (0, 0))
    )
    highest = highs.max(axis=0)
    blocks = jnp.arange(highs.shape[0], dtype=jnp.int32)[:, None]
    first = jnp.where(highs == highest, blocks, highs.shape[0] - 1).min(axis=0)
    # Past the end the last row stands again; it is the one that is chosen if no other is.
    places = first * _BLOCK + jnp.arange(_BLOCK, dtype=jnp.int32)[:, None]
    places = jnp.minimum(places, rows - 1)
    values = jnp.take_along_axis(logits, places, axis=0, mode="promise_in_bounds")
    best = jnp.where(values == highest, places, rows - 1).min(axis=0)
    return best, highest.astype(jnp.float32)
