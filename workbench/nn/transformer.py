"""The encoder and the decoder: stacks of pre-norm layers whose feed-forward blocks may be experts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.config import ModelConfig, StackConfig
from workbench.nn.attention import Attention
from workbench.nn.feed_forward import ExpertFeedForward, FeedForward
from workbench.nn.linear import LayerNorm, dropout, held
from workbench.nn.routers import Routing, sentence_mean

#: Routing of the layers with experts, in order of depth.
StackRouting = tuple[Routing, ...]


class Encoded(NamedTuple):
    """What the encoder gives: states [B, S, D], mask bool [B, S] (True at tokens), and its routing."""

    states: jax.Array
    mask: jax.Array
    routing: StackRouting


class Cache(NamedTuple):
    """Keys and values of the decoder, one array a layer: self [B, H, capacity, D/H], cross [B, H, S, D/H].

    Separate arrays, not one stacked over layers: a stacked one is copied whole at every update.
    """

    self_keys: tuple[jax.Array, ...]
    self_values: tuple[jax.Array, ...]
    cross_keys: tuple[jax.Array, ...]
    cross_values: tuple[jax.Array, ...]


def _block(
    config: ModelConfig, stack: StackConfig, layer: int, rngs: nnx.Rngs
) -> FeedForward | ExpertFeedForward:
    width = stack.feed_forward_widths[layer]
    if layer not in stack.expert_layers:
        return FeedForward(config.d_model, width, rngs=rngs)
    assert stack.router is not None
    return ExpertFeedForward(
        config.d_model,
        width,
        stack.experts,
        stack.router,
        output_scale=config.expert_output_scale,
        rngs=rngs,
    )


def _feed(
    block: FeedForward | ExpertFeedForward, x: jax.Array, sentence: jax.Array, task_ids: jax.Array
) -> tuple[jax.Array, StackRouting]:
    if isinstance(block, FeedForward):
        return block(x), ()
    output, routing = block(x, sentence, task_ids)
    return output, (routing,)


def _residual(x: jax.Array, y: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """`x` plus what a block made of it, with dropout when training."""
    return x + y if key is None else held(x + dropout(y, rate, key), key)


class EncoderLayer(nnx.Module):
    """Self-attention, then feed-forward, each after a layer norm and around a residual."""

    def __init__(self, config: ModelConfig, layer: int, *, rngs: nnx.Rngs) -> None:
        stack = config.encoder
        self.self_attn_layer_norm = LayerNorm(config.d_model)
        self.self_attn = Attention(config.d_model, stack.heads, rngs=rngs)
        self.final_layer_norm = LayerNorm(config.d_model)
        self.ffn = _block(config, stack, layer, rngs)

    def __call__(
        self, x: jax.Array, mask: jax.Array, task_ids: jax.Array, rate: float, key: jax.Array | None
    ) -> tuple[jax.Array, StackRouting]:
        """States [B, S, D] -> states and routing."""
        first, second = (None, None) if key is None else jax.random.split(key)
        y = self.self_attn_layer_norm(x)
        y = self.self_attn(y, *self.self_attn.keys_values(y), mask[:, None, None, :])
        x = _residual(x, y, rate, first)
        y = self.final_layer_norm(x)
        y, routing = _feed(self.ffn, y, sentence_mean(y, mask), task_ids)
        return _residual(x, y, rate, second), routing


class DecoderLayer(nnx.Module):
    """Causal self-attention, attention to the source, then feed-forward."""

    def __init__(self, config: ModelConfig, layer: int, *, rngs: nnx.Rngs) -> None:
        stack = config.decoder
        self.self_attn_layer_norm = LayerNorm(config.d_model)
        self.self_attn = Attention(config.d_model, stack.heads, rngs=rngs)
        self.cross_attn_layer_norm = LayerNorm(config.d_model)
        self.cross_attn = Attention(config.d_model, stack.heads, rngs=rngs)
        self.final_layer_norm = LayerNorm(config.d_model)
        self.ffn = _block(config, stack, layer, rngs)

    def __call__(
        self,
        x: jax.Array,
        own: tuple[jax.Array, jax.Array] | None,
        source: tuple[jax.Array, jax.Array],
        position: jax.Array | int,
        source_mask: jax.Array,
        sentence: jax.Array,
        task_ids: jax.Array,
        rate: float,
        key: jax.Array | None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array], StackRouting]:
        """States [B, T, D] of the tokens from `position` on -> states, own keys and values, routing.

        own: cached keys and values [B, H, capacity, D/H], into which those of `x` are written; None when
        `x` is the whole target. source: the keys and values of the encoder's states.
        """
        first, second, third = (None,) * 3 if key is None else jax.random.split(key, 3)
        length = x.shape[1]
        y = self.self_attn_layer_norm(x)
        keys, values = self.self_attn.keys_values(y)
        if own is not None:
            keys = jax.lax.dynamic_update_slice_in_dim(own[0], keys, position, axis=2)
            values = jax.lax.dynamic_update_slice_in_dim(own[1], values, position, axis=2)
        visible = jnp.arange(keys.shape[2])[None] <= position + jnp.arange(length)[:, None]
        y = self.self_attn(y, keys, values, visible[None, None])
        x = _residual(x, y, rate, first)
        y = self.cross_attn_layer_norm(x)
        y = self.cross_attn(y, *source, source_mask[:, None, None, :])
        x = _residual(x, y, rate, second)
        y = self.final_layer_norm(x)
        y, routing = _feed(self.ffn, y, sentence, task_ids)
        return _residual(x, y, rate, third), (keys, values), routing


class Encoder(nnx.Module):
    """Embedded source tokens in, states and routing out."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            [EncoderLayer(config, layer, rngs=rngs) for layer in range(config.encoder.depth)]
        )
        self.layer_norm = LayerNorm(config.d_model)

    def __call__(
        self, x: jax.Array, mask: jax.Array, task_ids: jax.Array, rate: float, key: jax.Array | None
    ) -> Encoded:
        """Embeddings [B, S, D], mask [B, S] -> Encoded."""
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            inner = None if key is None else jax.random.fold_in(key, index)
            x, chosen = layer(x, mask, task_ids, rate, inner)
            routing += chosen
        return Encoded(self.layer_norm(x), mask, routing)


class Decoder(nnx.Module):
    """Embedded target tokens and the encoder's states in, states and routing out."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            [DecoderLayer(config, layer, rngs=rngs) for layer in range(config.decoder.depth)]
        )
        self.layer_norm = LayerNorm(config.d_model)

    def empty_cache(self, encoded: Encoded, capacity: int) -> Cache:
        """A cache for `capacity` target tokens, with the source's keys and values projected once."""
        cross = [layer.cross_attn.keys_values(encoded.states) for layer in self.layers]
        batch, heads, _, size = cross[0][0].shape
        empty = jnp.zeros((batch, heads, capacity, size), encoded.states.dtype)
        return Cache(
            (empty,) * len(cross),
            (empty,) * len(cross),
            tuple(keys for keys, _ in cross),
            tuple(values for _, values in cross),
        )

    def __call__(
        self,
        x: jax.Array,
        encoded: Encoded,
        task_ids: jax.Array,
        rate: float = 0.0,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, StackRouting]:
        """The whole target at once: embeddings [B, T, D] -> states [B, T, D] and routing."""
        sentence = sentence_mean(encoded.states, encoded.mask)
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            inner = None if key is None else jax.random.fold_in(key, index)
            source = layer.cross_attn.keys_values(encoded.states)
            x, _, chosen = layer(x, None, source, 0, encoded.mask, sentence, task_ids, rate, inner)
            routing += chosen
        return self.layer_norm(x), routing

    def extend(
        self,
        x: jax.Array,
        position: jax.Array | int,
        cache: Cache,
        source_mask: jax.Array,
        sentence: jax.Array,
        task_ids: jax.Array,
    ) -> tuple[jax.Array, Cache, StackRouting]:
        """The next T tokens of the target, whose first is the `position`-th: states, cache, routing."""
        own: list[tuple[jax.Array, jax.Array]] = []
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            x, kept, chosen = layer(
                x,
                (cache.self_keys[index], cache.self_values[index]),
                (cache.cross_keys[index], cache.cross_values[index]),
                position,
                source_mask,
                sentence,
                task_ids,
                0.0,
                None,
            )
            own.append(kept)
            routing += chosen
        cache = cache._replace(
            self_keys=tuple(keys for keys, _ in own), self_values=tuple(values for _, values in own)
        )
        return self.layer_norm(x), cache, routing
