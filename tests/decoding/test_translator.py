"""The translator: same tokens however sentences are batched, scores, limits, odd lines, errors."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models import EN_DE, KINDS, captions, new_translator, tiny_tokenizer, translator
from workbench.decoding.search import SearchOptions, first_argmax
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError

SHORT = tuple(sorted(captions(), key=len)[:12])
LENGTH = 20


def ids_of(outputs):
    return [output.token_ids for output in outputs]


def lone(model, texts):
    """Each sentence on its own."""
    return [model.translate(t, "en", "de", batch_size=1, max_length=LENGTH)[0] for t in texts]


def assert_same(outputs, wanted):
    """Equal tokens, and scores that a neighbour's influence would move though no token changes."""
    assert ids_of(outputs) == ids_of(wanted)
    scores = [[output.score for output in each] for each in (outputs, wanted)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_alone_in_a_batch_and_padded_are_the_same(kind):
    model = translator(*kind)
    texts = [*captions()[:20], *SHORT]
    alone = lone(model, texts)
    # Else equality would say little: enough different tokens, and a score of its own for each sentence.
    assert len(set(ids_of(alone))) > 5
    assert len({round(output.score, 4) for output in alone}) > 20
    assert_same(model.translate(texts, "en", "de", batch_size=8, max_length=LENGTH), alone)
    # The last batch of five is filled up to eight rows, and short sentences lie beside long ones.
    order = [*range(0, 32, 3), *range(1, 32, 3)][:21]
    mixed = model.translate([texts[i] for i in order], "en", "de", batch_size=8, max_length=LENGTH)
    assert_same(mixed, [alone[i] for i in order])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.lists(st.sampled_from(SHORT) | st.text(max_size=12), min_size=1, max_size=8))
def test_neighbours_do_not_matter_whatever_they_are(texts):
    model = translator("token", "target")
    outputs = model.translate(texts, "en", "de", batch_size=8, max_length=8)
    assert len(outputs) == len(texts)
    alone = [model.translate([t], "en", "de", batch_size=1, max_length=8)[0] for t in texts]
    assert ids_of(outputs) == ids_of(alone)


def test_scores_are_the_teacher_forced_log_probabilities():
    model = translator("token", "target")
    outputs = model.translate(SHORT[:6], "en", "de", batch_size=8, max_length=LENGTH)
    language = model.tokenizer.language_id("deu_Latn")
    checked = 0
    for text, output in zip(SHORT, outputs, strict=False):
        source = np.array([model.tokenizer.encode_source(text, "eng_Latn")], np.int32)
        source = np.pad(source, ((0, 0), (0, 32 - source.shape[1])), constant_values=1)
        inputs = np.ones((1, LENGTH + 1), np.int32)
        read = [2, language, *output.token_ids[:-1]]
        inputs[0, : len(read)] = read
        rows = [np.array([row], np.int32) for row in model.config.task_ids(EN_DE)]
        states, _ = model.network(source, inputs, *rows)
        logits = np.asarray(model.network.logits(states)[0, 1 : len(read)], np.float64)
        total = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
        picked = logits[np.arange(len(output.token_ids)), list(output.token_ids)]
        assert output.score == pytest.approx((picked - total).mean(), abs=1e-4)
        assert (logits.argmax(-1) == output.token_ids).all()
        checked += len(output.token_ids)
    assert checked > 40


def test_without_scores_tokens_are_the_same_and_scores_are_nan():
    model = translator("token", "target")
    first, second = (
        model.translate(SHORT[:6], "en", "de", batch_size=8, max_length=LENGTH, with_scores=asked)
        for asked in (True, False)
    )
    assert ids_of(first) == ids_of(second)
    assert all(np.isnan(output.score) for output in second)


def test_stopping_early_equals_running_to_the_end():
    """Sentences that end early, alone, and beside one that goes on to the limit."""
    model = translator("dense", "dense")
    outputs = model.translate(captions()[:24], "en", "de", batch_size=8, max_length=40)
    ended = [i for i, output in enumerate(outputs) if not output.truncated]
    going = next(i for i, output in enumerate(outputs) if output.truncated)
    assert len(ended) >= 4
    assert min(len(outputs[i].token_ids) for i in ended) < 10
    texts = [captions()[i] for i in ended[:4]]
    early = model.translate(texts, "en", "de", batch_size=8, max_length=40)
    late = model.translate([*texts, captions()[going]], "en", "de", batch_size=8, max_length=40)
    assert ids_of(early) == ids_of(late)[:4] == [outputs[i].token_ids for i in ended[:4]]
    assert all(output.token_ids[-1] == 2 and 2 not in output.token_ids[:-1] for output in early)


def test_a_translation_says_what_it_is():
    model = translator("dense", "dense")
    output = model.translate(captions()[0], "en", "de", batch_size=8, max_length=40)[0]
    assert output.text == str(output) == model.tokenizer.decode(output.token_ids)
    assert type(output.text) is str
    assert output.tokens == tuple(model.tokenizer.token(i) for i in output.token_ids)
    assert output.truncated == (output.token_ids[-1] != 2)
    assert output.seconds > 0
    assert output.score < 0


def test_the_limit_is_kept_to_the_token():
    model = translator("dense", "dense")
    for limit in (1, 3):
        outputs = model.translate(captions()[:8], "en", "de", batch_size=8, max_length=limit)
        assert max(len(output.token_ids) for output in outputs) == limit
    longer = model.translate(captions()[:8], "en", "de", batch_size=8, max_length=LENGTH)
    for short, long in zip(outputs, longer, strict=True):
        assert long.token_ids[:3] == short.token_ids


def test_a_limit_above_the_usual_one_is_kept_alone_and_in_a_batch():
    model = new_translator(max_positions=128)
    texts, limit = captions()[:4], 110  # a batch of these has room for 96 or less by itself
    alone = [model.translate([t], "en", "de", batch_size=1, max_length=limit)[0] for t in texts]
    assert max(len(output.token_ids) for output in alone) == limit
    assert_same(model.translate(texts, "en", "de", batch_size=8, max_length=limit), alone)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_a_small_cache_cannot_hold_is_found_in_a_larger_one(beam_size, monkeypatch):
    model = new_translator("token", "target", max_positions=128)
    # Some end within the small cache of the first attempt, some need the room of the second.
    limit = lambda ids: 8 + 16 * (len(ids) % 4)  # noqa: E731
    monkeypatch.setattr(model, "limits", lambda pieces, _: [limit(ids) for ids in pieces])
    pieces = model.tokenizer.encode_sources(list(SHORT[:7]), "eng_Latn")
    options = SearchOptions(beam_size)
    outputs = model.translate(list(SHORT[:7]), "en", "de", beam_size=beam_size, batch_size=8)
    assert model.programs.compiled == 2
    request, capacity = model.request(pieces, EN_DE, 8)
    at_once, _ = model.find(request, capacity, options)
    assert 0 < (at_once.lengths[:7] > 1.5 * request.source.shape[1]).sum() < 7
    assert at_once.finished[:7].all()
    wanted = [row[:n].tolist() for row, n in zip(at_once.tokens, at_once.lengths, strict=True)]
    assert [list(output.token_ids) for output in outputs] == wanted[:7]
    means = at_once.scores[:7] / at_once.lengths[:7]
    np.testing.assert_allclose([output.score for output in outputs], means, rtol=1e-5)


@pytest.mark.parametrize(("kind", "parts"), [("dense", [4, 4, 3]), ("token", [11])])
def test_a_large_batch_is_searched_in_parts_where_that_is_faster(kind, parts, monkeypatch):
    model = new_translator("dense", kind)
    texts = [captions()[0], *SHORT[:5], *captions()[1:6]]
    options = {"batch_size": 11, "max_length": 6}
    at_once = model.translate(texts, "en", "de", **options)
    monkeypatch.setattr("workbench.decoding.translator.MOST_ROWS", 4)
    rows = []
    find = model.find
    monkeypatch.setattr(
        model, "find", lambda request, *rest: rows.append(request) or find(request, *rest)
    )
    assert_same(model.translate(texts, "en", "de", **options), at_once)
    assert [int((request.limits > 0).sum()) for request in rows] == parts


def test_a_limit_beyond_the_positions_is_cut_to_them():
    model = translator("dense", "dense")
    outputs = model.translate(captions()[:8], "en", "de", batch_size=8, max_length=10_000)
    assert max(len(output.token_ids) for output in outputs) <= model.config.max_positions - 2


def test_blank_lines_stay_where_they_are_and_cost_nothing():
    model = translator("dense", "dense")
    compiled = model.programs.compiled
    for blanks in ([], [""], ["", "  ", "\t", "\n", "\u3000"]):
        outputs = model.translate(blanks, "en", "de", batch_size=8)
        assert outputs == [""] * len(blanks)
        assert all(o.token_ids == () and o.tokens == () and not o.truncated for o in outputs)
    assert model.programs.compiled == compiled
    texts = [SHORT[0], "", SHORT[1], " "]
    outputs = model.translate(texts, "en", "de", batch_size=8, max_length=LENGTH)
    assert ids_of(outputs)[::2] == ids_of(lone(model, SHORT[:2]))
    assert ids_of(outputs)[1::2] == [(), ()]


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧‍👦🎉",
        "يقفز ولد صغير",
        "一个小男孩跳进水坑。",
        "\u202eabc\u202c",
        "a\0b",
        "a \ud83d b",
        "</s> <pad>",
    ],
)
def test_any_script_is_translated_without_complaint(text):
    model = translator("dense", "dense")
    outputs = model.translate([text, SHORT[0]], "en", "de", batch_size=8, max_length=LENGTH)
    assert outputs[0].token_ids
    assert outputs[1].token_ids == lone(model, SHORT[:1])[0].token_ids
    outputs[0].text.encode()


def test_ten_thousand_words_are_split_and_all_of_them_translated():
    model = translator("dense", "dense")
    text = " ".join(["A man rides a horse on the beach."] * 1250)
    seen = []
    output = model.translate(
        text, "en", "de", batch_size=64, max_length=2, progress=lambda *done: seen.append(done)
    )[0]
    pieces = seen[-1][1]
    tokens = len(model.tokenizer.encode_source(text, "eng_Latn"))
    assert pieces >= tokens / model.config.max_positions
    assert pieces <= len(output.token_ids) <= 2 * pieces
    assert seen[-1] == (pieces, pieces)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_the_sentences_of_a_text_are_translated_one_by_one_if_asked_to():
    model = translator("dense", "dense")
    first, second = captions()[:2]
    texts = [f"{first} {second}", first, " "]
    options = {"batch_size": 8, "max_length": LENGTH}
    joined, single, blank = model.translate(texts, "en", "de", by_sentence=True, **options)
    parts = model.translate([first, second], "en", "de", **options)
    assert joined == " ".join(parts)
    assert joined.token_ids == parts[0].token_ids + parts[1].token_ids
    assert (single, blank) == (parts[0], "")


def test_a_word_without_end_is_split_too():
    model = translator("dense", "dense")
    output = model.translate("x" * 500, "en", "de", batch_size=64, max_length=2)[0]
    assert len(output.token_ids) >= 500 / model.config.max_positions


def test_directions_are_those_of_the_checkpoint():
    model = translator("token", "target")
    for written in ("en", "eng", "English", "eng_Latn", "EN"):
        assert model.task(written, "German") == EN_DE
    with pytest.raises(
        WorkbenchError, match=r"does not translate deu_Latn-fra_Latn.*eng_Latn-deu_Latn"
    ):
        model.translate("a", "de", "fr")
    with pytest.raises(WorkbenchError, match=r"'ger'.*Did you mean deu_Latn"):
        model.translate("a", "en", "ger")
    with pytest.raises(WorkbenchError, match=r"Spanish|spa_Latn"):
        model.translate("a", "en", "es")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"batch_size": 0}, r"batch_size \(0\)"),
        ({"max_length": 0}, r"max_length \(0\)"),
        ({"batch_size": -3}, r"batch_size \(-3\)"),
        ({"beam_size": "4"}, r"beam_size is '4' \(str\)"),
        ({"beam_size": 2.5}, r"beam_size is 2\.5 \(float\)"),
        ({"batch_size": None}, "batch_size is None"),
        ({"max_length": "9"}, r"max_length is '9' \(str\)"),
    ],
)
def test_impossible_arguments_are_refused(options, says):
    with pytest.raises(WorkbenchError, match=says):
        translator("dense", "dense").translate("a", "en", "de", **options)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None, "en", "de"), "sentences is None"),
        ((["a", None], "en", "de"), r"sentences\[1\] is None: it must be a text"),
        ((["a", float("nan")], "en", "de"), r"sentences\[1\] is nan \(float\)"),
        (({"a", "b"}, "en", "de"), "sentences is a set, which has no order"),
        (("a", None, "de"), "source is None: give a language as text"),
        (("a", "en", 5), "target is 5: give a language as text"),
    ],
)
def test_what_is_no_text_is_named(arguments, says):
    with pytest.raises(WorkbenchError, match=says):
        translator("dense", "dense").translate(*arguments)


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused():
    model = translator("dense", "dense")
    small = dataclasses.replace(model.config, vocabulary=499)
    with pytest.raises(WorkbenchError, match=r"500 tokens.*only 499"):
        Translator("it", small, tiny_tokenizer(), model.network)


def test_of_equal_logits_the_first_wins():
    logits = jnp.array([[1.0, 3.0, 3.0, 0.0], [-1.0, -2.0, -1.0, -1.0], [5.0, 0.0, 0.0, 5.0]]).T
    best, highest = first_argmax(logits)
    assert best.tolist() == [1, 0, 0]
    assert highest.tolist() == [3.0, -1.0, 5.0]


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 70, 1000])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_first_largest_is_numpys(rows, dtype):
    # Few values, so that most columns have ties, within a block of rows and across blocks.
    values = np.random.default_rng(rows).integers(-3, 3, size=(rows, 40))
    best, highest = first_argmax(jnp.asarray(values, dtype))
    assert best.tolist() == values.argmax(axis=0).tolist()
    assert highest.tolist() == values.max(axis=0).tolist()
