"""Pairs of each direction: text whose directions may have different lines, as data for translation mostly comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.languages import UnknownLanguageError, find_language
from workbench.tasks import Task, TaskError, parse_task
from workbench.text.corpus import (
    CorpusError,
    ParallelCorpus,
    find_files,
    read_lines,
    read_parallel,
)

_NAMED = 4  # directions or files that an error names


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs, direction by direction.

    sides: task -> (source lines, target lines), line n of one translating line n of the other. Directions of
        the same text share its lines: nothing is copied.
    """

    sides: Mapping[Task, tuple[Sequence[str], Sequence[str]]]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The directions, in order."""
        return tuple(self.sides)

    def direction(self, task: Task) -> tuple[Sequence[str], Sequence[str]]:
        """The source lines and the target lines of `task`.

        Raises:
            CorpusError: there are none.
        """
        if task not in self.sides:
            raise CorpusError(
                f"There are no pairs for {task}. There are for: {listed(self.tasks)}."
            )
        return self.sides[task]

    def head(self, count: int) -> Pairs:
        """The first `count` pairs of each direction."""
        return Pairs({task: (s[:count], t[:count]) for task, (s, t) in self.sides.items()})

    def texts(self) -> Iterator[tuple[str, Sequence[str]]]:
        """(FLORES-200 code, lines) of every text; one that several directions share comes once."""
        seen = set()
        for task, sides in self.sides.items():
            for code, lines in zip((task.source, task.target), sides, strict=True):
                if id(lines) not in seen:
                    seen.add(id(lines))
                    yield code, lines


def pairs_of(corpus: ParallelCorpus, tasks: Sequence[Task]) -> Pairs:
    """The pairs of `tasks` in text that says the same in every language.

    Raises:
        CorpusError: the corpus lacks a language.
    """
    return Pairs({task: corpus.direction(task) for task in tasks})


def read_pairs(directory: str | Path, split: str, tasks: Sequence[Task]) -> Pairs:
    """Reads the pairs of `tasks` from a directory.

    A direction's text is, in this order, ``{split}.{source}-{target}.{language}`` for both of its languages;
    the same for the opposite direction; ``{split}.{language}``, which all directions share. ``.txt``, ``.gz``
    or both may follow, and languages are written in any way that `find_language` takes. All lines are held in
    memory, each file once.

    Raises:
        CorpusError: a direction has no text, a file cannot be read, or two that belong together differ in
            length.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CorpusError(
            f"{directory} is not a directory. Give one with files {split}.LANGUAGE or"
            f" {split}.SOURCE-TARGET.LANGUAGE."
        )
    codes = list(dict.fromkeys(code for task in tasks for code in (task.source, task.target)))
    files = _pair_files(directory, split, codes)
    own = {task: files.get(task) or files.get(Task(task.target, task.source)) for task in tasks}
    shared = [task for task in tasks if own[task] is None]
    corpus = None
    if len(shared) == len(tasks):
        corpus = read_parallel(directory, split, codes)
    elif shared:
        corpus = _shared_text(directory, split, shared)
    lines: dict[Path, list[str]] = {}
    sides: dict[Task, tuple[Sequence[str], Sequence[str]]] = {}
    for task in tasks:
        paths = own[task]
        if paths is None:
            assert corpus is not None
            sides[task] = corpus.direction(task)
            continue
        chosen = (paths[task.source], paths[task.target])
        for path in chosen:
            if path not in lines:
                lines[path] = read_lines(path)
        counts = [len(lines[path]) for path in chosen]
        if counts[0] != counts[1]:
            raise CorpusError(
                f"{chosen[0]} has {counts[0]} lines but {chosen[1]} has {counts[1]}. Line n must say the same"
                " in both."
            )
        sides[task] = lines[chosen[0]], lines[chosen[1]]
    return Pairs(sides)


def _shared_text(directory: Path, split: str, tasks: Sequence[Task]) -> ParallelCorpus:
    """The text of directions that have no files of their own, where others have."""
    codes = list(dict.fromkeys(code for task in tasks for code in (task.source, task.target)))
    there = find_files(directory, split, codes)
    lacking = [task for task in tasks if not {task.source, task.target} <= there.keys()]
    if lacking:
        raise CorpusError(
            f"{directory} has no text for {listed(lacking)}: give {split}.{lacking[0]}.{lacking[0].source} and"
            f" {split}.{lacking[0]}.{lacking[0].target}, plain or .gz (codes such as {split}.en-de.en do too)."
        )
    return read_parallel(directory, split, codes)


def _pair_files(directory: Path, split: str, codes: Sequence[str]) -> dict[Task, dict[str, Path]]:
    """Direction -> its two files by language; a direction with only one of them is an error."""
    found: dict[Task, dict[str, Path]] = {}
    for path in sorted(directory.iterdir()):
        if not path.name.startswith(f"{split}.") or not path.is_file():
            continue
        written = path.name.removesuffix(".gz").removesuffix(".txt").removeprefix(f"{split}.")
        pair, _, language = written.rpartition(".")
        try:
            task = parse_task(pair, codes)
            code = find_language(language, (task.source, task.target)).code
        except (UnknownLanguageError, TaskError):
            continue  # some other file, or a direction nobody asked for
        files = found.setdefault(task, {})
        if code in files:
            raise CorpusError(
                f"{directory} has two files for {code} of {task}: {files[code].name} and {path.name}."
                " Keep one of them."
            )
        files[code] = path
    for task, files in found.items():
        for code in (task.source, task.target):
            if code not in files:
                [other] = files.values()
                raise CorpusError(
                    f"{directory} has {other.name} but no {split}.{task}.{code}: a direction needs both sides."
                )
    return found


def listed(tasks: Sequence[Task]) -> str:
    """A few of `tasks` by name, and how many more there are."""
    more = len(tasks) - _NAMED
    return ", ".join(map(str, tasks[:_NAMED])) + (f" and {more} more" if more > 0 else "")
