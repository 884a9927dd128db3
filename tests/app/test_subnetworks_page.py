"""The Sub-networks page: several directions, what a cancel leaves, saving; run by Streamlit's own tester."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import jobs, session
from app.jobs import Job
from app.widgets import extraction, smaller
from tests.app.test_pages import PAGES, ended, opened, press
from tests.models import EN_DE, translator
from workbench.decoding.translator import Translator
from workbench.subnetworks.proof import Proof, Unequal

DE, FR = "eng_Latn-deu_Latn", "eng_Latn-fra_Latn"


def proved(model: Any, small: Any, lines: Any, task: Any, progress: Any = None) -> Proof:
    """As if four sentences had been translated; tests of the engine and of the page's whole way prove in earnest."""
    return Proof(str(task), model.name, 4, 4, 0, 0, 1e-6, 2, 1, (), (), 1e-3)


@pytest.fixture(autouse=True)
def some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with one tiny checkpoint, which the app looks in; and proofs that take no time."""
    folder = tmp_path / "checkpoints"
    translator("target", "target").save(folder / "routed")
    monkeypatch.setenv(session.VARIABLE, str(folder))
    monkeypatch.setattr(extraction, "prove", proved)
    session._made().clear()
    return folder


def at(**address: Any) -> AppTest:
    test = AppTest.from_file(str(PAGES / "subnetworks.py"), default_timeout=120)
    test.query_params |= address
    test.run()
    assert not test.exception, test.exception
    return test


def test_several_directions_are_extracted_and_each_is_proved(some: Path) -> None:
    test = at(directions=[DE, FR])
    assert test.multiselect(key="cut-directions").value == [DE, FR]
    assert test.query_params["directions"] == [DE, FR]
    test = ended(press(test, "Extract and prove"), "cutting")
    table = next(f.value for f in test.dataframe if "identical" in f.value)
    assert list(table["task"]) == ["English → German", "English → French"]
    assert list(table["identical"]) == [4, 4] and set(table["holds"]) == {"proved"}
    assert "4 captions in each of 2 directions: 8 translations" in test.success[0].value
    (name,) = session.made()
    assert name == "routed-2-tasks"
    (sizes,) = [f.value for f in test.dataframe if "Memory, MiB" in f.value]
    assert sizes["Component"].iloc[-1] == "All"
    assert " → " in sizes["Parameters"].iloc[0] and " → " not in sizes["Disk, MiB"].iloc[0]
    (place,) = [box for box in test.text_input if box.label == "Save as"]
    assert place.value == str(some / name)
    place.set_value(" ")
    press(test, "Save")
    assert test.error[0].value == "Name a directory to save it in."
    (place,) = [box for box in test.text_input if box.label == "Save as"]
    place.set_value("~nobody-of-this-name/x")
    press(test, "Save")
    assert "cannot be a path here" in test.error[0].value
    (place,) = [box for box in test.text_input if box.label == "Save as"]
    place.set_value(str(some / name))
    press(test, "Save")
    saved = Translator.load(some / name)
    assert [proof["task"] for proof in saved.provenance["proof"]] == [DE, FR]
    assert any("MiB on disk" in caption.value for caption in test.run().caption)


def test_what_was_made_is_found_when_the_page_is_loaded_anew_until_it_is_unloaded() -> None:
    ended(press(at(directions=[FR, DE, FR]), "Extract and prove"), "cutting")
    again = at(directions=[FR, DE])
    assert again.multiselect(key="cut-directions").value == [FR, DE]
    assert "Proved on 4 captions in each of 2 directions" in again.success[0].value
    assert not at(directions=[DE, FR]).success
    compare = AppTest.from_file(str(PAGES / "compare.py"), default_timeout=120)
    compare.query_params["systems"] = ["routed", "routed-2-tasks"]
    compare.run()
    assert compare.multiselect(key="systems").value == ["routed", "routed-2-tasks"]
    checkpoints = opened("checkpoints")
    assert "and 1 network made here: 0." in checkpoints.caption[1].value
    (facts,) = [text.value for text in checkpoints.markdown if "Made here" in text.value]
    assert "**Made here** not saved" in facts and "English → French, English → German" in facts
    (unload,) = [each for each in checkpoints.button if each.key and each.key.startswith("drop ")]
    unload.click().run()
    assert not session.made() and not at(directions=[FR, DE]).success


def test_one_direction_stands_in_the_address_as_from_and_to() -> None:
    test = at(**{"from": "eng_Latn", "to": "fra_Latn"})
    chosen = test.multiselect(key="cut-directions")
    assert chosen.value == [FR]
    assert (test.query_params["from"], test.query_params["to"]) == ("eng_Latn", "fra_Latn")
    chosen.set_value([DE]).run()  # the default
    assert not {"from", "to", "directions"} & set(test.query_params)
    test.multiselect(key="cut-directions").set_value([]).run()
    assert "at least one direction" in test.info[0].value
    assert at(directions="no-such").multiselect(key="cut-directions").value == [DE]


def test_ties_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    unequal = (Unequal(1, "A dog.", 2, "▁der", "▁ein", 3e-5, True),)
    tied = Proof(DE, "routed", 4, 3, 1, 0, 1e-6, 2, 1, (1,), (), 1e-3, unequal)
    monkeypatch.setattr(extraction, "prove", lambda *_, **__: tied)
    test = ended(press(opened("subnetworks"), "Extract and prove"), "cutting")
    assert "3 translations are equal token for token, 1 differ" in test.success[0].value
    (parts,) = [each for each in test.expander if "Where translations part: 1" in each.label]
    row = parts.dataframe[0].value.iloc[0]
    assert list(row) == ["English → German", 1, "A dog.", 2, "▁der", "▁ein", 3e-5, "tie"]
    failed = replace(tied, different=1, ties=0, tied=(), differing=(1,))
    monkeypatch.setattr(extraction, "prove", lambda *_, **__: failed)
    test = ended(press(test, "Extract and prove"), "cutting")
    assert "Not proved" in test.error[0].value and not test.success


def test_a_cancelled_proof_leaves_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    second = threading.Event()

    def slow(model: Any, small: Any, lines: Any, task: Any, progress: Any) -> Proof:
        if str(task) == FR:
            second.set()
            while True:
                progress(1, 2)
                threading.Event().wait(0.01)
        return proved(model, small, lines, task)

    monkeypatch.setattr(extraction, "prove", slow)
    test = press(at(directions=[DE, FR]), "Extract and prove")
    assert second.wait(60)
    assert list(session.made()) == ["routed-2-tasks"]
    press(test, "Cancel")
    ended(test, "cutting")
    assert "not proved for English → French" in test.warning[0].value
    assert "in each" not in test.success[0].value
    assert "Save" in [button.label for button in test.button]


def test_a_cancelled_report_leaves_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model = translator("token", "token")
    plan = smaller.Plan({}, model.config, "words", lambda: model)

    def endless(*_: Any, progress: Any) -> None:
        while True:
            progress(1, 2)
            threading.Event().wait(0.01)

    monkeypatch.setattr(smaller, "report", endless)
    job: Job = jobs.start(lambda job: smaller.make(job, model, plan, [EN_DE], "words"))
    while not job.results:
        threading.Event().wait(0.01)
    job.cancel()
    while not job.finished:
        threading.Event().wait(0.01)
    (made,) = job.results
    assert made.network is session.made()[model.name] is model
    assert made.found is None and made.whole == model.name and made.tasks == (EN_DE,)
