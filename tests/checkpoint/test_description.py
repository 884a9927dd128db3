"""A checkpoint in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models import config
from workbench.checkpoint.description import stack_in_words, with_lower_headings


@pytest.mark.parametrize(
    ("routing", "words"),
    [
        ("dense", "2 layers, dense"),
        ("token", "2 layers, 4 experts in layer 1, 2 chosen by token"),
        ("sentence", "2 layers, 4 experts in layer 1, 2 chosen by sentence"),
        ("source", "2 layers, 4 experts in layer 1, 2 chosen by source language"),
        ("pair", "2 layers, 4 experts in layer 1, 2 chosen by pair of languages"),
        (
            "static-target",
            "2 layers, 4 experts in layer 1, 2 assigned by hand to each target language",
        ),
    ],
)
def test_a_stack_in_words(routing: str, words: str) -> None:
    assert stack_in_words(config(routing, "dense").encoder) == words


def test_layers_that_differ_are_listed() -> None:
    stack = replace(
        config("token", "dense").encoder,
        feed_forward_widths=(8, 8, 8),
        expert_layers=(0, 1, 2),
        experts_by_layer=(4, 2, 3),
    )
    assert stack_in_words(stack) == (
        "3 layers, 4, 2 and 3 experts in layers 0, 1 and 2, 2 chosen by token"
    )
    assert stack.router is not None
    one = replace(stack, experts=1, experts_by_layer=(), router=replace(stack.router, top_k=1))
    assert stack_in_words(one) == "3 layers, 1 expert in layers 0, 1 and 2, 1 chosen by token"


def test_headings_go_down_and_nothing_else_changes() -> None:
    card = "# A\n\nB\n===\n\ntwo\nlines\n---\n\n##### E\n#tag\n- x\n---\n\n```sh\n# no\n~~~\n```\n## C\n\n---\n| a |\n|---|"
    assert with_lower_headings(card, 2) == (
        "### A\n\n### B\n\n#### two lines\n\n###### E\n#tag\n- x\n---\n\n```sh\n# no\n~~~\n```\n#### C\n\n---\n| a |\n|---|"
    )
