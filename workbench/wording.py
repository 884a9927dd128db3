"""Counts and times in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 line`, `2,000 lines`: how many of a noun whose plural ends in s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: `1 h 05 min`, `2 min 30 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
