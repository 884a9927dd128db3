"""Repetition: translations that run in a loop, as pruned decoders do."""

from __future__ import annotations

from collections.abc import Sequence

#: A loop is an n-gram of up to this many words ...
LONGEST = 4
#: ... that stands this many times in a row.
TIMES = 3
#: What tables call that share, and what they say of it.
IN_WORDS = (
    f"repetition: translations with an n-gram of up to {LONGEST} words {TIMES} times in a row."
)
_SPACELESS = ("Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt")


def has_loop(text: str, spaceless: bool = False) -> bool:
    """Whether some n-gram of 1 to `LONGEST` words (or characters, for `LONGEST` times 2, in scripts without spaces)
    stands `TIMES` times in a row.
    """
    words: Sequence[str] = text.replace(" ", "") if spaceless else text.lower().split()
    for n in range(1, (2 * LONGEST if spaceless else LONGEST) + 1):
        run = 0
        for i in range(n, len(words)):
            run = run + 1 if words[i] == words[i - n] else 0
            if run >= n * (TIMES - 1):
                return True
    return False


def share_of_loops(texts: Sequence[str], target: str) -> float:
    """The share of `texts`, in the language with this FLORES-200 code, that have a loop; 0 of none."""
    spaceless = target.rpartition("_")[2] in _SPACELESS
    return sum(has_loop(text, spaceless) for text in texts) / max(1, len(texts))
