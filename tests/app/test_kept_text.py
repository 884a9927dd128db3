"""A person's own text outlives a reload of the page, however long it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.held import Held

PAGES = Path(__file__).resolve().parents[2] / "app" / "views"
LONG = "A man walks. " * 100


def opened(page: str, address: dict[str, list[str]]) -> AppTest:
    """The page at an address, as a browser that was never here opens it."""
    test = AppTest.from_file(str(PAGES / f"{page}.py"), default_timeout=120)
    test.query_params.update(address)
    test.run()
    assert not test.exception, test.exception
    return test


@pytest.mark.parametrize("text", ["Ein Mann 走.\n\nZwei.", LONG])
def test_own_text_and_its_language_are_found_again(text: str) -> None:
    test = opened("experts", {"whose-text": ["own"]})
    test.selectbox(key="own-language").set_value("deu_Latn").run()
    test.text_area(key="own-text").set_value(text).run()
    assert sum(map(len, test.query_params.values())) < 100  # lists of values
    again = opened("experts", test.query_params)
    assert again.text_area(key="own-text").value == text
    assert again.selectbox(key="own-language").value == "deu_Latn"
    assert again.multiselect[0].value == ["deu_Latn-eng_Latn"]
    again.text_area(key="own-text").set_value("").run()
    assert not [key for key in again.query_params if key.startswith("own-text")]


def test_a_test_set_of_ones_own_is_found_again() -> None:
    test = opened("compare", {"testset": ["own"], "systems": ["captions-dense"]})
    test.text_area(key="own-sources").set_value(LONG).run()
    test.text_area(key="own-references").set_value("Ein Mann geht.").run()
    again = opened("compare", test.query_params)
    assert again.text_area(key="own-sources").value == LONG
    assert again.text_area(key="own-references").value == "Ein Mann geht."


def test_a_text_that_the_server_does_not_hold_is_said() -> None:
    test = opened("experts", {"whose-text": ["own"], "own-text-sha256": ["00"]})
    assert "own-text-sha256=00" in test.warning[0].value
    assert test.text_area(key="own-text").value == ""


def test_what_was_seen_longest_ago_goes_first() -> None:
    held = Held(most=10)
    first, second = held.put(b"12345"), held.put(b"6789a")
    assert held.put(b"12345") == first and (held.get(first), held.get(second)) == (
        b"12345",
        b"6789a",
    )
    large = held.put(b"b" * 6)
    assert (held.get(second), held.get(first), held.get(large)) == (None, None, b"b" * 6)
    alone = held.put(b"c" * 20)  # more than all may have, but the only one
    assert held.get(alone) == b"c" * 20 and held.get(large) is None
