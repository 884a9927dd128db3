"""Greedy decoding speed of an extracted sub-network, beside CTranslate2 and transformers.

    python benchmarks/decoding_speed.py [CHECKPOINT] [--exact-length 32] [--json]

One dense network, one set of sentences, float32, the same threads, the same greedy search, in one run, with
the systems taking turns of all batches, with a rest between. CTranslate2 is timed with one thread too: on one
machine its two threads took seven times as long. Timed is token ids in, arrays out: tokenising is
in none of the figures. Warm-up and compiling come before and are reported apart. Every system writes exactly
`--exact-length` tokens, so that random weights serve as well as trained ones and no system wins by stopping
early.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import jax
import numpy as np
import torch
import transformers
from flax import nnx

from workbench.decoding.programs import Programs, kernels_for
from workbench.decoding.screening import make_screen
from workbench.decoding.search import Found, greedy
from workbench.decoding.translator import Translator
from workbench.engines.export import convert, pieces_of
from workbench.evaluation.testset import load_testset
from workbench.subnetworks.extract import extract
from workbench.tasks import Task, parse_task

#: XLA uses every core that the process may run on; the peers are told as many, but for `ONE_THREAD`.
THREADS = len(os.sched_getaffinity(0))
#: Seconds between one system's turn and the next one's.
REST = 0.4
#: CTranslate2 on one thread, as a row of its own: a small batch may be faster without handing work around.
ONE_THREAD = "ctranslate2-1"


class System(NamedTuple):
    """One engine. Only `decode` is timed.

    prepare: source token ids of a batch -> what the engine takes. ids: what it gives -> the tokens written
    for each sentence, after the language token.
    """

    prepare: Callable[[list[list[int]]], Any]
    decode: Callable[[Any], Any]
    ids: Callable[[Any], list[list[int]]]


class Measured(NamedTuple):
    """Milliseconds a batch, over all batches and repeats; `warm_up_s` has compiling in it."""

    system: str
    batch_size: int
    p50_ms: float
    p95_ms: float
    tokens_per_s: float
    warm_up_s: float


def workbench_system(model: Translator, task: Task, length: int, batch_size: int) -> System:
    """The workbench's own search, its end token out of reach, as by the peers' minimum length."""
    graph, state = nnx.split(model.network)
    parameters, structure = jax.tree.flatten(state)
    end = model.config.eos_id

    def endless_greedy(parameters: Any, screen: Any, request: Any) -> Any:
        network = nnx.merge(graph, jax.tree.unflatten(structure, parameters))
        return greedy(
            network, request, capacity=length, with_scores=False, screen=screen, without=end
        )

    # As the translator does.
    screen = jax.jit(make_screen)(model.network.embedding[...]) if batch_size == 1 else None
    kernels = kernels_for(batch_size, beam_size=1, screened=screen is not None)
    programs = Programs(endless_greedy, parameters=parameters)

    def decode(batch: list[list[int]]) -> Any:
        request, _ = model.request(batch, task, batch_size, length)
        program = programs.get(screen, request, kernels=kernels)
        return Found(*map(np.asarray, program(screen, request)))

    return System(
        prepare=lambda batch: batch,
        decode=decode,
        ids=lambda found: [
            row[:n].tolist() for row, n in zip(found.tokens, found.lengths, strict=True) if n
        ],
    )


def ctranslate2_system(
    model: Translator, directory: Path, task: Task, length: int, threads: int = THREADS
) -> System:
    """CTranslate2 in float32, converted by its own converter. It takes and gives pieces rather than ids."""
    converted = directory.with_name("ctranslate2")
    if not converted.exists():
        convert(directory, converted, "float32")
    translator = ctranslate2.Translator(
        str(converted), device="cpu", compute_type="float32", inter_threads=1, intra_threads=threads
    )
    pieces = pieces_of(model.tokenizer)
    index = {piece: i for i, piece in enumerate(pieces)}
    return System(
        prepare=lambda batch: [[pieces[i] for i in ids] for ids in batch],
        decode=lambda batch: translator.translate_batch(
            batch,
            target_prefix=[[task.target]] * len(batch),
            beam_size=1,
            max_batch_size=0,
            return_scores=False,
            # The language token of the prefix counts.
            min_decoding_length=length + 1,
            max_decoding_length=length + 1,
        ),
        ids=lambda results: [[index[t] for t in r.hypotheses[0][1:]] for r in results],
    )


def transformers_system(model: Translator, directory: Path, task: Task, length: int) -> System:
    """`generate` of transformers in float32."""
    torch.set_num_threads(THREADS)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).eval()
    language = model.tokenizer.language_id(task.target)
    pad = model.config.pad_id

    def decode(batch: list[list[int]]) -> Any:
        width = max(map(len, batch))
        source = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in batch])
        with torch.inference_mode():
            return network.generate(
                input_ids=source,
                attention_mask=(source != pad).long(),
                forced_bos_token_id=language,
                num_beams=1,
                do_sample=False,
                min_new_tokens=length + 1,
                max_new_tokens=length + 1,
            )

    return System(lambda batch: batch, decode, lambda written: written[:, 2:].tolist())


def measure(
    systems: dict[str, System], batches: list[list[list[int]]], repeats: int, length: int
) -> tuple[list[Measured], dict[str, int]]:
    """Every system on all batches, taking turns; and the sentences for which it agrees with the first."""
    warm_up, equal, outputs = {}, {}, []
    inputs = {name: [system.prepare(b) for b in batches] for name, system in systems.items()}
    for name, system in systems.items():
        began = time.perf_counter()
        found = [system.decode(batch) for batch in inputs[name]]
        warm_up[name] = time.perf_counter() - began
        written = [ids for result in found for ids in system.ids(result)]
        lengths = {len(ids) for ids in written}
        if lengths != {length}:
            raise SystemExit(f"{name} wrote {sorted(lengths)} tokens, not {length}.")
        outputs.append(written)
        equal[name] = sum(a == b for a, b in zip(outputs[0], written, strict=True))
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, system in systems.items():
            # OpenMP's threads spin on for 0.2 s after their work, on the cores that the next system needs.
            time.sleep(REST)
            system.decode(inputs[name][0])
            for batch in inputs[name]:
                began = time.perf_counter()
                system.decode(batch)
                times[name].append(1000 * (time.perf_counter() - began))
    size = len(batches[0])
    rows = []
    for name, measured in times.items():
        p50, p95 = (float(np.percentile(measured, q)) for q in (50, 95))
        rows.append(Measured(name, size, p50, p95, 1000 * length * size / p50, warm_up[name]))
    return rows, equal


def hardware() -> str:
    """Processor and cores."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = next(
            x.split(":")[1].strip() for x in text.splitlines() if x.startswith("model name")
        )
    except (OSError, StopIteration, IndexError):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {THREADS} threads for each system but {ONE_THREAD}"


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, default=Path("checkpoints/captions-task-moe")
    )
    parser.add_argument("--task", default="eng_Latn-deu_Latn")
    parser.add_argument(
        "--exact-length", type=int, default=32, help="tokens written for a sentence"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--sentences", type=int, default=64, help="of the bundled captions")
    parser.add_argument(
        "--systems", nargs="+", default=["workbench", "ctranslate2", ONE_THREAD, "transformers"]
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    jax.config.update("jax_platforms", "cpu")
    options = read_arguments(arguments)
    model = Translator.load(options.checkpoint)
    task = parse_task(options.task, model.config.languages)
    small = model if model.config.is_dense else extract(model, [task])
    if not small.config.is_dense:
        raise SystemExit(
            f"The sub-network of {options.checkpoint} keeps experts: the peers cannot read it."
        )
    texts = load_testset("captions", task).sources[: options.sentences]
    ids = small.tokenizer.encode_sources(list(texts), task.source)
    length = options.exact_length
    packages = ("jax", "jaxlib", "ctranslate2", "torch", "transformers")
    rows: list[Measured] = []
    equal: dict[int, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "checkpoint"
        small.save(directory)
        for size in options.batch_sizes:
            made = {
                "workbench": partial(workbench_system, small, task, length, size),
                "ctranslate2": partial(ctranslate2_system, small, directory, task, length),
                ONE_THREAD: partial(ctranslate2_system, small, directory, task, length, threads=1),
                "transformers": partial(transformers_system, small, directory, task, length),
            }
            if size > len(ids):
                raise SystemExit(
                    f"A batch of {size} needs as many sentences; there are {len(ids)}."
                )
            # Sorted by length, as every system would; single sentences as they come.
            order = sorted(ids, key=len) if size > 1 else ids
            whole = len(order) // size * size
            batches = [order[i : i + size] for i in range(0, whole, size)][: 8 if size == 1 else 4]
            systems = {name: made[name]() for name in options.systems}
            measured, equal[size] = measure(systems, batches, options.repeats, length)
            rows += measured

    about = {
        "checkpoint": str(options.checkpoint),
        "task": str(task),
        "d_model": small.config.d_model,
        "feed_forward_widths": {n: s.feed_forward_widths for n, s in small.config.stacks},
        "vocabulary": small.config.vocabulary,
        "tokens_written": length,
        "dtype": "float32",
        "search": "greedy",
        "tokenising": "not timed",
        "hardware": hardware(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        "sentences_equal_to_the_first_system": equal,
    }
    if options.json:
        print(json.dumps({"about": about, "rows": [row._asdict() for row in rows]}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    base = {row.batch_size: row.p50_ms for row in rows if row.system == options.systems[0]}
    widths = {"batch": 6, "p50 ms": 10, "p95 ms": 10, "tokens/s": 10, "ratio": 8, "warm-up s": 11}
    print("\n" + f"{'system':<14}" + "".join(f"{name:>{size}}" for name, size in widths.items()))
    for row in rows:
        print(
            f"{row.system:<14}{row.batch_size:>6}{row.p50_ms:>10.1f}{row.p95_ms:>10.1f}"
            f"{row.tokens_per_s:>10.0f}{row.p50_ms / base[row.batch_size]:>8.2f}{row.warm_up_s:>11.1f}"
        )
    print(f"\nratio: p50 of the system over that of {options.systems[0]}; above 1 is slower.")


if __name__ == "__main__":
    main()
