"""The distribution: pins, what a wheel holds, what imports what, and how `make setup` keeps .venv right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


OFFLINE = ["--no-deps", "--no-index", "--no-build-isolation"]


def pins(name: str) -> dict[str, Requirement]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


@pytest.mark.parametrize("lock", ["app.txt", "test.txt"])
def test_a_lock_pins_every_line_to_one_version_and_names_no_place(lock: str) -> None:
    for requirement in pins(lock).values():
        assert requirement.url is None
        [specifier] = requirement.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version, "a local build exists on one machine only"
        assert not requirement.name.startswith("nvidia")


@pytest.mark.parametrize(("lock", "extras"), [("app.txt", ["app"]), ("test.txt", ["app", "test"])])
def test_a_lock_satisfies_the_project(lock: str, extras: list[str]) -> None:
    pinned = pins(lock)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    wanted += [line for extra in extras for line in EXTRAS[extra]]
    for requirement in map(Requirement, wanted):
        [specifier] = pinned[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(specifier.version), requirement


def test_the_test_lock_extends_the_app_lock_and_only_it_has_the_peers() -> None:
    app, test = pins("app.txt"), pins("test.txt")
    assert {name: str(pin.specifier) for name, pin in app.items()}.items() <= {
        name: str(pin.specifier) for name, pin in test.items()
    }.items()
    assert not {"torch", "transformers", "tokenizers", "ctranslate2"} & app.keys()


def test_a_wheel_holds_the_package_its_data_and_the_app(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("workbench", "app", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            source,
            "--wheel-dir",
            tmp_path,
            "--quiet",
            *OFFLINE,
        ],
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT))
        for room in ("workbench", "app")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected


def test_engine_and_command_line_import_without_the_app_and_the_peers() -> None:
    code = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import workbench
rooms = [m.name for m in pkgutil.walk_packages(workbench.__path__, "workbench.")]
rooms = [name for name in rooms if not name.startswith("workbench.figures") and "__main__" not in name]
for name in rooms:
    importlib.import_module(name)
print(len(rooms))
"""
    absent = ["streamlit", "altair", "umap", "vl_convert", "torch", "transformers", "tokenizers"]
    result = subprocess.run(
        [sys.executable, "-c", code, *absent, "ctranslate2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


def test_the_import_contract_names_every_room() -> None:
    [layers] = [
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["id"] == "rooms"
    ]
    named = {name.strip() for layer in layers for name in layer.replace(":", "|").split("|")}
    rooms = {
        f"workbench.{path.stem}"
        for path in (ROOT / "workbench").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"workbench.__init__", "workbench.__main__", "workbench.data"} <= named


PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
    *version_info*) exit "${OLD:-0}" ;;
    *ensurepip*) exit "${BARE:-0}" ;;
    "-m venv "*)
        rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python
        echo "VIRTUAL_ENV=$PWD/.venv" > .venv/bin/activate ;;
    "-m pip "*) exit "${BROKEN:-0}" ;;
esac
"""


class Checkout:
    """A copy of the Makefile beside a stand-in for Python that only notes what it is asked to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "requirements").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", path)
        for name in ("pyproject.toml", "requirements/app.txt", "requirements/test.txt"):
            (path / name).touch()
        self.python = path.parent / "python"
        self.python.write_text(PYTHON, encoding="utf-8")
        self.python.chmod(0o755)
        self.log = path.parent / "log"

    def make(self, target: str = "setup", **variables: str) -> tuple[int, list[str], str]:
        """Exit status, the actions among what Python was asked for, and standard error."""
        self.log.write_text("", encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "LOG": str(self.log), **variables}
        result = subprocess.run(
            ["make", target, f"PYTHON={variables.get('PYTHON', self.python)}"],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
        )
        asked = [line for line in self.log.read_text().splitlines() if line.startswith("-m ")]
        return result.returncode, [line.split()[1] for line in asked], result.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_setup_runs_once_and_again_when_a_lock_changes(checkout: Checkout) -> None:
    assert checkout.make()[:2] == (0, ["venv", "pip", "pip"])
    assert checkout.make()[:2] == (0, [])
    assert checkout.make("test-setup")[:2] == (0, ["pip"])
    assert checkout.make("test-setup")[:2] == (0, [])
    later = (checkout.path / ".venv/.test-installed").stat().st_mtime + 10
    os.utime(checkout.path / "requirements/test.txt", (later, later))
    assert checkout.make()[:2] == (0, [])
    os.utime(checkout.path / "requirements/app.txt", (later, later))
    assert checkout.make()[:2] == (0, ["pip", "pip"])


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.make()
    checkout.path = checkout.path.rename(checkout.path.with_name("moved"))
    assert checkout.make()[:2] == (0, ["venv", "pip", "pip"])


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    checkout.make()
    python = checkout.path / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert checkout.make()[:2] == (0, ["venv", "pip", "pip"])


def test_a_failed_install_is_tried_again(checkout: Checkout) -> None:
    assert checkout.make(BROKEN="1")[:2] == (2, ["venv", "pip"])
    assert checkout.make(BROKEN="1")[:2] == (2, ["pip"])
    assert checkout.make()[:2] == (0, ["pip", "pip"])


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PYTHON": "/nowhere/python3"}, "No Python >= 3.11 found (tried /nowhere/python3)"),
        ({"OLD": "1"}, "No Python >= 3.11 found"),
        ({"BARE": "1"}, "apt-get install python3-venv"),
    ],
)
def test_setup_without_a_fit_python_says_what_to_install(
    checkout: Checkout, variables: dict[str, str], says: str
) -> None:
    status, asked, error = checkout.make(**variables)
    assert status == 2
    assert asked == []
    assert says in error
    assert not (checkout.path / ".venv").exists()
