"""The systems of the page: what we call them, which recipe makes them, and what the paper measured."""

from __future__ import annotations

from dataclasses import dataclass

#: Directions that no system was trained on; the paper averages German and French both ways into its headline.
ZERO_SHOT = ("deu_Latn-fra_Latn", "fra_Latn-deu_Latn")

#: Recipes of bundled checkpoints -> the system that they are.
_BUNDLED = {
    "captions-dense": "dense",
    "captions-token-moe": "token-token",
    "captions-sentence-moe": "sentence-sentence",
    "captions-task-moe": "target-target",
    "captions-hybrid-moe": "token-target",
    "captions-distilled": "distilled",
}


@dataclass(frozen=True)
class System:
    """A row of the table.

    name: of the recipe in recipes/grid. label: encoder / decoder. paper: average BLEU over all, xx-en and en-xx
    on WMT (Kudugunta et al. 2021); None where the paper has no such system.
    """

    name: str
    label: str
    paper: tuple[float, float, float] | None


#: In the order of the paper's table.
SYSTEMS = (
    System("bilingual", "bilingual, dense", (21.0, 21.8, 18.9)),
    System("dense", "dense", (20.0, 23.7, 17.5)),
    System("static-target", "static, by target", (17.6, 25.0, 10.2)),
    System("token-token", "token / token", (22.6, 24.9, 20.4)),
    System("sentence-sentence", "sentence / sentence", (19.9, 24.1, 16.8)),
    System("pair-pair", "pair / pair", (21.4, 25.2, 16.9)),
    System("target-target", "target / target", (22.9, 25.6, 20.2)),
    System("source-target", "source / target", None),
    System("pair-token", "pair / token", (22.4, 25.6, 20.3)),
    System("target-token", "target / token", (22.3, 24.5, 20.4)),
    System("token-pair", "token / pair", (23.0, 26.2, 20.3)),
    System("token-target", "token / target", (23.6, 26.0, 21.1)),
    System("distilled", "distilled from target / target, dense", None),
)


def system_of(recipe: str) -> str:
    """The system that a recipe of this name trains."""
    return _BUNDLED.get(recipe, recipe.removeprefix("grid-"))
