"""The encoder and the decoder: stacks of pre-norm layers whose feed-forward blocks may be experts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.config import ModelConfig, StackConfig
from workbench.nn.attention import Attention
from workbench.nn.feed_forward import ExpertFeedForward, FeedForward
from workbench.nn.linear import LayerNorm, held
from workbench.nn.routers import Routing, sentence_mean
from workbench.nn.training_mode import Training, dropout, inside, split

#: Routing of the layers with experts, in order of depth.
StackRouting = tuple[Routing, ...]


class Encoded(NamedTuple):
    """What the encoder gives: states [B, S, D], mask bool [B, S] (True at tokens), and its routing."""

    states: jax.Array
    mask: jax.Array
    routing: StackRouting


class Memory(NamedTuple):
    """What every step of the decoder looks at: the source's keys and values, projected once.

    keys, values: one array [B H, S, D/H] a layer. visible: bool [B H, 1, S]. sentence: [B, D], mean of the
    encoder's states.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    visible: jax.Array
    sentence: jax.Array


class Cache(NamedTuple):
    """The decoder's own keys and values so far: one array [B R H, capacity, D/H] a layer, R rows a sentence.

    Separate arrays, not one stacked over layers: a stacked one is copied whole at every update. Flat, so that
    the products read them as they lie.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]


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
        stack.experts_in(layer),
        stack.router,
        stack.groups_in(layer),
        output_scale=config.expert_output_scale,
        rngs=rngs,
    )


def _feed(
    block: FeedForward | ExpertFeedForward,
    x: jax.Array,
    sentence: jax.Array,
    task_ids: jax.Array,
    training: Training | None,
) -> tuple[jax.Array, StackRouting]:
    if isinstance(block, FeedForward):
        return block(x), ()
    output, routing = block(x, sentence, task_ids, training)
    return output, (routing,)


def _residual(x: jax.Array, y: jax.Array, training: Training | None) -> jax.Array:
    """`x` plus what a block made of it, with dropout when training."""
    return x + y if training is None else held(x + dropout(y, training), training.key)


class EncoderLayer(nnx.Module):
    """Self-attention, then feed-forward, each after a layer norm and around a residual."""

    def __init__(self, config: ModelConfig, layer: int, *, rngs: nnx.Rngs) -> None:
        stack = config.encoder
        self.self_attn_layer_norm = LayerNorm(config.d_model)
        self.self_attn = Attention(config.d_model, stack.heads, rngs=rngs)
        self.final_layer_norm = LayerNorm(config.d_model)
        self.ffn = _block(config, stack, layer, rngs)

    def __call__(
        self, x: jax.Array, mask: jax.Array, task_ids: jax.Array, training: Training | None
    ) -> tuple[jax.Array, StackRouting]:
        """States [B, S, D] -> states and routing."""
        first, second = split(training, 2)
        y = self.self_attn_layer_norm(x)
        y = self.self_attn(y, *self.self_attn.keys_values(y), mask[:, None, None, :])
        x = _residual(x, y, first)
        y = self.final_layer_norm(x)
        y, routing = _feed(self.ffn, y, sentence_mean(y, mask), task_ids, inside(second, 1))
        return _residual(x, y, second), routing


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
        encoded: Encoded,
        sentence: jax.Array,
        task_ids: jax.Array,
        training: Training | None,
    ) -> tuple[jax.Array, StackRouting]:
        """The whole target at once: states [B, T, D] -> states and routing."""
        first, second, third = split(training, 3)
        length = x.shape[1]
        y = self.self_attn_layer_norm(x)
        visible = jnp.arange(length)[None] <= jnp.arange(length)[:, None]
        y = self.self_attn(y, *self.self_attn.keys_values(y), visible[None, None])
        x = _residual(x, y, first)
        y = self.cross_attn_layer_norm(x)
        source = self.cross_attn.keys_values(encoded.states)
        y = self.cross_attn(y, *source, encoded.mask[:, None, None, :])
        x = _residual(x, y, second)
        y = self.final_layer_norm(x)
        y, routing = _feed(self.ffn, y, sentence, task_ids, inside(third, 1))
        return _residual(x, y, third), routing

    def step(
        self,
        x: jax.Array,
        own: tuple[jax.Array, jax.Array],
        source: tuple[jax.Array, jax.Array],
        memory: Memory,
        position: jax.Array | int,
        task_ids: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array], StackRouting]:
        """One token in each of R rows a sentence, [B, R, D] -> states, own keys and values, routing."""
        visible = jnp.arange(own[0].shape[1]) <= position
        y, *kept = self.self_attn.step_with_own(
            self.self_attn_layer_norm(x), *own, position, visible[None, None]
        )
        x = x + y
        x = x + self.cross_attn.step(self.cross_attn_layer_norm(x), *source, memory.visible)
        y, routing = _feed(self.ffn, self.final_layer_norm(x), memory.sentence, task_ids, None)
        return x + y, (kept[0], kept[1]), routing


class Encoder(nnx.Module):
    """Embedded source tokens in, states and routing out."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            [EncoderLayer(config, layer, rngs=rngs) for layer in range(config.encoder.depth)]
        )
        self.layer_norm = LayerNorm(config.d_model)

    def __call__(
        self, x: jax.Array, mask: jax.Array, task_ids: jax.Array, training: Training | None
    ) -> Encoded:
        """Embeddings [B, S, D], mask [B, S] -> Encoded."""
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            x, chosen = layer(x, mask, task_ids, inside(training, index))
            routing += chosen
        return Encoded(self.layer_norm(x), mask, routing)


class Decoder(nnx.Module):
    """Embedded target tokens and the encoder's states in, states and routing out."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            [DecoderLayer(config, layer, rngs=rngs) for layer in range(config.decoder.depth)]
        )
        self.layer_norm = LayerNorm(config.d_model)

    def memory(self, encoded: Encoded) -> Memory:
        """What the steps look at, of the encoder's output."""
        sources = [layer.cross_attn.keys_values(encoded.states) for layer in self.layers]
        batch, heads, length, size = sources[0][0].shape
        flat = (batch * heads, length, size)
        return Memory(
            tuple(keys.reshape(flat) for keys, _ in sources),
            tuple(values.reshape(flat) for _, values in sources),
            jnp.repeat(encoded.mask, heads, axis=0)[:, None],
            sentence_mean(encoded.states, encoded.mask),
        )

    def empty_cache(self, memory: Memory, capacity: int, rows: int = 1) -> Cache:
        """A cache for `capacity` target tokens in each of `rows` rows a sentence."""
        count, _, size = memory.keys[0].shape
        empty = (jnp.zeros((count * rows, capacity, size), memory.keys[0].dtype),) * len(
            memory.keys
        )
        return Cache(empty, empty)

    def __call__(
        self,
        x: jax.Array,
        encoded: Encoded,
        task_ids: jax.Array,
        training: Training | None = None,
    ) -> tuple[jax.Array, StackRouting]:
        """The whole target at once: embeddings [B, T, D] -> states [B, T, D] and routing."""
        sentence = sentence_mean(encoded.states, encoded.mask)
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            inner = inside(training, index)
            x, chosen = layer(x, encoded, sentence, task_ids, inner)
            routing += chosen
        return self.layer_norm(x), routing

    def step(
        self,
        x: jax.Array,
        position: jax.Array | int,
        cache: Cache,
        memory: Memory,
        task_ids: jax.Array,
    ) -> tuple[jax.Array, Cache, StackRouting]:
        """The `position`-th token of R rows a sentence: embeddings [B, R, D] -> states, cache, routing."""
        own: list[tuple[jax.Array, jax.Array]] = []
        routing: StackRouting = ()
        for index, layer in enumerate(self.layers):
            x, kept, chosen = layer.step(
                x,
                (cache.keys[index], cache.values[index]),
                (memory.keys[index], memory.values[index]),
                memory,
                position,
                task_ids,
            )
            own.append(kept)
            routing += chosen
        cache = Cache(tuple(keys for keys, _ in own), tuple(values for _, values in own))
        return self.layer_norm(x), cache, routing
