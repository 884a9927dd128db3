"""Counts in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 line`, `2,000 lines`: how many of a noun whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
