"""Text that a person typed."""

from __future__ import annotations

from workbench.text.segmentation import split_sentences


def typed_sentences(written: str) -> tuple[str, ...]:
    """The sentences of a text, blank lines between them.

    Networks trained on single sentences tend to make one of several, and to leave things out.
    """
    lines = (split_sentences(line, lambda _: True) or [""] for line in written.split("\n"))
    return tuple(sentence.strip() for line in lines for sentence in line)
