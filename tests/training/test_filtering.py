"""Filtering: each reason by hand, in its order, and the counts."""

import numpy as np
import pytest

from workbench.training.filtering import REASONS, SLACK, Filter, PairCounts, summary


def reasons(chosen, *pairs):
    """Names of why pairs of texts are left out, a character being a token."""
    sources, targets = [s for s, _ in pairs], [t for _, t in pairs]
    lengths = [np.array([len(line) + 2 for line in side]) for side in (sources, targets)]
    found = chosen.reasons(sources, targets, *lengths)
    return [REASONS[i] if i >= 0 else "" for i in found]


def test_empty_and_long_sides():
    pairs = [("ab", "cd"), ("", "cd"), ("ab", ""), ("a" * 8, "b"), ("a" * 9, "b"), ("a", "b" * 9)]
    assert reasons(Filter(10), *pairs) == ["", "empty", "empty", "", "long", "long"]


def test_lengths_that_do_not_match():
    longer, shorter = "a" * (3 * SLACK), "b" * SLACK
    chosen = Filter(100, ratio=3.0)
    assert reasons(chosen, (longer, shorter), (longer + "a", shorter)) == ["", "mismatched"]
    assert reasons(chosen, (shorter, longer + "a")) == ["mismatched"]
    assert reasons(chosen, ("a", "b" * SLACK), ("a", "b" * (SLACK + 1))) == ["", "mismatched"]
    assert reasons(Filter(100), ("a", longer)) == [""]


def test_identical_sides_and_repeated_pairs_only_where_asked():
    pairs = [("a", "a "), ("a", "b"), (" a", "b"), ("b", "a"), ("a", "b"), ("", "b"), ("", "b")]
    assert reasons(Filter(10), *pairs) == ["", "", "", "", "", "empty", "empty"]
    chosen = Filter(10, identical=True, duplicates=True)
    assert reasons(chosen, *pairs) == [
        *("identical", "", "duplicate", "", "duplicate", "empty", "empty")
    ]


def test_counts_and_their_one_line():
    found = np.array([-1, 0, -1, 1, 1], np.int8)
    counts = PairCounts.of(found)
    assert counts.table() == {"kept": 2, "empty": 1, "long": 2}
    tables = {"a-b": counts.table(), "b-a": {"kept": 4000, "long": 1, "duplicate": 3}}
    assert summary(tables) == (
        "4,002 pairs in 2 directions; left out: 1 empty, 3 long, 3 duplicate."
    )
    assert summary({"a-b": {"kept": 1}}) == "1 pair in 1 direction; left out: none."


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_can_occur(reason):
    pairs = [("", "b"), ("a" * 99, "b"), ("a" * 40, "b"), ("c", "c"), ("a", "b"), ("a", "b")]
    assert reason in reasons(Filter(50, 2.0, identical=True, duplicates=True), *pairs)
