"""Models by their hub ids: from the hub's cache, without a network, or one line that says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.models import translator
from workbench.checkpoint import CheckpointError
from workbench.checkpoint.hub import FILES, PICKLED_FILES, find_checkpoint, name_of

ID = "someone/tiny-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


def lay_out(home: Path, commit: str = COMMIT, ref: str = "main") -> Path:
    """A model in a cache as huggingface_hub lays it: refs, blobs, and snapshots that link to them."""
    repository = home / "hub" / "models--someone--tiny-model"
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot.parent.mkdir(exist_ok=True)
    translator().save(snapshot)
    for file in sorted(snapshot.iterdir()):
        blob = repository / "blobs" / f"{commit[:4]}{file.name}"
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, snapshot))
    (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def home(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_cached_model_is_loaded_by_its_id(home):
    snapshot = lay_out(home)
    model = wb.load(ID)
    assert model.name == "tiny-model"
    assert model.path == snapshot
    assert model.config == translator().config


def test_a_revision_is_chosen_with_an_at_sign(home):
    lay_out(home)
    other = lay_out(home, OTHER, "refs/pr/3")
    assert find_checkpoint(f"{ID}@refs/pr/3") == other
    assert find_checkpoint(f"{ID}@{OTHER}") == other
    assert find_checkpoint(ID) != other
    assert name_of(f"{ID}@refs/pr/3", other) == "tiny-model"


def test_a_directory_of_that_name_comes_first(home, monkeypatch):
    lay_out(home)
    monkeypatch.chdir(home)
    (home / ID).mkdir(parents=True)
    assert find_checkpoint(ID) == Path(ID)
    assert name_of(ID, Path(ID)) == "tiny-model"


def says(name, *words):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(name)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_checkpoint_of_a_run_is_called_by_its_run(tmp_path):
    place = tmp_path / "runs" / "first" / "checkpoint"
    place.mkdir(parents=True)
    assert name_of(place, place) == "first"
    assert name_of(place.parent, place.parent) == "first"


def test_what_is_not_there_is_explained_offline(home):
    says(
        "facebook/nllb-200-distilled-600M",
        "There is no directory facebook/nllb-200-distilled-600M",
        "HF_HUB_OFFLINE is set",
        "With a network: hf download facebook/nllb-200-distilled-600M --include",
    )
    lay_out(home)
    says(f"{ID}@v2", "HF_HUB_OFFLINE is set", "--revision v2")


@pytest.mark.parametrize("name", ["nowhere", "/no/where", "../no", "./no", "a/b/c", "no where/x"])
def test_what_is_no_id_is_a_missing_directory(home, name):
    says(name, f"There is no checkpoint directory {name}")
    with pytest.raises(CheckpointError, match="There is no checkpoint directory"):
        find_checkpoint(Path(name))


def test_a_half_fetched_model_is_explained(home):
    snapshot = lay_out(home)
    (snapshot / "model.safetensors").unlink()
    says(
        ID,
        "has no safetensors weights",
        "hf download",
        f"workbench convert {ID} -o DIR",
        "refs/pr/N",
    )
    assert find_checkpoint(ID, PICKLED_FILES) == snapshot
    (snapshot / "config.json").unlink()
    says(ID, "has no config.json")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("RepositoryNotFoundError", ["neither a directory", "hf auth login"]),
        ("GatedRepoError", ["let in", "https://huggingface.co/someone/tiny-model"]),
        ("RevisionNotFoundError", ["no revision v2"]),
        ("HfHubHTTPError", ["Cannot fetch someone/tiny-model@v2: 503 busy."]),
        ("OSError", ["Cannot fetch", "No space left on device"]),
    ],
)
def test_what_the_hub_answers_is_one_line(home, monkeypatch, kind, words):
    import huggingface_hub
    from huggingface_hub import errors

    def answer(*_, **options):
        if kind == "OSError":
            raise OSError(28, "No space left on device")
        response = SimpleNamespace(headers={}, request=None)
        raise getattr(errors, kind)("503 busy\nRequest ID: 7", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    says(f"{ID}@v2", *words)


def test_only_what_is_needed_is_fetched_and_never_a_pickle(home, monkeypatch):
    import huggingface_hub

    asked = {}
    snapshot = lay_out(home)

    def note(repository, **options):
        asked.update(options, repository=repository)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", note)
    find_checkpoint(f"{ID}@v2")
    assert asked == {"repository": ID, "revision": "v2", "allow_patterns": list(FILES)}
    assert not any("bin" in pattern.rpartition(".")[2] for pattern in FILES)
    assert any(pattern.endswith(".bin") for pattern in PICKLED_FILES)


def test_the_command_line_takes_ids_and_the_hubs_own_switches(tmp_path):
    lay_out(tmp_path)
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)

    def run(name):
        return subprocess.run(
            [sys.executable, "-m", "workbench", "info", name],
            env=environment,
            capture_output=True,
            text=True,
        )

    found, missing = run(ID), run("someone/else")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("tiny-model\n")
    assert missing.returncode == 1
    assert missing.stderr.startswith("workbench: error: There is no directory someone/else")
    assert missing.stderr.count("\n") == 1
