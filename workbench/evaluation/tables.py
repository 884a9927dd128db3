"""Tables: text cells as aligned lines for a terminal, or as LaTeX for a paper."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "†": r"$^{\dagger}$",
    "–": "--",
}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned lines: the first `left` columns to the left, the numbers after them to the right."""
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            cell + pad if i < left else pad + cell
            for i, (cell, pad) in enumerate(
                (cell, " " * (width - _width(cell)))
                for cell, width in zip(row, widths, strict=True)
            )
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A `tabular` in the style of the booktabs package."""
    columns = "l" * left + "r" * (len(header) - left)
    body = [" & ".join(map(latex_text, row)) + r" \\" for row in (header, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def latex_text(text: str) -> str:
    """`text` with LaTeX's special characters written out."""
    return "".join(_LATEX.get(character, character) for character in text)


def _width(text: str) -> int:
    """Columns that a terminal gives `text`: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
