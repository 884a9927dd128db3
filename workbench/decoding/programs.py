"""Compiled programs: few shapes, each compiled once, timed apart from running and kept on disk."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jaxlib

#: Lengths in tokens that sentences are padded to.
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
#: Sentences that batches are padded to.
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

#: How a program is compiled for CPU. None has tree reductions, which cut sums into several kernels, none of them
#: vectorised. `plain`: without YNNPACK, whose kernels pack the weights anew at every product, which costs a decoding
#: loop of many rows more than they gain it. `library`: with its products alone, for a few rows, whose product with the
#: output map takes XLA's own four times as long, and for a beam search. `short`: plain, for the short kernels of one
#: row: no splitting of a kernel among threads, which takes longer to wake them than they save.
Kernels = Literal["plain", "library", "short"]
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
WITHOUT = "xla_disable_hlo_passes"
CPU_OPTIONS: dict[Kernels, dict[str, str | int]] = {
    "plain": {YNNPACK: "", WITHOUT: "tree_reduction_rewriter"},
    "library": {
        YNNPACK: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
        WITHOUT: "tree_reduction_rewriter",
    },
    "short": {
        YNNPACK: "",
        WITHOUT: "tree_reduction_rewriter,cpu-parallel-task-assigner",
        "xla_cpu_prefer_vector_width": 512,
    },
}


#: What XLA says of an option, or of a value of one, that it does not know.
_UNKNOWN = ("No such compile option", "is not a valid enum value")
#: Rows for which the library's products are the faster ones in a greedy search.
_FEW = 8


def kernels_for(rows: int, beam_size: int, screened: bool) -> Kernels:
    """How to compile a search of so many rows, a sentence having `beam_size` of them.

    screened: whether it chooses its tokens by a screen, one row's.
    """
    if screened:
        return "short"
    return "library" if beam_size > 1 or 1 < rows <= _FEW else "plain"


def bucket(size: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes` that holds `size`; `size` itself beyond the largest."""
    return next((s for s in sizes if s >= size), size)


class Programs:
    """Compiled versions of one function of arrays, one for each shape it has been called with.

    `compiled` counts them; `compile_seconds` is the time spent on them in all.

    Args:
        function: what to compile.
        static_argnames: its arguments that are part of a program.
        parameters: its first argument, if that is the same at every call: arrays that `get` need not look at, which
            for the hundred arrays of a network takes as long as three steps of a small decoder.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnames: tuple[str, ...] = (),
        parameters: Any = None,
    ) -> None:
        self._jitted = jax.jit(function, static_argnames=static_argnames)
        self._parameters = () if parameters is None else (parameters,)
        self._programs: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0

    @property
    def compiled(self) -> int:
        """How many shapes have been compiled."""
        return len(self._programs)

    def get(self, *arguments: Any, kernels: Kernels = "plain", **static: Any) -> Callable[..., Any]:
        """The program for the shapes of these arguments, compiled now if it is new.

        It is called with the arguments alone; the static ones and the parameters are part of it.
        """
        leaves, structure = jax.tree.flatten(arguments)
        key = (structure, *map(_shape, leaves), kernels, *static.items())
        if key not in self._programs:
            began = time.perf_counter()
            lowered = self._jitted.lower(*self._parameters, *arguments, **static)
            self._programs[key] = partial(_compile(lowered, kernels), *self._parameters)
            self.compile_seconds += time.perf_counter() - began
        return self._programs[key]


def _compile(lowered: Any, kernels: Kernels) -> Callable[..., Any]:
    """The compiled program; on CPU with the options at the top, where this XLA knows them."""
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=CPU_OPTIONS[kernels])
    except jax.errors.JaxRuntimeError as error:
        if not any(words in str(error) for words in _UNKNOWN):
            raise
        return lowered.compile()  # an XLA of another age


def _shape(leaf: Any) -> Any:
    return leaf.shape, leaf.dtype, getattr(leaf, "sharding", None)


def enable_compilation_cache() -> Path:
    """Keep compiled programs on disk, so that the next process starts warm. Call before making arrays.

    The directory is `$JAX_COMPILATION_CACHE_DIR` or lies in the user's cache directory; its name holds the
    version of jaxlib and the device, since programs of another do not fit.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        directory = Path(chosen)
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        device = f"{jax.default_backend()}-{_processor()}"
        directory = home / "task-moe-workbench" / f"programs-{jaxlib.__version__}-{device}"
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory


def _processor() -> str:
    """A short name of this processor and what it can do: compiled code may not run on another."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = next(
            (line for line in text.splitlines() if line.startswith(("flags", "Features"))), ""
        )
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
