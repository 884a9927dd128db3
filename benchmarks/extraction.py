"""Extraction of one task from a checkpoint in NLLB-MoE's layout with many experts, against copying what it keeps.

    python benchmarks/extraction.py --experts 128 --d-model 512 --width 2048

Random weights are written first (they are thrown away again); measured are, in turn and more than once, reading the
kept tensors and writing them to another file, and the extraction of one task, both with the files in the page cache.
Starting Python, importing JAX, the proof and the tokenizer are in neither.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.checkpoint import CONFIG
from workbench.checkpoint.hub_config import layout_of, model_type, to_json
from workbench.checkpoint.selection import Selection
from workbench.checkpoint.tensor_files import NewTensor, stored_tensors, write_tensors
from workbench.checkpoint.tensor_names import tensors
from workbench.config import ModelConfig, RouterConfig, StackConfig
from workbench.subnetworks.from_disk import DiskExtraction
from workbench.tasks import Task

LANGUAGES = ("ces_Latn", "deu_Latn", "eng_Latn", "fra_Latn")
TASK = Task("eng_Latn", "deu_Latn")


def config(options: argparse.Namespace) -> ModelConfig:
    """Both stacks routed by target language, experts in every other layer."""
    stack = StackConfig(
        8,
        (options.width,) * 4,
        (1, 3),
        options.experts,
        RouterConfig("task", 2, "target", LANGUAGES),
    )
    return ModelConfig(options.d_model, 8000, stack, stack, LANGUAGES)


def write_parent(directory: Path, shape: ModelConfig) -> int:
    """Random weights in the checkpoint's layout; how many bytes they are."""
    kind = layout_of(model_type(shape))
    random = np.random.default_rng(0)
    noise = random.normal(size=1 << 22).astype(np.float32)

    def values(size: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(size))
        start = int(random.integers(0, 1 << 20))
        return np.resize(noise[start:], count).reshape(size) * np.float32(0.02)

    new = [
        NewTensor(
            t.name,
            np.dtype(np.float32),
            t.shape,
            # The routers' choices differ from task to task and layer to layer.
            (lambda s=t.shape: np.asarray(random.normal(size=s), np.float32))  # type: ignore[misc]
            if "router" in t.path
            else (lambda s=t.shape: values(s)),  # type: ignore[misc]
        )
        for t in tensors(shape, kind)
    ]
    write_tensors(directory, new)
    (directory / CONFIG).write_text(json.dumps(to_json(shape)), encoding="utf-8")
    return sum(tensor.size for tensor in new)


def read_so_far() -> int:
    """Bytes that this process has read through system calls."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise SystemExit("This kernel does not count bytes read.")


def copy_kept(directory: Path, extraction: DiskExtraction, target: Path) -> int:
    """Copy the bytes that the extraction keeps, file to file, 1 MiB at a time; how many they are."""
    kept = {
        (stack, int(layer), int(expert))
        for stacks in extraction.kept.values()
        for stack, layers in stacks.items()
        for layer, experts in layers.items()
        for expert in experts
    }
    stored = stored_tensors(directory)
    total = 0
    with target.open("wb") as out:
        for tensor in tensors(extraction.parent, "nllb-moe"):
            path = tensor.path
            if tensor.expert is not None and (path[0], path[2], tensor.expert) not in kept:
                continue
            if "router" in path:
                continue
            place = stored[tensor.name]
            with place.file.open("rb") as source:
                source.seek(place.start)
                left = place.size
                while left:
                    piece = source.read(min(left, 1 << 20))
                    out.write(piece)
                    left -= len(piece)
            total += place.size
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=128)
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    shape = config(options)
    copying, extracting = [], []
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch) / "parent"
        parent.mkdir()
        whole = write_parent(parent, shape)
        first = DiskExtraction(Selection(parent, shape), [TASK], "parent")
        for number in range(options.repeats + 1):
            began = time.perf_counter()
            kept = copy_kept(parent, first, Path(scratch) / "copy")
            middle = time.perf_counter()
            out = Path(scratch) / "small"
            out.mkdir()
            before = read_so_far()
            DiskExtraction(Selection(parent, shape), [TASK], "parent").write(out)
            read = read_so_far() - before
            ended = time.perf_counter()
            shutil.rmtree(out)
            if number:  # the first round fills the page cache and compiles the router
                copying.append(middle - began)
                extracting.append(ended - middle)
    copied, extracted = (statistics.median(times) for times in (copying, extracting))
    print(
        f"parent {whole:,} bytes, {options.experts} experts in 4 of 8 layers, d {options.d_model}"
    )
    print(f"kept {kept:,} bytes; extraction read {read:,} ({read / kept:.3f} of that)")
    print(
        f"copying {copied:.3f} s, extraction {extracted:.3f} s, ratio {extracted / copied:.2f}"
        f" (median of {options.repeats})"
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
