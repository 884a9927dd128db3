"""The model card: what a checkpoint is, how it was made and on which terms it may be used."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.languages import find_language
from workbench.tasks import Task


@dataclass(frozen=True)
class DataTerms:
    """On which terms a model trained on some data may be used.

    dataset: the data's name. licence: an identifier that the Hugging Face hub knows, or "other". name: what
    an "other" licence is called. link: where the terms stand. text: the terms, in a sentence or two.
    """

    dataset: str
    licence: str
    name: str
    link: str
    text: str


MULTI30K = DataTerms(
    dataset="multi30k",
    licence="other",
    name="multi30k-non-commercial",
    link="https://github.com/multi30k/dataset",
    text=(
        "The weights were trained on Multi30k (Elliott et al. 2016, 2017; Barrault et al. 2018), captions of"
        " images from Flickr30K, which is for **non-commercial research and education** only. The same holds"
        " for these weights. The workbench's code is under Apache-2.0."
    ),
)


def terms_of(directory: str | Path) -> DataTerms:
    """The terms of the training data in `directory`, known by its name; of other data, a reminder to look."""
    name = Path(directory).resolve().name.lower()
    if "multi30k" in name:
        return MULTI30K
    return DataTerms(
        dataset=name,
        licence="unknown",
        name="",
        link="",
        text=f"The weights were trained on `{name}`. Its terms hold for them too: state them here before"
        " sharing this checkpoint.",
    )


def model_card(
    name: str,
    *,
    summary: str,
    languages: Sequence[str],
    terms: DataTerms,
    tasks: Sequence[Task],
    place: str = "",
    recipe: str = "",
    command: str = "",
    hardware: str = "",
    seconds: float | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    scored_on: str = "",
    tags: Sequence[str] = ("translation", "mixture-of-experts", "task-moe-workbench"),
) -> str:
    """A card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        name: of the checkpoint.
        summary: what it is, in a sentence or two.
        languages: FLORES-200 codes.
        terms: of its training data.
        tasks: what it translates, at least one.
        place: where it lies, for its example; default its name.
        recipe: the training recipe as text (TOML or JSON).
        command: what made it.
        hardware: what it was made on.
        seconds: how long that took.
        scores: metric -> task -> value.
        scored_on: which sentences the scores are of.
        tags: for the hub.
    """
    sections = [f"# {name}\n\n{summary}", usage(place or name, tasks)]
    if scores:
        sections.append(_scores(scores, scored_on))
    facts = [
        f"* {label}: {value}"
        for label, value in (
            ("Command", f"`{command}`" if command else ""),
            ("Hardware", hardware),
            ("Time", _duration(seconds) if seconds is not None else ""),
        )
        if value
    ]
    if facts or recipe:
        block = f"```\n{recipe.strip()}\n```" if recipe else ""
        sections.append("\n\n".join(p for p in ("## Training", "\n".join(facts), block) if p))
    sections.append(f"## Data and licence\n\n{terms.text}")
    return _front_matter(languages, terms, tags) + "\n\n".join(sections) + "\n"


def split_card(card: str) -> tuple[str, str]:
    """The front matter of a card as text, with its fences and the empty line after them, and what follows it."""
    parts = card.split("---\n", 2)
    if not card.startswith("---\n") or len(parts) < 3:
        return "", card
    return f"---\n{parts[1]}---\n\n", parts[2].lstrip()


def inherited_front_matter(card: str, languages: Sequence[str]) -> str:
    """The front matter that a part of a checkpoint takes over from its `card`: all of it, of its own `languages`.

    languages: FLORES-200 codes. A list of languages that goes over several lines stays as it is.
    """
    line = f"language: {json.dumps(_hub_codes(languages))}"
    return re.sub(r"^language: *\[.*\]$", line, split_card(card)[0], flags=re.MULTILINE)


def front_matter(card: str) -> dict[str, Any]:
    """The front matter of a card; empty where it has none or none that can be read."""
    if not card.startswith("---"):
        return {}
    from huggingface_hub import ModelCard  # takes a while, and only this needs it

    try:
        return ModelCard(card, ignore_metadata_errors=True).data.to_dict()
    except (
        Exception
    ):  # a card is free text: whatever a person wrote there, the checkpoint is as good
        return {}


def licence_of(card: str) -> str:
    """The licence that a card's front matter states, with its name where it is one of its own; else ''."""
    found = front_matter(card)
    licence, name = found.get("license"), found.get("license_name")
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return f"{licence} ({name})" if licence and name else str(licence or "")


def _front_matter(languages: Sequence[str], terms: DataTerms, tags: Sequence[str]) -> str:
    fields: dict[str, Any] = {
        "language": _hub_codes(languages),
        "license": terms.licence,
        "license_name": terms.name,
        "license_link": terms.link,
        "tags": list(tags),
        "datasets": [terms.dataset],
        "pipeline_tag": "translation",
    }
    # A JSON value is a YAML value too.
    lines = [f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in fields.items() if v]
    return "---\n" + "\n".join(lines) + "\n---\n\n"


def _hub_codes(languages: Sequence[str]) -> list[str]:
    """The codes that the hub has for FLORES-200 codes."""
    found = [find_language(code, among=(code,)) for code in languages]
    return list(dict.fromkeys(language.iso639_1 or language.iso639_3 for language in found))


def usage(place: str, tasks: Sequence[Task]) -> str:
    """The section that shows how the checkpoint in `place` is used: from English if `tasks` have that."""
    task = next((task for task in tasks if task.source == "eng_Latn"), tasks[0])
    command = f"workbench translate {shlex.quote(place)} -s {task.source} -t {task.target}"
    return f'## Use\n\n```bash\necho "..." | {command}\n```'


def placed_card(card: str, directory: Path) -> str:
    """The card with the first example naming `directory`, where it names a place of another name."""

    def named(found: re.Match[str]) -> str:
        if Path(shlex.split(found[2])[0]).name == directory.name:
            return found[0]
        return f"{found[1]}{shlex.quote(directory.name)}"

    pattern = r"^(echo .* \| workbench translate )('[^'\n]+'|[^\s'\"\\]+)(?= -s )"
    return re.sub(pattern, named, card, count=1, flags=re.MULTILINE)


def without_usage(card: str) -> str:
    """The card without the section that `usage` wrote."""
    return re.sub(r"^## Use\n\n```bash\n.*\n```\n+", "", card, count=1, flags=re.MULTILINE)


def _scores(scores: Mapping[str, Mapping[str, float]], scored_on: str) -> str:
    tasks = list(dict.fromkeys(task for values in scores.values() for task in values))
    rows = ["| task | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    for task in tasks:
        cells = [f"{values[task]:.1f}" if task in values else "" for values in scores.values()]
        rows.append(f"| {task} | " + " | ".join(cells) + " |")
    about = f"{scored_on}\n\n" if scored_on else ""
    return f"## Scores\n\n{about}" + "\n".join(rows)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
