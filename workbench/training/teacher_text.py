"""The teacher's text: translations of the training sources, written shard by shard so that a kill loses little."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from workbench.decoding.system import Translation
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.tasks import Task
from workbench.text.pairs import Pairs
from workbench.training.interrupts import held_interrupts

#: What the split is called: `train.{source}-{target}.{language}.gz`, which `read_pairs` reads.
SPLIT = "train"
#: Sentences of a shard. What a kill can lose is one of them.
SHARD = 8192
#: What a person gives for a setting, where that is not the text.
_GIVEN = {
    "teacher": "teacher",
    "beam": "--beam",
    "max_length": "--max-length",
    "shard": "version of the workbench",
}
_SETTINGS, _SHARDS = "made_from.json", ".shards"


def write_teacher_text(
    teacher: Translator,
    pairs: Pairs,
    directory: Path,
    *,
    beam_size: int = 1,
    batch_size: int = 32,
    max_length: int | None = None,
    limit: int | None = None,
    shard: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, int]]:
    """Translate the sources of every direction and write each beside its translation into `directory`.

    This is the text of sequence-level knowledge distillation (Kim and Rush 2016, arXiv 1606.07947, section
    3.2): the student learns the mode of the teacher's distribution, as far as search finds it.

    A shard counts once it is whole: it is written beside its place and renamed. Called again with the same
    teacher, text and settings, it goes on with the first shard that is missing. Translations that are empty
    or were cut short by the length limit are left out.

    Args:
        teacher: translates every direction of `pairs`.
        pairs: whose source sides are translated.
        directory: gets a pair of files a direction, and `counts.{task}.json`.
        beam_size, batch_size, max_length: as in `Translator.translate`.
        limit: the first so many sources of each direction only.
        shard: sentences of a shard; default `SHARD`.
        progress: called with (sentences done, sentences to do) of those that were not there before.

    Returns:
        Task -> `kept`, `empty`, `truncated`.

    Raises:
        WorkbenchError: the directory was begun with another teacher, text or setting; the disk refuses.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the batch that is being translated.
    """
    shard = shard or SHARD
    sources = {task: pairs.direction(task)[0][:limit] for task in pairs.tasks}
    settings = {
        "teacher": _weights_digest(teacher),
        "beam": beam_size,
        "max_length": max_length,
        "shard": shard,
        **{str(task): [len(lines), _text_digest(lines)] for task, lines in sources.items()},
    }
    with _explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        _check_settings(directory / _SETTINGS, settings)
        open_shards = [
            (task, number)
            for task, lines in sources.items()
            if not _counts_file(directory, task).exists()
            for number in range(-(-len(lines) // shard))
            if not _shard_place(directory, task, number).exists()
        ]
    total = sum(len(sources[task][n * shard : (n + 1) * shard]) for task, n in open_shards)
    done = 0
    with held_interrupts() as check_interrupt:
        for task, number in open_shards:
            lines = sources[task][number * shard : (number + 1) * shard]

            def report(count: int, of: int, before: int = done, size: int = len(lines)) -> None:
                if count < of:  # else the shard is whole and is written first
                    check_interrupt()
                if progress:
                    progress(before + round(size * count / of), total)

            outputs = teacher.translate(
                list(lines),
                task.source,
                task.target,
                beam_size=beam_size,
                batch_size=batch_size,
                max_length=max_length,
                progress=report,
                with_scores=False,
            )
            with _explained(directory):
                _write_shard(_shard_place(directory, task, number), lines, outputs)
            check_interrupt()
            done += len(lines)
    with _explained(directory):
        counts = {
            str(task): _joined(directory, task, -(-len(lines) // shard))
            for task, lines in sources.items()
        }
    shutil.rmtree(directory / _SHARDS, ignore_errors=True)
    return counts


def _write_shard(place: Path, sources: Sequence[str], outputs: Sequence[Translation]) -> None:
    kept = []
    counts = {"kept": 0, "empty": 0, "truncated": 0}
    for source, output in zip(sources, outputs, strict=True):
        text = " ".join(output.text.split("\n"))
        reason = "empty" if not text.strip() else "truncated" if output.truncated else "kept"
        counts[reason] += 1
        if reason == "kept":
            kept.append((source, text))
    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for index, name in enumerate(("source.gz", "target.gz")):
        text = "".join(pair[index] + "\n" for pair in kept)
        data = gzip.compress(text.encode("utf-8", errors="replace"), mtime=0)
        (partial / name).write_bytes(data)
    (partial / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
    partial.rename(place)


def _joined(directory: Path, task: Task, shards: int) -> dict[str, int]:
    """Make a direction's shards its two files; the counts come last and say that it is whole."""
    finished = _counts_file(directory, task)
    if not finished.exists():
        places = [_shard_place(directory, task, number) for number in range(shards)]
        for name, code in (("source.gz", task.source), ("target.gz", task.target)):
            target = directory / f"{SPLIT}.{task}.{code}.gz"
            partial = target.with_name(f".{target.name}.partial")
            with partial.open("wb") as file:  # gzip files one after another are one gzip file
                for place in places:
                    file.write((place / name).read_bytes())
            partial.replace(target)
        parts = [json.loads((place / "counts.json").read_text("utf-8")) for place in places]
        counts = {
            name: sum(part[name] for part in parts) for name in ("kept", "empty", "truncated")
        }
        _write_json(finished, counts)
    shutil.rmtree(directory / _SHARDS / str(task), ignore_errors=True)
    found: dict[str, int] = json.loads(finished.read_text(encoding="utf-8"))
    return found


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        _write_json(path, settings)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings))
    for key in {**before, **wanted}:
        old, new = before.get(key), wanted.get(key)
        if old != new:
            raise WorkbenchError(
                f"{path.parent} was begun with another {key} ({_shown(old)}, now {_shown(new)}): it goes on with"
                f" the same {_GIVEN.get(key, 'text and --limit')}. Choose another output directory otherwise."
            )


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value[0]:,} lines" if isinstance(value, list) else str(value)[:12]


def _counts_file(directory: Path, task: Task) -> Path:
    return directory / f"counts.{task}.json"


def _shard_place(directory: Path, task: Task, number: int) -> Path:
    return directory / _SHARDS / str(task) / f"{number:06d}"


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value) + "\n", encoding="utf-8")
    partial.replace(path)


def _weights_digest(model: Translator) -> str:
    digest = blake2b(digest_size=16)
    for leaf in jax.tree.leaves(nnx.state(model.network)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _text_digest(lines: Sequence[str]) -> str:
    digest = blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode("utf-8", errors="surrogatepass") + b"\n")
    return digest.hexdigest()


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkbenchError(
            f"Cannot write the teacher's text to {directory}: {error.strerror or error}. What is whole is kept;"
            " make room and run the same command again."
        ) from error
