"""Test sets: sources with their reference translations, from the package, a person's files or sacreBLEU."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from workbench.arguments import as_count, as_list, as_one, as_texts
from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError, find_language
from workbench.tasks import Task, as_task
from workbench.text.corpus import ParallelCorpus, read_lines, read_parallel, read_tsv
from workbench.wording import counted

#: Name of the test set in the package. It is a smoke test, not a benchmark: see its README.
CAPTIONS = "captions"
_CAPTIONS_DIRECTORY = Path(__file__).parent.parent / "data" / "captions"


class TestSetError(WorkbenchError):
    """A test set is unknown, out of reach or not parallel."""

    __test__: ClassVar[bool] = False  # nothing for pytest to collect


class UnreachableError(TestSetError):
    """A test set has to be downloaded and cannot be. `what`: the message without its advice."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what} {advice}")
        self.what = what


@dataclass(frozen=True)
class TestSet:
    """Source sentences of one task with one reference translation each.

    name: what tables call it. task: may be given as text, too.
    """

    __test__: ClassVar[bool] = False  # nothing for pytest to collect

    name: str
    task: Task
    sources: tuple[str, ...]
    references: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", as_task(self.task))
        for side in ("sources", "references"):
            object.__setattr__(self, side, tuple(as_texts(getattr(self, side), side)))
        if len(self.sources) != len(self.references):
            raise TestSetError(
                f"Test set {self.name} has {counted(len(self.sources), 'source')} but"
                f" {counted(len(self.references), 'reference')}. Number n of the one must be the translation of number n"
                " of the other."
            )
        if not self.sources:
            raise TestSetError(f"Test set {self.name} is empty: there is nothing to score.")

    def __repr__(self) -> str:
        return f"TestSet({self.name}, {self.task}, {counted(len(self), 'sentence')})"

    def __len__(self) -> int:
        return len(self.sources)


def as_testsets(testsets: TestSet | Sequence[TestSet]) -> tuple[TestSet, ...]:
    """One test set or many; of two with the same name and task, the later one is called "name (2)".

    Raises:
        WorkbenchError: there is none, or something else.
    """
    sets: dict[tuple[str, Task], TestSet] = {}
    for testset in as_list(testsets, TestSet, "testsets", "a TestSet"):
        name, count = testset.name, 1
        while (name, testset.task) in sets:
            count += 1
            name = f"{testset.name} ({count})"
        sets[name, testset.task] = replace(testset, name=name)
    if not sets:
        raise WorkbenchError("There is no test set to evaluate on: give at least one.")
    return tuple(sets.values())


def load_testset(
    name_or_path: str | Path, task: Task | str, split: str | None = None, limit: int | None = None
) -> TestSet:
    """The test set of `task` that `name_or_path` means.

    Args:
        name_or_path: "captions", the set in the package; a directory of `{split}.{language}[.gz]`; a table
            with tabs and a column a language (.tsv, .tsv.gz); or a sacreBLEU name such as `wmt19`,
            whose first reference is taken and which is downloaded once.
        task: the direction, also as text.
        split: of a directory; not needed where it holds only one.
        limit: the first so many sentences only, at least 1; default all.

    Raises:
        WorkbenchError: there is no such test set, it lacks the task, or it cannot be downloaded.
    """
    task = as_task(task)
    if limit is not None:
        limit = as_count(limit, "limit")
    as_one(name_or_path, (str, os.PathLike), "name_or_path", "the name of a test set, or a path")
    name = str(name_or_path)
    path = Path(name_or_path)
    if name != CAPTIONS and not path.exists() and _is_sacrebleu(name):
        sources, references = _from_sacrebleu(name, task)
    else:
        sources, references = map(
            list, read_corpus(path, (task.source, task.target), split).direction(task)
        )
        name = name if name == CAPTIONS else ".".join(filter(None, [path.resolve().name, split]))
    return TestSet(name, task, tuple(sources[:limit]), tuple(references[:limit]))


def read_testset(
    sources: str | Path, references: str | Path, task: Task | str, name: str | None = None
) -> TestSet:
    """The test set in two files of one sentence a line.

    Raises:
        WorkbenchError: a file cannot be read, or they differ in length.
    """
    sides = [read_lines(path) for path in (sources, references)]
    if len(sides[0]) != len(sides[1]):
        raise TestSetError(
            f"{sources} has {len(sides[0])} lines but {references} has {len(sides[1])}. Line n of the one"
            " must be the translation of line n of the other."
        )
    task = as_task(task)
    return TestSet(name or Path(sources).name, task, tuple(sides[0]), tuple(sides[1]))


def read_corpus(
    name_or_path: str | Path, languages: tuple[str, ...] | None = None, split: str | None = None
) -> ParallelCorpus:
    """The parallel text that `name_or_path` means: "captions", a directory or a table.

    Args:
        name_or_path: as in `load_testset`, sacreBLEU's names apart.
        languages: FLORES-200 codes to read; default all there are.
        split: of a directory; not needed where it holds only one.

    Raises:
        WorkbenchError: it is none of these, or lacks a language.
    """
    path = Path(name_or_path)
    if str(name_or_path) == CAPTIONS:
        lines = read_parallel(_CAPTIONS_DIRECTORY, CAPTIONS).lines
        if missing := [code for code in languages or () if code not in lines]:
            raise TestSetError(
                f"The captions in the package are in {', '.join(lines)}, not in {', '.join(missing)}."
            )
        return ParallelCorpus({code: lines[code] for code in languages or lines})
    if path.is_dir():
        return read_parallel(path, split or _only_split(path), languages)
    if path.is_file():
        corpus = read_tsv(path)
        missing = [code for code in languages or () if code not in corpus.lines]
        if missing:
            raise TestSetError(
                f"{path} has no column for {', '.join(missing)}; its first line names:"
                f" {', '.join(corpus.languages)}."
            )
        return corpus
    close = difflib.get_close_matches(str(name_or_path), [CAPTIONS, *_sacrebleu_names()], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise TestSetError(
        f"There is no test set {str(name_or_path)!r}. Accepted: {CAPTIONS} (in the package), a directory with"
        f" SPLIT.LANGUAGE files, a .tsv file, or a sacreBLEU name such as wmt19.{hint}"
    )


def tasks_in(
    name_or_path: str | Path, tasks: Sequence[Task], split: str | None = None
) -> list[Task]:
    """Those of `tasks` that the test set has which `name_or_path` means, as in `load_testset`; nothing is downloaded.

    Raises:
        WorkbenchError: there is no such test set.
    """
    name = str(name_or_path)
    if name != CAPTIONS and not Path(name).exists() and _is_sacrebleu(name):
        return sacrebleu_tasks(name, tasks)
    there = set(read_corpus(name_or_path, None, split).tasks)
    return [task for task in tasks if task in there]


def sacrebleu_tasks(name: str, tasks: Sequence[Task]) -> list[Task]:
    """Those of `tasks` that sacreBLEU's test set `name` has; nothing is downloaded.

    Raises:
        WorkbenchError: sacreBLEU has no such test set.
    """
    from sacrebleu.dataset import DATASETS

    if name not in DATASETS:
        close = difflib.get_close_matches(name, list(DATASETS), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise TestSetError(f"sacreBLEU has no test set {name!r}; one is wmt19, for example.{hint}")
    return [task for task in tasks if _sacrebleu_pair(task) in DATASETS[name].langpairs]


def _only_split(directory: Path) -> str:
    """The one split that the files of `directory` belong to."""
    found = set()
    for path in directory.iterdir():
        split, _, language = re.sub(r"(\.txt)?(\.gz)?$", "", path.name).rpartition(".")
        try:
            if split and find_language(language):
                found.add(split)
        except UnknownLanguageError:
            continue
    if len(found) != 1:
        there = f"it has {', '.join(sorted(found))}" if found else "it has no SPLIT.LANGUAGE file"
        raise TestSetError(
            f"Say which split of {directory} to read, with split= in Python or with --split: {there}."
        )
    return found.pop()


def _sacrebleu_names() -> list[str]:
    from sacrebleu.dataset import DATASETS

    return list(DATASETS)


def _is_sacrebleu(name: str) -> bool:
    return name in _sacrebleu_names()


def _sacrebleu_pair(task: Task) -> str:
    """What sacreBLEU calls a direction: `en-de`."""
    return "-".join(find_language(code).iso639_1 or code[:3] for code in (task.source, task.target))


def _from_sacrebleu(name: str, task: Task) -> tuple[list[str], list[str]]:
    """Sources and first references of one of sacreBLEU's test sets, downloaded where need be."""
    import sacrebleu
    from sacrebleu.dataset import DATASETS

    pair = _sacrebleu_pair(task)
    if pair not in DATASETS[name].langpairs:
        raise TestSetError(
            f"sacreBLEU's {name} has no {pair}. It has: {', '.join(sorted(DATASETS[name].langpairs))}."
        )
    log = logging.getLogger("sacrebleu")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it has to say is said below, in one line
    try:
        source_file = sacrebleu.get_source_file(name, pair)
        reference_file = sacrebleu.get_reference_files(name, pair)[0]
    except (OSError, SystemExit, EOFError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnreachableError(
            f"Cannot download sacreBLEU's {name} ({pair}): {reason}.",
            f"It needs a network once; offline, use the test set {CAPTIONS} or your own: two files with -i and -r on the"
            " command line, a directory or a table in Python.",
        ) from error
    finally:
        log.setLevel(level)
    both = read_testset(source_file, reference_file, task, name)
    return list(both.sources), list(both.references)
