"""Checkpoints by name: a directory, or a model on the Hugging Face hub that is fetched into its cache."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

#: Told how many bytes have been fetched, and of how many. What it raises ends the fetching.
Progress = Callable[[int, int], None]

#: Checkpoints that a message names.
_NAMED = 4

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def find_checkpoint(
    name: str | Path, files: tuple[str, ...] = FILES, progress: Progress | None = None
) -> Path:
    """The directory of a checkpoint; `owner/name` or `owner/name@revision` is looked for on the hub.

    A directory of that name comes first. The hub's own cache and switches hold: `HF_HOME`, `HF_HUB_OFFLINE`,
    `HF_TOKEN`. progress: takes the place of the bars that huggingface_hub draws; called in several threads.

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
    return _snapshot(found["id"], found["revision"], files, progress)


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


def _snapshot(
    repository: str, revision: str | None, files: tuple[str, ...], progress: Progress | None
) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    shown = repository + (f"@{revision}" if revision else "")
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": list(files)}
    if progress is not None:
        wanted["tqdm_class"] = _counter(progress, _missing_bytes(repository, wanted))
    try:
        path = Path(snapshot_download(repository, **wanted))
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


def _missing_bytes(repository: str, wanted: dict[str, Any]) -> int:
    """How large the files are that are not in the cache yet; 0 where the hub does not say."""
    from huggingface_hub import snapshot_download

    quiet = _counter(lambda done, total: None, 0)
    try:
        found = snapshot_download(repository, dry_run=True, tqdm_class=quiet, **wanted)
    except Exception:  # the download itself tells what stands in the way
        return 0
    return sum(file.file_size for file in found if file.will_download)


def _counter(progress: Progress, total: int) -> Any:
    """A kind of tqdm that draws nothing and tells `progress` the bytes of a snapshot, of at least `total`."""
    from huggingface_hub.utils import tqdm

    class Counter(tqdm):  # type: ignore[type-arg, unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
            super().__init__(*args, **kwargs | {"disable": False, "file": io.StringIO()})

        def display(self, *args: Any, **kwargs: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.counts:
                progress(int(self.n), max(total, int(self.total or 0)))
            return drawn

    return Counter


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
