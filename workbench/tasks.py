"""A translation task, which is a direction from one language to another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from workbench.arguments import as_list
from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError, find_language

TaskKey = Literal["source", "target", "pair"]
"""What of a task a router looks at."""

_ARROW = re.compile("->|→|>")  # what people write besides the hyphen


class TaskError(WorkbenchError):
    """A task or a task key is not written as one."""


@dataclass(frozen=True, order=True)
class Task:
    """A direction between two FLORES-200 codes, written ``eng_Latn-deu_Latn``."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"

    @property
    def label(self) -> str:
        """The direction for a person, e.g. ``English → German``."""
        return f"{_name(self.source)} → {_name(self.target)}"


def _name(code: str) -> str:
    return find_language(code, among=(code,)).name


def parse_task(text: str, among: Sequence[str] | None = None) -> Task:
    """Gives the task that a person means by `text`: two languages with a hyphen between.

    Args:
        text: ``eng_Latn-deu_Latn``, ``en-de`` or ``English-German``, also with an arrow.
        among: the codes that a checkpoint knows, as in `find_language`.

    Raises:
        TaskError: there are not two languages.
        UnknownLanguageError: one of the two is not a language, or not one of the checkpoint's.
    """
    if not isinstance(text, str):
        raise TaskError(f"{text!r:.40} is not a task. Give text such as en-de.")
    error: UnknownLanguageError | None = None
    parts = _ARROW.sub("-", text).split("-")
    # A name may have a hyphen of its own (Luba-Kasai), so any of them may be the one between.
    for i in range(1, len(parts)):
        source, target = "-".join(parts[:i]).strip(), "-".join(parts[i:]).strip()
        if not source or not target:
            continue
        try:
            return Task(find_language(source, among).code, find_language(target, among).code)
        except UnknownLanguageError as unknown:
            error = error or unknown
    if error is not None:
        raise error
    raise TaskError(
        f"{text!r:.40} is not a task. Write the source and the target language with a hyphen between, "
        "e.g. eng_Latn-deu_Latn or en-de."
    )


def as_task(task: Task | str, among: Sequence[str] | None = None) -> Task:
    """`task` itself, or the one that a person means by it, as in `parse_task`.

    Raises:
        TaskError: it is neither a task nor text, or text that is no task.
        UnknownLanguageError: as `parse_task`.
    """
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return parse_task(task, among)
    raise TaskError(f"{task!r:.40} is not a task. Give text such as en-de, or a Task.")


def as_tasks(
    tasks: str | Task | Iterable[str | Task], among: Sequence[str] | None = None
) -> list[Task]:
    """One task or many, each once, in order. Raises as `as_task`, and WorkbenchError where it is no list."""
    given = as_list(tasks, (str, Task), "tasks", "a task such as en-de")
    return list(dict.fromkeys(as_task(task, among) for task in given))


def key_of(task: Task, key: TaskKey) -> str:
    """The part of `task` that a router with this key looks at.

    ``eng_Latn`` for ``source``, ``deu_Latn`` for ``target``, ``eng_Latn-deu_Latn`` for ``pair``.
    """
    if key == "source":
        return task.source
    if key == "target":
        return task.target
    if key == "pair":
        return str(task)
    raise TaskError(f"Unknown task key {key!r}. Accepted: {', '.join(get_args(TaskKey))}.")
