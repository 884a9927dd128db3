"""The app as a person meets it: served by the command, opened in a browser, asked for a translation."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect


@pytest.mark.browser
def test_a_caption_is_translated_and_its_tokens_tinted(page: Page, app_url: str) -> None:
    page.goto(app_url)
    expect(page.get_by_role("heading", name="Translate", level=1)).to_be_visible(timeout=60_000)
    page.get_by_test_id("stBaseButton-primary").click()
    expect(page.get_by_test_id("translation").first).to_contain_text("Mann", timeout=120_000)
    token = page.locator(".moe-token", has_text="Mann").first
    expect(token).to_be_visible()
    token.hover()
    expect(token.locator(".moe-tip")).to_be_visible()
    expect(token.locator(".moe-tip")).to_contain_text("then expert")
    for name in ("Experts", "Sub-networks", "Compare", "Checkpoints"):
        page.get_by_role("link", name=name).first.click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible(timeout=60_000)
        expect(page.get_by_test_id("stException")).to_have_count(0)
    # The first page has its name in an address too, like all others.
    two = ("captions-dense", "captions-hybrid-moe")
    page.goto(f"{app_url}/translate?with={two[0]}&with={two[1]}")
    expect(page.get_by_role("heading", name="Translate", level=1)).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    for name in two:
        expect(page.get_by_test_id("stMultiSelect").get_by_text(name)).to_be_visible()


@pytest.mark.browser
def test_own_text_stays_when_pages_change_and_its_strip_scrolls_alone(
    page: Page, app_url: str
) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{app_url}/experts?model=captions-token-moe")
    page.get_by_text("My own").click(timeout=60_000)
    text = "A man and a dog " * 10
    page.locator("textarea").fill(text)
    page.locator("textarea").press("Control+Enter")
    page.get_by_role("button", name="Trace").click()
    page.get_by_role("tab", name="Tokens").click(timeout=120_000)
    strip = page.locator(".st-key-strip-encoder")
    expect(strip.locator("canvas, svg").first).to_be_visible(timeout=60_000)
    assert strip.evaluate("e => e.scrollWidth > e.clientWidth")
    # So that lines of Arabic, typed or from a file, run from right to left and have their full stop on the left.
    box = page.locator("textarea")
    assert box.evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    main = page.get_by_test_id("stMain")
    assert main.evaluate("e => e.scrollWidth <= e.clientWidth")
    page.set_viewport_size({"width": 1440, "height": 900})
    for name in ("Checkpoints", "Experts"):
        page.get_by_role("link", name=name).first.click()
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible(timeout=60_000)
    expect(page.locator("textarea")).to_have_value(text)
    expect(page.get_by_text("asked before")).to_have_count(0)
