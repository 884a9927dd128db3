"""Programs: few shapes, and nothing compiled twice."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tests.models import captions, new_translator
from workbench.decoding.programs import (
    BATCHES,
    CPU_OPTIONS,
    LENGTHS,
    YNNPACK,
    Programs,
    bucket,
    kernels_for,
)

EVENT = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations():
    """JAX's own count of compilations, as a list that grows."""
    seen = []

    def listen(event, duration, **_):
        if event == EVENT:
            seen.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def test_jax_counts_compilations(compilations):
    jax.jit(lambda x: x * 3.25 + 7)(jnp.arange(13.0))
    assert compilations  # else the next test would prove nothing


def test_the_second_time_nothing_is_compiled(compilations):
    model = new_translator("token", "target")
    texts = list(captions()[:10])
    first = model.translate(texts, "en", "de", batch_size=4, max_length=6)
    assert first[0].compile_seconds > 0
    programs, counted = model.programs.compiled, len(compilations)
    assert programs <= 4
    # Other sentences, another direction and other limits, in shapes that have been seen.
    again = model.translate(texts[::-1], "en", "de", batch_size=4, max_length=5)
    model.translate(texts, "en", "cs", batch_size=4, max_length=6)
    assert len(compilations) == counted
    assert model.programs.compiled == programs
    assert again[0].compile_seconds == 0
    assert [o.token_ids[:5] for o in again[::-1]] == [o.token_ids[:5] for o in first]


def test_programs_are_kept_by_shape_type_and_static_argument():
    programs = Programs(lambda x, power: x**power, static_argnames=("power",))
    two = programs.get(jnp.arange(3.0), power=2)
    assert two(jnp.array([1.0, 2.0, 3.0])).tolist() == [1.0, 4.0, 9.0]
    assert programs.get(jnp.ones(3), power=2) is two
    assert programs.compiled == 1
    spent = programs.compile_seconds
    assert spent > 0
    assert programs.get(jnp.ones(4), power=2) is not two
    assert programs.get(jnp.ones(3), power=3) is not two
    assert programs.get(jnp.ones(3, jnp.int32), power=2) is not two
    assert programs.compiled == 4
    assert programs.compile_seconds > spent


def test_parameters_are_a_part_of_every_program():
    weights = {"scale": jnp.array([2.0, 3.0])}
    programs = Programs(lambda weights, x: weights["scale"].sum() * x, parameters=weights)
    program = programs.get(jnp.ones(2))
    assert program(jnp.array([1.0, 4.0])).tolist() == [5.0, 20.0]
    assert programs.get(jnp.zeros(2)) is program


@pytest.mark.parametrize("kernels", ["plain", "library", "short"])
def test_this_xla_knows_every_option(kernels):
    # An option that it did not know would be left out without a word.
    lowered = jax.jit(lambda x: x @ x).lower(jnp.eye(8))
    compiled = lowered.compile(compiler_options=CPU_OPTIONS[kernels])
    assert (compiled(jnp.eye(8)) == jnp.eye(8)).all()


def test_an_option_unknown_to_this_xla_is_left_out(monkeypatch):
    for options in ({"xla_no_such_option": 1}, {YNNPACK: "NO_SUCH_FUSION"}):
        monkeypatch.setitem(CPU_OPTIONS, "plain", options)
        program = Programs(lambda x: x + 1).get(jnp.arange(2))
        assert program(jnp.arange(2)).tolist() == [1, 2]


def test_how_a_search_is_compiled_goes_by_its_rows():
    greedy = {rows: kernels_for(rows, 1, screened=False) for rows in (1, 2, 4, 8, 16, 64)}
    assert [rows for rows, kernels in greedy.items() if kernels == "library"] == [2, 4, 8]
    assert set(greedy.values()) == {"plain", "library"}
    assert kernels_for(1, 1, screened=True) == "short"
    assert kernels_for(256, 4, screened=False) == "library"


def test_sizes_go_up_to_their_bucket():
    assert [bucket(n, LENGTHS) for n in (1, 16, 17, 1024, 5000)] == [16, 16, 24, 1024, 5000]
    assert [bucket(n, BATCHES) for n in (1, 2, 3, 5, 1025)] == [1, 2, 4, 8, 1025]


def test_the_cache_on_disk_is_named_for_jaxlib_and_device(tmp_path):
    script = (
        "import jax, jaxlib\n"
        "from workbench.decoding.programs import enable_compilation_cache\n"
        "directory = enable_compilation_cache()\n"
        "assert jaxlib.__version__ in directory.name and 'cpu' in directory.name, directory\n"
        "jax.jit(lambda x: x + 41)(jax.numpy.ones(3))\n"
        "assert list(directory.iterdir())\n"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=240)
    assert list(tmp_path.glob("task-moe-workbench/programs-*"))
