"""How translations are searched for: what pages offer, and what they call it."""

from __future__ import annotations


def search_in_words(beam: int) -> str:
    """How translations are searched for, e.g. `beam of 4`."""
    return "greedy" if beam == 1 else f"beam of {beam}"


#: Rows of a search, as an address has them.
BEAMS = {str(beam): search_in_words(beam).capitalize() for beam in (1, 2, 4, 8)}
