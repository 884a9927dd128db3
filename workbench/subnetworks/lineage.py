"""Lineage: the card and the provenance of a network that was made from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.checkpoint.model_card import inherited_front_matter, split_card, usage, without_usage
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.routing.interventions import WhatIf
from workbench.tasks import Task


def card_of_part(model: Translator, name: str, made: str, tasks: Sequence[Task]) -> str:
    """A model card that says how the checkpoint was made for which tasks, with the parent's card after it.

    Its front matter, licence and data among it, is the parent's; the languages are those of `tasks`.
    """
    return card_with_parent(name, made, model.card, tasks)


def card_with_parent(name: str, made: str, card: str, tasks: Sequence[Task]) -> str:
    """The same, of the parent's card as text."""
    return (
        f"{inherited_front_matter(card, languages_of(tasks))}# {name}\n\n{made} The parent's card follows: its"
        " directions, storage and scores are the parent's; its terms hold here too.\n\n"
        f"{usage(name, tasks)}\n\n---\n\n{without_usage(split_card(card)[1])}"
    )


def provenance_of_part(
    model: Translator, operation: str, tasks: Sequence[Task], **facts: Any
) -> dict[str, Any]:
    """What was done to which parent for which tasks, with further `facts`.

    Raises:
        WorkbenchError: the parent is a what-if, which no file describes.
    """
    if isinstance(model, WhatIf):
        raise WorkbenchError(f"{model.name} is a what-if: {operation} the original instead.")
    return {
        "operation": operation,
        "tasks": [str(task) for task in tasks],
        **facts,
        "parents": [{"name": model.name, "provenance": model.provenance}],
    }


def languages_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The FLORES codes of both sides of `tasks`, sorted."""
    return tuple(sorted({code for task in tasks for code in (task.source, task.target)}))
