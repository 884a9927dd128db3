"""Training throughput of a dense network, beside the same network in PyTorch with transformers.

    python -m benchmarks.training_speed [--data DIR] [--batches 16] [--rounds 3] [--mixed] [--compile] [--json]

The step of `workbench train` (its update function, its allocator settings, its batches) beside
M2M100ForConditionalGeneration: same shape, same weights at the start, same batches, label smoothing, dropout,
Adam with gradients clipped to a norm of 1, float32, the same threads and allocator settings, each in a process of
its own, taking turns batch by batch with a rest between. Compiling and warm-up come before and are reported
apart. Before any of it, the loss of the first batch with dropout off is computed by both from the same
weights, and printed.

`--mixed` adds both in mixed precision: ours with the recipe's `compute = "bfloat16"`, PyTorch under
torch.autocast in bfloat16, each with float32 weights. A claim compares like with like: float32 with float32,
mixed with mixed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers
from flax import nnx

from benchmarks.training_steps import (
    Step,
    add_options,
    conditions,
    in_own_process,
    new_network,
    read_text,
    take_turns,
    target_tokens,
    workbench_step,
)
from workbench.decoding.programs import enable_compilation_cache
from workbench.decoding.translator import Translator
from workbench.nn.network import TranslationNetwork
from workbench.training.batches import Batch
from workbench.training.memory import keep_freed_memory
from workbench.training.objective import training_loss
from workbench.training.recipe import Recipe

#: XLA uses every core that the process may run on; PyTorch is told as many.
THREADS = len(os.sched_getaffinity(0))


def their_loss(there: Any, batch: Batch, recipe: Recipe, pad_id: int) -> Any:
    """Mean label-smoothed cross-entropy over what is learned: neither padding nor the language's token."""
    source, inputs, labels = (
        torch.from_numpy(side).long() for side in (batch.source, batch.inputs, batch.labels)
    )
    labels = labels.masked_fill(labels == pad_id, -100)
    labels[:, 0] = -100
    # Without a mask for the decoder: it is causal, and padding comes last. The fastest kernel needs none.
    logits = there(
        input_ids=source,
        attention_mask=(source != pad_id).long(),
        decoder_input_ids=inputs,
        use_cache=False,
    ).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        label_smoothing=recipe.objective.label_smoothing,
        ignore_index=-100,
    )


def open_there(directory: Path, recipe: Recipe) -> Any:
    """The network of a checkpoint in transformers, with dropout where ours has it."""
    torch.set_num_threads(THREADS)
    rate = recipe.objective.dropout
    there = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        directory,
        attn_implementation="sdpa",
        dropout=rate,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
    )
    if type(there).__name__ != "M2M100ForConditionalGeneration":
        raise SystemExit(
            f"transformers opened a {type(there).__name__}: give a recipe without experts."
        )
    return there


def our_step(directory: Path, recipe: Recipe) -> Step:
    """The step of `workbench train` on the network of a checkpoint."""
    jax.config.update("jax_platforms", "cpu")
    keep_freed_memory()
    enable_compilation_cache()
    return workbench_step(Translator.load(directory).network, recipe)


def their_step(
    directory: Path, recipe: Recipe, pad_id: int, mixed: bool = False, compiled: bool = False
) -> Step:
    """One step of training in PyTorch: fused Adam, fused clipping, gradients freed rather than zeroed.

    mixed: whether the forward pass runs under autocast in bfloat16, as PyTorch's manual has it. compiled: by
    torch.compile, a program for each shape.
    """
    keep_freed_memory()
    there = open_there(directory, recipe)
    there.train()
    if compiled:
        there = torch.compile(there, dynamic=False)
    parameters = [p for p in there.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(
        parameters, lr=recipe.objective.learning_rate, betas=(0.9, 0.98), eps=1e-9, fused=True
    )
    # The same warm-up as ours, so that both move alike.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / max(1, recipe.objective.warmup_steps))
    )

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            loss = their_loss(there, batch, recipe, pad_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.objective.clip, foreach=True)
        optimizer.step()
        schedule.step()

    return step


def first_losses(
    network: TranslationNetwork, there: Any, batch: Batch, recipe: Recipe
) -> tuple[float, float]:
    """Our loss and theirs of one batch, in nats a token, with dropout off."""
    graph, parameters = nnx.split(network)

    @jax.jit
    def ours(parameters: Any, batch: Batch) -> jax.Array:
        return training_loss(nnx.merge(graph, parameters), batch, recipe.objective, None)[0]

    there.eval()
    with torch.no_grad():
        theirs = float(their_loss(there, batch, recipe, network.config.pad_id))
    return float(ours(parameters, batch)), theirs


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, batches=16)
    parser.add_argument(
        "--mixed", action="store_true", help="both systems in mixed precision (bfloat16) as well"
    )
    parser.add_argument(
        "--compile", action="store_true", help="one more system: the same under torch.compile"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    jax.config.update("jax_platforms", "cpu")
    options = read_arguments(arguments)
    text = read_text(options)
    recipe, batches = text.recipe, text.batches
    config = recipe.model_config(text.tokenizer.vocab_size)
    network = new_network(config)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "checkpoint"
        Translator("speed", config, text.tokenizer, network).save(directory)
        ours, theirs = first_losses(network, open_there(directory, recipe), batches[0], recipe)
        if abs(ours - theirs) > 1e-4 * abs(theirs):
            raise SystemExit(
                f"The first loss differs: {ours} and {theirs}. They are not the same network."
            )
        there = partial(in_own_process, their_step, directory, recipe, config.pad_id)
        steps = {
            "workbench": in_own_process(our_step, directory, recipe),
            "transformers": there(),
        }
        if options.mixed:
            low = dataclasses.replace(recipe.objective, compute="bfloat16")
            mixed = dataclasses.replace(recipe, objective=low)
            steps |= {
                "workbench, mixed": in_own_process(our_step, directory, mixed),
                "transformers, mixed": there(True),
            }
        if options.compile:
            steps["transformers, compiled"] = there(False, True)
        seconds, warm_up = take_turns(steps, batches, options.rounds)
    tokens = options.rounds * sum(target_tokens(batch, config.pad_id) for batch in batches)
    padded = options.rounds * sum(batch.labels.size for batch in batches)
    rows = [
        {
            "system": name,
            "p50_ms": 1000 * float(np.median(times)),
            "p95_ms": 1000 * float(np.percentile(times, 95)),
            "target_tokens_per_s": tokens / float(times.sum()),
            "padded_tokens_per_s": padded / float(times.sum()),
            "ratio": float(np.median(times / seconds["workbench"])),
            "warm_up_s": warm_up[name],
        }
        for name, times in seconds.items()
    ]
    about = {
        "d_model": config.d_model,
        "feed_forward": recipe.model.feed_forward,
        "heads": recipe.model.heads,
        "layers": [config.encoder.depth, config.decoder.depth],
        "vocabulary": config.vocabulary,
        "batch_tokens": recipe.data.batch_tokens,
        "batch_shapes": sorted({batch.source.shape for batch in batches}),
        "dtype": "float32; mixed: products in bfloat16",
        "threads": THREADS,
        "data": options.data or "packaged captions",
        "first_loss": {"workbench": ours, "transformers": theirs},
        **conditions("flax", "optax", "torch", "transformers"),
    }
    if options.json:
        print(json.dumps({"about": about, "rows": rows}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    widths = {"p50 ms": 10, "p95 ms": 10, "target tok/s": 14, "padded tok/s": 14, "ratio": 8}
    print("\n" + f"{'system':<24}" + "".join(f"{name:>{size}}" for name, size in widths.items()))
    for row in rows:
        print(
            f"{row['system']:<24}{row['p50_ms']:>10.1f}{row['p95_ms']:>10.1f}"
            f"{row['target_tokens_per_s']:>14.0f}{row['padded_tokens_per_s']:>14.0f}{row['ratio']:>8.2f}"
        )
    print("\nratio: median over the steps of the system's time over ours; above 1 is slower.")
    print("warm-up s: " + ", ".join(f"{name} {warm_up[name]:.1f}" for name in steps))


if __name__ == "__main__":
    main()
