import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.languages import LANGUAGES, UnknownLanguageError
from workbench.tasks import Task, TaskError, key_of, parse_task

EN_DE = Task("eng_Latn", "deu_Latn")
languages = st.sampled_from(LANGUAGES)


def test_a_task_is_written_with_its_codes_and_read_with_its_names():
    assert str(EN_DE) == "eng_Latn-deu_Latn"
    assert EN_DE.label == "English → German"
    assert Task("toy_Latn", "eng_Latn").label == "toy_Latn → English"


def test_tasks_sort_by_source_then_target():
    tasks = [Task("eng_Latn", "fra_Latn"), EN_DE, Task("ces_Latn", "eng_Latn")]
    assert [str(task)[:12] for task in sorted(tasks)] == [
        "ces_Latn-eng",
        "eng_Latn-deu",
        "eng_Latn-fra",
    ]


@pytest.mark.parametrize(
    "text",
    ["en-de", "eng_Latn-deu_Latn", "eng-deu", "English-German", " EN - De ", "en→de", "en -> de"],
)
def test_a_direction_may_be_written_in_many_ways(text):
    assert parse_task(text) == EN_DE


@given(languages, languages)
def test_every_task_is_read_as_it_is_written(source, target):
    task = Task(source.code, target.code)
    assert parse_task(str(task)) == task
    assert parse_task(task.label) == task
    assert parse_task(f"{source.name}-{target.name}") == task


def test_a_hyphen_may_belong_to_a_language():
    assert str(parse_task("zh-Hant-en")) == "zho_Hant-eng_Latn"
    assert str(parse_task("en-Luba-Kasai")) == "eng_Latn-lua_Latn"


def test_aliases_mean_what_the_checkpoint_has():
    assert str(parse_task("zh-en", among=["eng_Latn", "zho_Hant"])) == "zho_Hant-eng_Latn"
    with pytest.raises(UnknownLanguageError, match="French"):
        parse_task("en-fr", among=["eng_Latn", "deu_Latn"])


@pytest.mark.parametrize("text", ["", "en", "-de", "en-", "-", "en_de"])
def test_less_than_two_languages_are_no_task(text):
    with pytest.raises(TaskError, match=r"is not a task\. Write .* en-de"):
        parse_task(text)


def test_the_language_that_is_wrong_is_named():
    with pytest.raises(UnknownLanguageError, match=r"'ger'.*Did you mean deu_Latn"):
        parse_task("en-ger")


@given(st.text())
def test_any_text_is_a_task_or_an_error_of_ours(text):
    with contextlib.suppress(TaskError, UnknownLanguageError):
        assert isinstance(parse_task(text), Task)


def test_a_router_looks_at_the_source_the_target_or_both():
    assert key_of(EN_DE, "source") == "eng_Latn"
    assert key_of(EN_DE, "target") == "deu_Latn"
    assert key_of(EN_DE, "pair") == "eng_Latn-deu_Latn"
    with pytest.raises(TaskError, match=r"'both'\. Accepted: source, target, pair"):
        key_of(EN_DE, "both")  # type: ignore[arg-type]


def test_a_file_taken_for_a_task_does_not_fill_the_screen():
    with pytest.raises(TaskError) as caught:
        parse_task("A man rides a horse. " * 1000)
    assert len(str(caught.value)) < 200
