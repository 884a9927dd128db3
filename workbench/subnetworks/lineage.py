"""Lineage: the card and the provenance of a network that was made from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.decoding.translator import Translator
from workbench.tasks import Task


def card_of_part(model: Translator, name: str, made: str) -> str:
    """A model card that says how the checkpoint was made, with the parent's card after it."""
    return card_with_parent(name, made, model.card)


def card_with_parent(name: str, made: str, card: str) -> str:
    """The same, of the parent's card as text."""
    return (
        f"# {name}\n\n{made} The parent's card follows; its terms hold here too."
        f"\n\n---\n\n{_without_front_matter(card)}"
    )


def provenance_of_part(
    model: Translator, operation: str, tasks: Sequence[Task], **facts: Any
) -> dict[str, Any]:
    """What was done to which parent for which tasks, with further `facts`."""
    return {
        "operation": operation,
        "tasks": [str(task) for task in tasks],
        **facts,
        "parents": [{"name": model.name, "provenance": model.provenance}],
    }


def languages_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The FLORES codes of both sides of `tasks`, sorted."""
    return tuple(sorted({code for task in tasks for code in (task.source, task.target)}))


def _without_front_matter(card: str) -> str:
    parts = card.split("---\n", 2)
    return parts[2].lstrip() if card.startswith("---\n") and len(parts) == 3 else card
