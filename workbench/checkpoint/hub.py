"""Checkpoints by name: a directory, or a model on the Hugging Face hub that is fetched into its cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from workbench.checkpoint import CONFIG, INDEX, RESULT, WEIGHTS, CheckpointError

#: What is fetched: never a pickle.
FILES = (
    "*.safetensors",
    "*.json",
    "sentencepiece.bpe.model",
    "README.md",
)
#: What `workbench convert` fetches instead.
PICKLED_FILES = ("pytorch_model*.bin", "*.json", "sentencepiece.bpe.model", "README.md")

#: Checkpoints that a message names.
_NAMED = 4

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def find_checkpoint(name: str | Path, files: tuple[str, ...] = FILES) -> Path:
    """The directory of a checkpoint; `owner/name` or `owner/name@revision` is looked for on the hub.

    A directory of that name comes first. The hub's own cache and switches hold: `HF_HOME`, `HF_HUB_OFFLINE`,
    `HF_TOKEN`.

    Raises:
        CheckpointError: there is no such directory, or one that holds checkpoints and is none, and no such model on
            the hub or, offline, in its cache.
    """
    if not isinstance(name, str | os.PathLike):
        raise CheckpointError(f"{name!r:.40} is no checkpoint: give its directory, or a hub id.")
    if isinstance(name, str) and not name.strip():
        raise CheckpointError(
            "The name of the checkpoint is empty: give its directory, or a hub id."
        )
    path = Path(name)
    found = None if isinstance(name, Path) or path.exists() else _HUB_ID.fullmatch(name)
    if not found or name.startswith((".", "~")):  # type: ignore[union-attr]
        if path.is_dir():
            _check_no_shelf(path)
            return path
        if path.exists():
            its = f"{path.parent}, in which it lies" if (path.parent / CONFIG).exists() else "one"
            raise CheckpointError(f"{name} is a file, and a checkpoint is a directory: give {its}.")
        more = "" if isinstance(name, Path) else ", and a model on the hub is written owner/name"
        raise CheckpointError(f"There is no checkpoint directory {name}{more}.")
    return _snapshot(found["id"], found["revision"], files)


def name_of(name: str | Path, directory: Path) -> str:
    """What tables call the checkpoint `name` that `find_checkpoint` found in `directory`.

    That of a run lies in a directory `checkpoint`, as all of them do: it is called by its run.
    """
    if Path(name).exists():
        path = directory.resolve()
        return path.parent.name if path.name == RESULT and path.parent.name else path.name
    return str(name).partition("@")[0].rpartition("/")[2]


def _check_no_shelf(path: Path) -> None:
    """Raise CheckpointError, with some of them, where the directories in `path` are the checkpoints."""
    if _is_file(path / CONFIG) or _is_file(path / RESULT / CONFIG):  # a run is for others to refuse
        return
    places = (place for child in sorted(path.iterdir()) for place in (child, child / RESULT))
    inside = [str(place) for place in places if _is_file(place / CONFIG)]
    if inside:
        more = f" and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
        raise CheckpointError(
            f"{path} is no checkpoint, but has {'some' if len(inside) > 1 else 'one'} in it:"
            f" {', '.join(inside[:_NAMED])}{more}."
        )


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # unlike Path.is_file it says no where one may not look


def _snapshot(repository: str, revision: str | None, files: tuple[str, ...]) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    shown = repository + (f"@{revision}" if revision else "")
    try:
        path = Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except errors.LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise CheckpointError(
            f"There is no directory {shown}, and the model of that name is not in the hub's cache"
            f" {constants.HF_HUB_CACHE}, while {why}. {_how_to_get(repository, revision)}"
        ) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{shown} is only for those whom its owners have let in: ask on https://huggingface.co/{repository},"
            " then `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{repository} has no revision {revision} on the hub: leave @{revision} out, or name a branch, tag"
            " or commit."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"There is neither a directory {repository} nor such a model on the hub (or it is private: then"
            " `hf auth login`)."
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"Cannot fetch {shown}: {reason.rstrip('.')}.") from error
    _check_whole(path, shown, files, _how_to_get(repository, revision))
    return path


def _check_whole(path: Path, shown: str, files: tuple[str, ...], advice: str) -> None:
    """Raise CheckpointError where a snapshot lacks what a load needs: it was fetched in part, or has no more."""
    if not (path / CONFIG).exists():
        raise CheckpointError(f"{shown} in the hub's cache has no {CONFIG}. {advice}")
    if files is PICKLED_FILES or (path / WEIGHTS).exists() or (path / INDEX).exists():
        return
    raise CheckpointError(
        f"{shown} has no safetensors weights in the hub's cache. {advice} Where it has only .bin files: workbench"
        f" convert {shown} -o DIR, or name a revision that has safetensors ({shown.partition('@')[0]}@refs/pr/N)."
    )


def _how_to_get(repository: str, revision: str | None) -> str:
    option = f" --revision {revision}" if revision else ""
    patterns = " ".join(f"--include '{pattern}'" for pattern in FILES)
    return f"With a network: hf download {repository}{option} {patterns}."
