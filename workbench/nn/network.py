"""The translation network: tied embeddings around an encoder and a decoder."""

from __future__ import annotations

import jax
from flax import nnx

from workbench.config import ModelConfig
from workbench.nn.positions import sinusoidal_positions
from workbench.nn.training_mode import Training, dropout, over, split
from workbench.nn.transformer import Decoder, Encoded, Encoder, StackRouting


class TranslationNetwork(nnx.Module):
    """Pre-norm encoder-decoder in the M2M100 / NLLB-MoE shape; source and target share one embedding.

    Every method is a pure function of its arguments and the parameters. `training` says what is done
    differently while it is trained; without it this is inference.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embedding = nnx.Param(
            jax.random.normal(rngs.params(), (config.vocabulary, config.d_model))
            * config.d_model**-0.5
        )
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def embed(self, tokens: jax.Array, training: Training | None = None) -> jax.Array:
        """Embeddings [B, T, D] of int32 tokens [B, T], the first of them at position 0."""
        x = self.look_up(tokens)
        return dropout(x + self.positions(tokens.shape[1]).astype(x.dtype), training)

    def look_up(self, tokens: jax.Array) -> jax.Array:
        """Embeddings [..., D] of int32 tokens [...], without their positions."""
        x = self.embedding[...][tokens]
        return x * self.config.d_model**0.5 if self.config.scale_embedding else x

    def positions(self, length: int) -> jax.Array:
        """What is added to the embeddings of the first `length` positions [length, D]."""
        return sinusoidal_positions(length, self.config.d_model)

    def encode(
        self,
        source: jax.Array,
        task_ids: jax.Array,
        training: Training | None = None,
    ) -> Encoded:
        """Encode source tokens [B, S], padded with pad_id; task_ids: encoder router rows [B]."""
        first, second = split(training, 2)
        mask = source != self.config.pad_id
        return self.encoder(self.embed(source, first), mask, task_ids, over(second, mask))

    def decode(
        self,
        target: jax.Array,
        encoded: Encoded,
        task_ids: jax.Array,
        training: Training | None = None,
    ) -> tuple[jax.Array, StackRouting]:
        """States [B, T, D] of decoder inputs [B, T] (teacher forcing), and the decoder's routing."""
        first, second = split(training, 2)
        second = over(second, target != self.config.pad_id)
        return self.decoder(self.embed(target, first), encoded, task_ids, second)

    def logits(self, states: jax.Array) -> jax.Array:
        """Vocabulary logits [..., V] of decoder states [..., D]."""
        return states @ self.embedding[...].T

    def logits_by_token(self, states: jax.Array) -> jax.Array:
        """The same [V, N], tokens first, of states [N, D]: the embedding is read as it lies.

        Faster on CPU for a handful of states, and its maximum over V can be vectorised.
        """
        return self.embedding[...] @ states.T

    def __call__(
        self,
        source: jax.Array,
        target: jax.Array,
        encoder_task_ids: jax.Array,
        decoder_task_ids: jax.Array,
        training: Training | None = None,
    ) -> tuple[jax.Array, dict[str, StackRouting]]:
        """Decoder states [B, T, D] and `{"encoder": ..., "decoder": ...}` routing, layer by layer."""
        first, second = split(training, 2)
        encoded = self.encode(source, encoder_task_ids, first)
        states, routing = self.decode(target, encoded, decoder_task_ids, second)
        return states, {"encoder": encoded.routing, "decoder": routing}
