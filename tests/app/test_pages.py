"""Every page of the app, run by Streamlit's own tester on the bundled checkpoints."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import jobs
from app.jobs import Job
from app.widgets import tokens
from app.widgets.comparison_results import comparison
from tests.models import EN_DE
from workbench.decoding.translator import Translator
from workbench.routing.gathering import gather_statistics

PAGES = Path(__file__).resolve().parents[2] / "app" / "views"


def opened(page: str) -> AppTest:
    """The page as it opens, without an error."""
    test = AppTest.from_file(str(PAGES / f"{page}.py"), default_timeout=120).run()
    assert not test.exception, test.exception
    return test


def press(test: AppTest, label: str) -> AppTest:
    """The page after pressing a button."""
    (button,) = [b for b in test.button if b.label == label]
    button.click().run()
    assert not test.exception, test.exception
    return test


@pytest.mark.parametrize(
    "page", ["translate", "experts", "subnetworks", "compare", "runs", "checkpoints"]
)
def test_a_page_opens_and_computes_nothing_uninvited(page: str) -> None:
    jobs.forget(lambda job: True)  # what was asked by other tests would be found
    test = opened(page)
    assert test.title[0].value
    assert not test.error
    assert "translated" not in test.session_state
    assert "traced" not in test.session_state
    assert "job" not in test.session_state


def test_translations_of_odd_lines_are_sound_and_none_is_lost() -> None:
    test = opened("translate")
    lines = ["A man rides a horse.", "", "<b>two</b> dogs 😀", "שלום", "dog " * 2000]
    test.text_area[0].set_value("\n".join(lines))
    ended(press(test, "Translate"), "translating")
    _, results = test.session_state["translated"]
    (result,) = results.values()
    assert len(result.translations) == len(lines)
    assert result.translations[0].text
    assert result.translations[1].text == ""
    assert result.translations[4].text
    assert not test.error


def test_a_short_text_is_in_the_address_and_a_long_one_is_not() -> None:
    test = AppTest.from_file(str(PAGES / "translate.py"), default_timeout=120)
    test.query_params["text"] = "Zwei Hunde."
    test.run()
    assert test.text_area[0].value == "Zwei Hunde."
    test.text_area[0].set_value("A dog.").run()
    assert test.query_params["text"] == "A dog."
    test.text_area[0].set_value("A dog. " * 1000).run()
    assert not test.exception
    assert "text" not in test.query_params


def test_every_sentence_of_a_line_is_translated() -> None:
    test = opened("translate")
    test.text_area[0].set_value("Two dogs run in 3.5 s. A man sits. Dr. Smith sleeps!\n\nA girl?")
    ended(press(test, "Translate"), "translating")
    _, results = test.session_state["translated"]
    (result,) = results.values()
    assert result.lines == (
        "Two dogs run in 3.5 s.",
        "A man sits.",
        "Dr. Smith sleeps!",
        "",
        "A girl?",
    )
    assert [bool(made.text) for made in result.translations] == [True, True, True, False, True]


def test_the_direction_can_be_swapped() -> None:
    test = opened("translate")
    before = [test.selectbox(key=key).value for key in ("from", "to")]
    (swap,) = [b for b in test.button if b.label == "Swap languages"]
    swap.click().run()
    assert [test.selectbox(key=key).value for key in ("to", "from")] == before
    assert test.query_params["from"] == before[1]


def test_a_swap_takes_the_translation_of_the_text_along_and_the_tinted_layer_stays() -> None:
    test = opened("translate")
    test.text_area[0].set_value("A man rides a horse.\n\nTwo dogs.")
    ended(press(test, "Translate"), "translating")
    (layer,) = [b for b in test.button_group if b.label.startswith("Tint")]
    layer.set_value("encoder-1").run()
    _, results = test.session_state["translated"]
    (result,) = results.values()
    press(test, "Swap languages")
    assert test.text_area[0].value == "\n".join(made.text for made in result.translations)
    assert test.session_state["tint"] == test.query_params["tint"] == "encoder-1"
    shown = test.text_area[0].value
    press(test, "Swap languages")
    assert test.text_area[0].value == shown, "no translation of this text is shown"


def test_a_file_becomes_the_text_or_says_why_not() -> None:
    test = opened("translate")
    test.file_uploader[0].upload("a.txt", "Ein Hund.\r\n\r\nZwei 😀\n".encode()).run()
    assert test.text_area[0].value == "Ein Hund.\n\nZwei 😀"
    test.file_uploader[0].upload("b.txt", b"Hund \xff\n").run()
    assert test.text_area[0].value == "Hund �"
    assert "b.txt: not UTF-8 in line 1" in test.warning[0].value
    test.file_uploader[0].upload("c.txt", b"\xff\xfeH\x00").run()
    assert test.error[0].value == "c.txt is UTF-16 or UTF-32 text. Save it as UTF-8."
    for blank in (b"", b"\n \r\n"):
        test.file_uploader[0].upload("blank.txt", blank).run()
        assert test.error[0].value == "blank.txt has no text."
    test.file_uploader[0].upload("d.txt", b"a" * 100_001).run()
    assert "d.txt has 100,001 characters, and there is room for 100,000" in test.error[0].value
    assert test.text_area[0].value == "Hund �" and not test.warning
    test.file_uploader[0].upload("e.txt", b"A dog\rruns\r").run()  # the ends of lines of old
    assert test.text_area[0].value == "A dog\nruns"
    test = opened("experts")
    test.segmented_control(key="whose-text").set_value("own").run()
    test.file_uploader[0].upload("a.txt", b"A dog.").run()
    assert test.text_area(key="own-text").value == "A dog."


def test_what_if_another_tasks_experts_translate_or_some_are_off() -> None:
    test = opened("translate")
    test.multiselect(key="with").set_value(["captions-task-moe"]).run()
    ended(press(test, "Translate"), "translating")
    name, (_, results) = "captions-task-moe", test.session_state["translated"]
    original = results[name]
    test.selectbox(key=f"what-if decoder {name}").set_value("fra_Latn").run()
    ended(press(test, "Translate again"), "translating")
    _, results = test.session_state["translated"]
    changed = results[f"{name}, changed"]
    assert list(results) == [name, f"{name}, changed"] and results[name] is original
    assert changed.name == f"{name}: decoder as fra_Latn"
    gates = [r.routes.to_frame().set_index("stack").loc["decoder"] for r in (original, changed)]
    assert set(gates[0]["expert"]).isdisjoint(gates[1]["expert"])
    test.selectbox(key=f"what-if decoder {name}").set_value("its own task").run()
    first, *others = sorted(set(gates[0]["expert"]))
    test.multiselect(key=f"what-if experts {name} ('decoder', 1)").set_value([first]).run()
    ended(press(test, "Translate again"), "translating")
    _, results = test.session_state["translated"]
    left = results[f"{name}, changed"].routes.to_frame()
    assert first not in set(left.loc[left["stack"] == "decoder", "expert"]) >= set(others)
    assert any("of 3 differ from the original" in text.value for text in test.markdown)
    test.multiselect(key=f"what-if experts {name} ('decoder', 1)").set_value(list(range(16))).run()
    ended(press(test, "Translate again"), "translating")
    assert test.error[0].value == "No expert of decoder layer 1 would be left."


def test_what_if_of_one_checkpoint_leaves_the_others_to_be_changed_next() -> None:
    test = opened("translate")
    one, two = "captions-task-moe", "captions-hybrid-moe"
    test.multiselect(key="with").set_value([one, two]).run()
    test.text_area[0].set_value("A girl in a red dress eats an apple.").run()
    ended(press(test, "Translate"), "translating")
    for name, other in ((one, two), (two, one)):
        test.selectbox(key="what-if model").set_value(name).run()
        test.selectbox(key=f"what-if decoder {name}").set_value("fra_Latn").run()
        ended(press(test, "Translate again"), "translating")
        assert list(test.session_state["translated"][1]) == [one, two, f"{name}, changed"]
        shown = [found.value for found in test.subheader]
        assert shown == [name, f"{name}: decoder as fra_Latn"] and other not in shown
        assert test.selectbox(key="what-if model").options == [one, two]
    _, results = test.session_state["translated"]
    texts = [results[name].translations[0].text for name in (one, two)]
    assert texts[0] != texts[1]
    (swap,) = [b for b in test.button if b.label == "Swap languages"]
    swap.click().run()
    assert test.text_area[0].value == texts[1]  # of the checkpoint that is shown


def test_tokens_run_as_their_script_does_and_marks_as_latin() -> None:
    assert 'dir="rtl"' in tokens.plain(("▁رجل", "</s>"), "arb_Arab")
    assert "<bdi>&lt;/s&gt;</bdi>" in tokens.plain(("▁رجل", "</s>"), "arb_Arab")
    assert 'dir="ltr"' in tokens.plain(("▁Mann",), "deu_Latn")


def test_own_text_is_traced_in_the_tasks_of_its_language() -> None:
    test = opened("experts")
    tasks = test.multiselect[0].value
    test.segmented_control(key="whose-text").set_value("own").run()
    assert test.selectbox(key="own-language").value == "eng_Latn"
    own = test.multiselect[0].value
    assert own == [task for task in tasks if task.startswith("eng_Latn-")]
    test.text_area(key="own-text").set_value("A dog runs. A man sits.\n\n").run()
    test.multiselect[0].set_value(["eng_Latn-deu_Latn"]).run()
    ended(press(test, "Trace"), "tracing")
    assert test.session_state["traced"][0].tasks == (EN_DE,)
    assert test.subheader[0].value.endswith(": 2 sentences in 1 task")
    (sentence,) = [box for box in test.selectbox if box.label == "Sentence"]
    assert sentence.options[0].startswith("English → German · A dog runs. → ")
    assert not any("asked before" in text.value for text in test.caption)
    test.selectbox(key="own-language").set_value("deu_Latn").run()
    assert not test.exception
    assert test.multiselect[0].value == ["deu_Latn-eng_Latn"]
    assert any("asked before" in text.value for text in test.caption)


def in_a_line(title: str | list[str]) -> str:
    """A chart's title, which may have several lines."""
    return title if isinstance(title, str) else " ".join(title)


def test_a_trace_is_seen_by_task_by_sentence_and_by_token() -> None:
    test = opened("experts")
    test.select_slider(key="captions").set_value("10").run()
    test.multiselect[0].set_value(["eng_Latn-deu_Latn", "eng_Latn-fra_Latn"]).run()
    ended(press(test, "Trace"), "tracing")
    titles = {
        "Usage": "Encoder layer 1: share of tokens per expert",
        "Similarity": "Decoder layer 1: how alike tasks use its experts",
        "Specialisation": "How much the choice of experts tells of the task",
        "Chosen together": "Decoder layer 1: experts chosen together",
    }
    test.selectbox(key="task-order").set_value("target").run()
    test.selectbox(key="experts-shown").set_value("8").run()
    assert test.query_params["task-order"] == "target"
    assert test.query_params["experts-shown"] == "8"
    usage = json.loads(test.get("vega_lite_chart")[0].proto.spec)
    assert in_a_line(usage["title"]["subtitle"]).endswith("; the 8 most used are shown")
    view = test.segmented_control(key="view")
    assert view.options == list(titles)
    for name, title in titles.items():
        test.segmented_control(key="view").set_value(name).run()
        assert not test.exception, test.exception
        shown = [json.loads(chart.proto.spec)["title"] for chart in test.get("vega_lite_chart")]
        assert title in [in_a_line(chart["text"]) for chart in shown]
    press(test, "Draw the map")  # of a network that routes by task
    assert any("routes all sentences of a task alike" in text.value for text in test.info)
    assert any("likes best" in heading.value for heading in test.subheader)


def test_a_trace_is_cancelled_and_the_last_one_stays() -> None:
    test = opened("experts")
    everything = test.multiselect[0].value
    test.select_slider(key="captions").set_value("10").run()
    test.multiselect[0].set_value(["eng_Latn-deu_Latn"]).run()
    ended(press(test, "Trace"), "tracing")
    before, _ = test.session_state["traced"]
    test.multiselect[0].set_value(everything).run()
    test.select_slider(key="captions").set_value("220").run()
    press(test, "Trace")
    press(test, "Cancel")
    ended(test, "tracing")
    assert "nothing was traced" in test.info[0].value
    assert test.session_state["traced"][0] is before
    assert any("asked before" in text.value for text in test.caption)
    assert "Trace" in [button.label for button in test.button if not button.disabled]


def test_a_stack_that_keeps_all_its_experts_is_named() -> None:
    test = AppTest.from_file(str(PAGES / "subnetworks.py"), default_timeout=120)
    test.query_params["model"] = "captions-hybrid-moe"
    test.run()
    assert not test.exception
    assert list(test.dataframe[0].value["Of how many"]) == [16]
    assert "The encoder is routed by token: it keeps all its experts." in [
        text.value for text in test.caption
    ]


def test_a_sub_network_is_extracted_and_proved() -> None:
    test = ended(press(opened("subnetworks"), "Extract and prove"), "cutting")
    ((proof,),) = [cut.proofs for cut in test.session_state["cutting"].results]
    assert proof.holds
    assert proof.sentences == 220
    assert "Proved" in test.success[0].value


def test_a_bad_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    test = opened("checkpoints")
    test.text_input[0].set_value(str(tmp_path))
    (add,) = [b for b in test.button if b.label == "Add"]
    add.click().run()
    assert "config.json" in test.error[0].value


def test_two_checkpoints_of_one_name_are_refused_in_one_line(tmp_path: Path) -> None:
    test = opened("checkpoints")
    there = PAGES.parents[1] / "checkpoints" / "captions-dense"
    copy = tmp_path / there.name
    copy.mkdir()
    (copy / "config.json").write_bytes((there / "config.json").read_bytes())
    for path, words in ((there, "in the list already"), (copy, "another name")):
        test.text_input[0].set_value(str(path))
        press(test, "Add")
        assert words in test.error[0].value
        assert "added" not in test.session_state


def test_the_checkpoints_page_says_how_stacks_are_routed() -> None:
    test = opened("checkpoints")
    words = "2 layers, 16 experts in layer 1, 2 chosen by target language"
    overview = test.dataframe[0].value.set_index("Checkpoint")
    assert overview["Decoder"]["captions-hybrid-moe"] == words
    assert any(f"- **Decoder** {words}" in text.value for text in test.markdown)


@pytest.fixture
def token_routed(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The Sub-networks page on the checkpoint that is routed by token."""
    test = AppTest.from_file(str(PAGES / "subnetworks.py"), default_timeout=120)
    test.query_params["model"] = "captions-token-moe"
    test.query_params["for"] = "eng_Latn-deu_Latn"
    test.run()
    assert not test.exception, test.exception
    return test


def ended(test: AppTest, key: str) -> AppTest:
    """The page after the job in its state has ended; a page may have taken over its result already."""
    if key in test.session_state:
        assert finished(test.session_state[key])
    return test.run()


def test_experts_are_pruned_by_statistics_that_are_gathered_once(token_routed: AppTest) -> None:
    test = press(token_routed, "Gather statistics")
    ended(test, "gathering")
    assert "Statistics: gathered" in test.expander[0].label
    assert test.metric[1].value != test.metric[0].value
    (keep,) = test.slider
    keep.set_value(1).run()
    assert "router chooses 2" in test.error[0].value
    keep.set_value(50).run()
    (own,) = [box for box in test.checkbox if box.label == "A budget for each stack"]
    own.check().run()
    test.slider(key="decoder-keep").set_value(25).run()
    press(test, "Prune and report")
    ended(test, "making")
    (made,) = test.session_state["making"].results
    assert made.words.endswith(", for English → German")
    assert made.network.config.encoder.experts == 8  # of 16
    assert made.network.config.decoder.experts == 4
    assert [row.task for row in made.found.rows] == ["eng_Latn-deu_Latn"] * 2
    assert {"BLEU", "Δ BLEU", "Repetition"} <= set(test.dataframe[-1].value.columns)
    again = AppTest.from_file(str(PAGES / "subnetworks.py"), default_timeout=120)
    again.query_params |= {"model": "captions-token-moe", "how": "Merge"}
    again.run()
    assert not again.exception
    assert "Merge and report" in [button.label for button in again.button]


def test_a_list_of_kept_experts_is_imported_or_refused_in_one_line(token_routed: AppTest) -> None:
    test = token_routed
    (by,) = [group for group in test.segmented_control if group.label == "Experts chosen by"]
    by.set_value("A list of kept experts").run()
    test.file_uploader[0].upload("kept.json", b'{"global": [0, 1, 2, 16, 17]}').run()
    assert not test.error
    assert "Prune and report" in [button.label for button in test.button]
    test.file_uploader[0].upload("bad.json", b'{"global": [0, 1, 99]}').run()
    assert "of another model" in test.error[0].value
    assert "Prune and report" not in [button.label for button in test.button]


def test_statistics_are_imported_or_refused_in_one_line(token_routed: AppTest) -> None:
    test = token_routed
    model = Translator.load(PAGES.parents[1] / "checkpoints" / "captions-token-moe")
    lines = {task: (["A dog."], ["Ein Hund."]) for task in [EN_DE]}
    table = gather_statistics(model, lines).to_json()
    test.file_uploader[0].upload("own.json", json.dumps(table).encode()).run()
    assert not test.exception and not test.error
    assert "Prune and report" in [button.label for button in test.button]
    test.file_uploader[0].upload("bad.json", b"[1").run()
    assert "bad.json is not valid JSON" in test.error[0].value


def test_choices_stand_in_the_address_by_the_names_of_the_command_line(
    token_routed: AppTest,
) -> None:
    test = token_routed
    assert test.multiselect[0].value == ["eng_Latn-deu_Latn"]
    both = ["eng_Latn-deu_Latn", "deu_Latn-eng_Latn"]
    test.multiselect[0].set_value(both).run()
    assert test.query_params["for"] == both
    test.multiselect[0].set_value([]).run()
    assert "at least one direction" in test.info[0].value


def test_streamlit_finds_no_pages_of_its_own_kind():
    # It shows a directory of this name beside the script, bare, to whoever opens a link to a page on a fresh server.
    assert not (PAGES.parent / "pages").exists()


@pytest.mark.slow
def test_systems_are_timed_in_turns_and_dense_ones_under_other_engines_too() -> None:
    test = opened("compare")
    systems = ["captions-task-moe", "captions-task-moe ✂"]
    test.multiselect(key="systems").set_value(systems).run()
    test.multiselect(key="engines").set_value(["ctranslate2-int8"]).run()
    press(test, "Compare")
    job = test.session_state["job"]
    assert finished(job) and not job.error, job.error
    names = [*systems, "captions-task-moe ✂@ctranslate2-int8"]
    assert [result.system for result in job.results] == names
    assert [list(result.speeds["batch_size"]) for result in job.results] == [[1, 32]] * 3
    assert [result.disk is None for result in job.results] == [False, True, True]
    assert job.results[0].memory > job.results[1].memory > 0 and job.results[2].memory is None
    test.run()
    assert not test.exception and not test.error
    (table,) = [f.value for f in test.dataframe if "Computed in" in f.value]
    assert list(table["System"]) == names
    assert table["Computed in"].iloc[2].startswith("int8")
    assert list(test.dataframe[0].value["Δ BLEU"])[1] == 0  # the part translates as the whole
    assert not any("asked before" in text.value for text in test.caption)
    test.multiselect(key="sizes").set_value(["16"]).run()
    assert any("asked before" in text.value for text in test.caption)


@pytest.mark.slow
def test_systems_are_compared_in_several_directions_or_on_a_test_set_of_ones_own() -> None:
    test = AppTest.from_file(str(PAGES / "compare.py"), default_timeout=120)
    directions = ["eng_Latn-deu_Latn", "deu_Latn-eng_Latn"]
    test.query_params["directions"] = directions
    test.run()
    systems = ["captions-dense", "captions-distilled"]
    test.multiselect(key="systems").set_value(systems).run()
    test.multiselect(key="sizes").set_value(["8"]).run()
    press(test, "Compare")
    job = test.session_state["job"]
    assert finished(job) and not job.error, job.error
    assert test.query_params["directions"] == directions
    first, second = job.results
    assert first.differences.empty
    assert list(second.differences["task"].unique()) == [*directions, "mean"]
    test.run()
    assert not test.exception and not test.error
    table = test.dataframe[0].value
    assert list(table["System"]) == systems
    means = second.differences[second.differences["task"] == "mean"].set_index("metric")["delta"]
    assert table["Δ BLEU"].iloc[1] == means["BLEU"] == pytest.approx(table["BLEU"].diff().iloc[1])
    speeds = pd.concat([first.speeds, second.speeds])
    whole = comparison(job.results, first.scores + second.scores, second.differences, speeds)
    assert [speed["system"] for speed in whole.to_json()["speeds"]] == systems
    assert "captions-distilled & deu\\_Latn-eng\\_Latn" in whole.render("latex")
    p_values = second.differences.set_index(["task", "metric"])["p_value"]
    assert whole.p_values["captions-distilled", 1, "BLEU"] == p_values[directions[1], "BLEU"]
    again = AppTest.from_file(str(PAGES / "compare.py"), default_timeout=120)  # loaded anew
    again.query_params.update({"directions": directions, "sizes": ["8"]})
    again.run()
    again.multiselect(key="systems").set_value(systems).run()
    assert not again.exception and list(again.dataframe[0].value["System"]) == systems
    test.segmented_control(key="testset").set_value("own").run()
    test.text_area(key="own-sources").set_value("Two dogs run.\nA man sits.").run()
    test.text_area(key="own-references").set_value("Zwei Hunde rennen.").run()
    press(test, "Compare")
    assert ["2 sources but 1 reference" in error.value for error in test.error] == [True]
    test.text_area(key="own-references").set_value("Zwei Hunde rennen.\nEin Mann sitzt.\n").run()
    press(test, "Compare")
    job = test.session_state["job"]
    assert finished(job) and not job.error, job.error
    test.run()
    assert not test.exception and not test.error
    assert any("English → German, 2 sentences." in text.value for text in test.caption)


def test_no_engine_is_asked_to_run_experts() -> None:
    test = opened("compare")
    test.multiselect(key="systems").set_value(["captions-task-moe"]).run()
    test.multiselect(key="engines").set_value(["transformers"]).run()
    press(test, "Compare")
    assert ["None of these systems is dense" in error.value for error in test.error] == [True]
    assert "job" not in test.session_state


def finished(job: Job) -> bool:
    """Whether a job ends within two minutes."""
    for _ in range(1200):
        if job.finished:
            return True
        time.sleep(0.1)
    return False
