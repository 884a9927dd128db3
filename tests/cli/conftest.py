"""Tiny checkpoints on disk, and the command line run in process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.models import translator
from workbench.cli.main import main


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Routing -> checkpoint directory."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("dense", "token", "target"):
        translator(name, name).save(root / name)
    return {path.name: str(path) for path in root.iterdir()}


class Result(NamedTuple):
    """How a command ended: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def table(self) -> Any:
        return json.loads(self.out)

    def says(self, *words: str) -> None:
        """It failed with exactly one line on standard error, which has these words."""
        assert self.code == 1
        assert self.err.startswith("workbench: error: ")
        assert self.err.count("\n") == 1
        for word in words:
            assert word in self.err


Run = Callable[..., Result]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`main` on arguments, with the bytes that stand on standard input."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(a) for a in arguments])
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode("utf-8"), err.decode("utf-8"))

    return call
