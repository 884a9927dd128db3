"""Lines of parallel text, read from files of one language each or from a table."""

from __future__ import annotations

import glob
import gzip
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError, find_language
from workbench.tasks import Task

_NAMED_LINES = 5  # how many bad lines a warning names


class CorpusError(WorkbenchError):
    """A corpus is missing, unreadable or not parallel."""


class CorpusWarning(UserWarning):
    """Some lines were read with a repair, or left out."""


@dataclass(frozen=True)
class ParallelCorpus:
    """The same text in two or more languages, line by line."""

    lines: Mapping[str, Sequence[str]]
    """FLORES-200 code -> lines; line n says the same in every language."""

    def __len__(self) -> int:
        return len(next(iter(self.lines.values()), ()))

    @property
    def languages(self) -> tuple[str, ...]:
        """The FLORES-200 codes."""
        return tuple(self.lines)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every direction between two of the languages."""
        return tuple(Task(source, target) for source, target in permutations(self.lines, 2))

    def direction(self, task: Task) -> tuple[Sequence[str], Sequence[str]]:
        """The source lines and the target lines of `task`.

        Raises:
            CorpusError: the corpus lacks one of the two languages.
        """
        for code in (task.source, task.target):
            if code not in self.lines:
                raise CorpusError(
                    f"The corpus has no {code}, so it cannot serve {task}. "
                    f"It has: {', '.join(self.lines)}."
                )
        return self.lines[task.source], self.lines[task.target]


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 text file, plain or ``.gz``, as `split_lines` gives them.

    Raises:
        CorpusError: the file is missing, is a damaged archive or is not text in UTF-8 at all.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(
            f"Cannot read {path}: {error.strerror or error}. Give a UTF-8 text file, plain or .gz."
        ) from error
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise CorpusError(
                f"{path} is not a whole gzip file. Copy or download it again."
            ) from error
    return split_lines(data, str(path))


def split_lines(data: bytes, name: str) -> list[str]:
    r"""The lines of UTF-8 text; `name` is what messages call it.

    Only ``\n`` and ``\r\n`` end a line, so that U+2028 and its like cannot put two files out of
    step. A byte order mark is dropped. Bytes that are not UTF-8 become U+FFFD, and a
    `CorpusWarning` gives the numbers of their lines.

    Raises:
        CorpusError: the text begins with the byte order mark of UTF-16 or UTF-32.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise CorpusError(f"{name} is UTF-16 or UTF-32 text. Save it as UTF-8.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    rows = data.split(b"\n")
    if not rows[-1]:  # the last line ended, or there is none
        rows.pop()
    lines, bad = [], []
    for number, row in enumerate(rows, start=1):
        row = row.removesuffix(b"\r")
        try:
            lines.append(row.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(row.decode("utf-8", errors="replace"))
            bad.append(number)
    if bad:
        _warn(f"{name}: not UTF-8 in {_numbered(bad)}; the bad bytes became U+FFFD.")
    return lines


def read_parallel(
    directory: str | Path, split: str, languages: Sequence[str] | None = None
) -> ParallelCorpus:
    """Reads ``{split}.{language}`` for each language; ``.txt``, ``.gz`` or both may follow.

    Args:
        directory: where the files lie.
        split: what their names begin with, e.g. ``train``.
        languages: which to read, in this order; default all there are. Here as in the file names a
            language is written in any way that `find_language` takes.

    Raises:
        CorpusError: a file is missing, there are two for a language, two differ in length, or all are empty.
        UnknownLanguageError: one of `languages` is none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CorpusError(f"{directory} is not a directory. Give one with files {split}.LANGUAGE.")
    wanted = [find_language(language).code for language in languages or ()]
    paths = find_files(directory, split, wanted or None)
    missing = [code for code in wanted if code not in paths]
    if missing or not paths:
        names = ", ".join(f"{split}.{code}[.gz]" for code in missing or ["LANGUAGE"])
        first = find_language(missing[0] if missing else "deu_Latn")
        also = f"{split}.{first.iso639_1 or first.iso639_3}"
        found = _languages_of_files(directory, split)
        there = f" It has {split}.* in: {', '.join(found)}." if found else ""
        raise CorpusError(
            f"{directory} lacks {names} (a file may also be called by an ISO code, as {also}, or by a name, as"
            f" {split}.{first.name}).{there}"
        )
    chosen = {code: paths[code] for code in wanted or paths}
    corpus = _checked({code: read_lines(path) for code, path in chosen.items()}, chosen)
    if not len(corpus):
        names = ", ".join(path.name for path in chosen.values())
        raise CorpusError(f"{directory} has no line of text in {names}.")
    return corpus


def _languages_of_files(directory: Path, split: str) -> list[str]:
    """The codes of all files of a split, sorted; of each once, however many there are."""
    codes = set()
    for path in directory.glob(f"{glob.escape(split)}.*"):
        try:
            codes.add(find_language(_written(path, split)).code)
        except UnknownLanguageError:
            continue
    return sorted(codes)


def _written(path: Path, split: str) -> str:
    """The language that a file's name ends with, as it is written there."""
    return path.name.removesuffix(".gz").removesuffix(".txt").removeprefix(f"{split}.")


def find_files(directory: Path, split: str, among: Sequence[str] | None) -> dict[str, Path]:
    """Code -> file of each language, for the files ``{split}.{language}``.

    Raises:
        CorpusError: there are two for a language.
    """
    paths: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        if not path.name.startswith(f"{split}.") or not path.is_file():
            continue
        try:
            code = find_language(_written(path, split), among).code
        except UnknownLanguageError:
            continue  # some other file, e.g. train.log, or a language nobody asked for
        if code in paths:
            raise CorpusError(
                f"{directory} has two files for {code}: {paths[code].name} and {path.name}. "
                "Keep one of them."
            )
        paths[code] = path
    return paths


def _checked(lines: Mapping[str, list[str]], paths: Mapping[str, Path]) -> ParallelCorpus:
    first, *others = lines
    for code in others:
        if len(lines[code]) != len(lines[first]):
            raise CorpusError(
                f"{paths[first]} has {len(lines[first])} lines but {paths[code]} has "
                f"{len(lines[code])}. Line n must say the same in both."
            )
    return ParallelCorpus(lines)


def read_tsv(path: str | Path, languages: Sequence[str] | None = None) -> ParallelCorpus:
    r"""Reads a table with one language a column, separated by tabs.

    Args:
        path: a UTF-8 file, plain or ``.gz``. Quotes are text, not syntax.
        languages: of the columns from left to right; default what the first line says.

    A row with too few or too many columns, or with an empty one, is left out, and a
    `CorpusWarning` gives its number.

    Raises:
        CorpusError: the file cannot be read, has no usable row, names a language twice, or its first line names none.
        UnknownLanguageError: one of `languages` is none.
    """
    rows = [line.split("\t") for line in read_lines(path)]
    first = 1
    if languages is None:
        languages, rows, first = (rows[0] if rows else []), rows[1:], 2
    try:
        codes = [find_language(language).code for language in languages]
    except UnknownLanguageError as error:
        if first == 1:
            raise
        raise CorpusError(
            f"{path}, line 1: {error} The first line must name the language of each column, separated by tabs."
        ) from error
    if len(codes) < 2 or len(set(codes)) < len(codes):
        raise CorpusError(
            f"{path} needs two or more columns, each of another language; got "
            f"{', '.join(codes) or 'none'}. Head them with language codes, separated by tabs."
        )
    kept = [row for row in rows if _is_whole(row, len(codes))]
    if len(kept) < len(rows):
        bad = [n for n, row in enumerate(rows, first) if not _is_whole(row, len(codes))]
        _warn(f"{path}: left out {_numbered(bad)}, for want of {len(codes)} filled columns.")
    if not rows:
        raise CorpusError(f"{path} has no line of text{' below its first' if first > 1 else ''}.")
    if not kept:
        raise CorpusError(f"{path} has no row with {len(codes)} columns separated by tabs.")
    return ParallelCorpus({code: [row[i] for row in kept] for i, code in enumerate(codes)})


def _is_whole(row: Sequence[str], columns: int) -> bool:
    return len(row) == columns and all(cell.strip() for cell in row)


def _numbered(numbers: Sequence[int]) -> str:
    """``line 3`` or ``lines 3, 7 and 40 more``."""
    named = ", ".join(map(str, numbers[:_NAMED_LINES]))
    more = len(numbers) - _NAMED_LINES
    return f"line{'s' if len(numbers) > 1 else ''} {named}" + (
        f" and {more} more" if more > 0 else ""
    )


def _warn(message: str) -> None:
    warnings.warn(message, CorpusWarning, stacklevel=3)
