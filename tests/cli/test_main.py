"""The command line as a whole: help, exit codes, one line for an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from workbench.cli import translate
from workbench.cli.main import COMMANDS

NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_and_the_common_options(name: str, run: Run) -> None:
    result = run(name, "--help")
    assert result.code == 0
    for option in ("--json", "--device", "--dtype"):
        assert option in result.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from workbench.cli.main import main; code = main(['--help'])\n"
        "heavy = {'jax', 'flax', 'pandas', 'numpy', 'sacrebleu', 'streamlit', 'huggingface_hub'}\n"
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(name in result.stdout for name in NAMES)


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["translate", "x"], ["bench", "x", "--batch-sizes", "0"], ["info", "x", "--no"]],
)
def test_wrong_usage_is_2(arguments: list[str], run: Run) -> None:
    assert run(*arguments).code == 2


def test_a_checkpoint_is_used_in_half_precision(checkpoints: dict[str, str], run: Run) -> None:
    options = ("-s", "en", "-t", "de", "--max-length", "4", "--batch-size", "4")
    result = run(
        "translate", checkpoints["token"], *options, "--dtype", "bfloat16", stdin=b"A man\n"
    )
    assert result.code == 0
    assert result.out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [(("translate", "x", "-s", "en", "-t", "de"), "int3"), (("info", "x"), "bfloat16")],
)
def test_a_type_that_cannot_be_computed_in(
    arguments: tuple[str, ...], dtype: str, run: Run
) -> None:
    result = run(*arguments, "--dtype", dtype)
    assert result.code == 2
    assert f"argument --dtype: invalid choice: '{dtype}' (choose from" in result.err


def test_a_device_that_is_not_there(checkpoints: dict[str, str]) -> None:
    command = [sys.executable, "-m", "workbench", "info", checkpoints["dense"], "--device", "tpu"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "workbench: error: JAX finds no tpu here" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "workbench: interrupted.\n"),
        (BrokenPipeError(), 141, ""),
        (
            OSError(28, "No space left on device", "x.txt"),
            1,
            "error: x.txt: No space left on device.\n",
        ),
        (MemoryError(), 1, "not enough memory"),
        (KeyError("two\nlines"), 1, "This should not happen (KeyError"),
    ],
)
def test_how_commands_end(
    error: BaseException, code: int, says: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(translate, "run", fail)
    monkeypatch.setattr("workbench.cli.main._silence_stdout", lambda: None)
    result = run("translate", "x", "-s", "en", "-t", "de")
    assert result.code == code
    assert says in result.err
    assert result.err.count("\n") <= 1


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    command = f"set -o pipefail; {sys.executable} -m workbench --help | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.stderr == ""


def test_closed_streams_do_no_harm(checkpoints: dict[str, str]) -> None:
    command = f"{sys.executable} -m workbench info"
    for arguments, code in ((f"{checkpoints['dense']} >&-", 0), ("no/such 2>&-", 1)):
        result = subprocess.run(["bash", "-c", f"{command} {arguments}"], capture_output=True)
        assert (result.returncode, result.stdout, result.stderr) == (code, b"", b"")


def test_a_large_load_is_announced(checkpoints, run, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr("workbench.cli.options._LARGE", 1000)
    arguments = ("translate", checkpoints["dense"], "-s", "en", "-t", "de", "-i", "/no/file")
    assert "need" not in run(*arguments).err
    result = run(*arguments[:-2], "--max-length", "4", "--batch-size", "4", stdin=b"")
    assert "dense: its weights need 0.2 MB of memory in float32; loading them." in result.err
