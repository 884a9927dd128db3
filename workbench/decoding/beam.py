"""Beam search in one loop on the device: the best few translations of a sentence, side by side."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from workbench.decoding.search import Found, Request
from workbench.nn.network import TranslationNetwork
from workbench.nn.transformer import Cache

#: Added to a score that must not win; finite, so that sums of it stay numbers.
NEVER = -1e9


class _State(NamedTuple):
    """R rows a sentence, best first; a row's length counts the language token.

    step: tokens written so far. tokens int32 [B, R, capacity] and sums float32 [B, R] of what is being written;
    reads int32 [B, R], what each row reads next. ended, ended_scores, ended_lengths: the best finished ones, with
    their mean log-probability a token, `NEVER` where there is none. open bool [B]: whether a sentence can
    still find a better one.
    """

    step: jax.Array
    reads: jax.Array
    tokens: jax.Array
    sums: jax.Array
    ended: jax.Array
    ended_scores: jax.Array
    ended_lengths: jax.Array
    open: jax.Array
    cache: Cache


def beam_search(
    network: TranslationNetwork,
    request: Request,
    capacity: int,
    beam_size: int,
    early_stopping: bool = False,
) -> Found:
    """The translation with the best mean log-probability a token among those that a beam of R rows finds.

    In each step the 2 R best continuations of all rows are looked at. Those that end, by the end token or at the
    sentence's limit, are kept if they are among the R best; the R best of the others are written on. A sentence is
    done when its best open row, ended now, would not be better than the worst of R finished ones; with
    `early_stopping`, as soon as R are finished. Both are what transformers' `generate` does with `num_beams=R`,
    `length_penalty=1` and `early_stopping` alike; the latter is CTranslate2's rule too.

    capacity: as in `greedy`. The score given is the sum of log-probabilities, the end token's included.
    """
    config = network.config
    batch, rows = request.source.shape[0], beam_size
    encoded = network.encode(request.source, request.encoder_task_ids)
    memory = network.decoder.memory(encoded)
    positions = network.positions(capacity + 1).astype(encoded.states.dtype)

    def read(tokens: jax.Array, position: jax.Array | int, cache: Cache) -> tuple[jax.Array, Cache]:
        x = network.look_up(tokens) + positions[position]
        states, cache, _ = network.decoder.step(
            x, position, cache, memory, request.decoder_task_ids
        )
        return states, cache

    def write(state: _State) -> _State:
        states, cache = read(state.reads, state.step + 1, state.cache)
        gains = jax.nn.log_softmax(network.logits(states).astype(jnp.float32), axis=-1)
        vocabulary = gains.shape[-1]
        together = (state.sums[:, :, None] + gains).reshape(batch, rows * vocabulary)
        sums, places = jax.lax.top_k(together, 2 * rows)
        row, token = places // vocabulary, places % vocabulary
        tokens = _take(state.tokens, row).at[:, :, state.step].set(token)

        length = state.step + 2
        at_limit = state.step + 1 >= request.limits
        ends = (token == config.eos_id) | at_limit[:, None]
        among_best = jnp.arange(2 * rows) < rows
        scores = jnp.where(ends & among_best & state.open[:, None], sums / length, NEVER)
        scores, ended, lengths = (
            jnp.concatenate(pair, axis=1)
            for pair in (
                (state.ended_scores, scores),
                (state.ended, tokens),
                (state.ended_lengths, jnp.broadcast_to(length, scores.shape)),
            )
        )
        ended_scores, best = jax.lax.top_k(scores, rows)

        sums, chosen = jax.lax.top_k(jnp.where(ends, sums + NEVER, sums), rows)
        origin = jnp.take_along_axis(row, chosen, axis=1)
        worst = ended_scores[:, -1]
        better = worst == NEVER if early_stopping else sums[:, 0] / length > worst
        return _State(
            step=state.step + 1,
            reads=jnp.take_along_axis(token, chosen, axis=1),
            tokens=_take(tokens, chosen),
            sums=sums,
            ended=_take(ended, best),
            ended_scores=ended_scores,
            ended_lengths=jnp.take_along_axis(lengths, best, axis=1),
            open=state.open & better & ~at_limit,
            cache=jax.tree.map(lambda array: _reordered(array, origin), cache),
        )

    end = jnp.full((batch, rows), config.eos_id, jnp.int32)
    _, cache = read(end, 0, network.decoder.empty_cache(memory, capacity + 1, rows))
    blank = jnp.full((batch, rows, capacity), config.pad_id, jnp.int32)
    none = jnp.full((batch, rows), NEVER, jnp.float32)
    start = _State(
        step=jnp.int32(0),
        reads=jnp.broadcast_to(request.language_ids.astype(jnp.int32)[:, None], (batch, rows)),
        tokens=blank,
        # All rows are alike at first: only one of them counts.
        sums=none.at[:, 0].set(0.0),
        ended=blank,
        ended_scores=none,
        ended_lengths=jnp.ones((batch, rows), jnp.int32),
        open=request.limits > 0,
        cache=cache,
    )
    state = jax.lax.while_loop(
        lambda state: state.open.any() & (state.step < capacity), write, start
    )
    lengths = jnp.where(request.limits > 0, state.ended_lengths[:, 0] - 1, 0)
    written = jnp.arange(capacity) < lengths[:, None]
    return Found(
        jnp.where(written, state.ended[:, 0], config.pad_id),
        lengths,
        jnp.where(lengths > 0, state.ended_scores[:, 0] * state.ended_lengths[:, 0], 0.0),
        ~state.open,
    )


def _take(array: jax.Array, rows: jax.Array) -> jax.Array:
    """Of `array` [B, R, ...] the rows [B, R'] of each sentence."""
    return jnp.take_along_axis(array, rows[:, :, None], axis=1)


def _reordered(array: jax.Array, origin: jax.Array) -> jax.Array:
    """A cache's array [B R H, capacity, D/H] whose rows go on from the rows `origin` [B, R]."""
    batch, rows = origin.shape
    split = array.reshape(batch, rows, -1)
    return jnp.take_along_axis(split, origin[:, :, None], axis=1).reshape(array.shape)
