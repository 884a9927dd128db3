"""Batches: every pair once an epoch, shares by temperature, the same sequence from anywhere in it."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from tests.models import EN_DE, captions, config, tiny_tokenizer
from workbench.errors import WorkbenchError
from workbench.tasks import Task
from workbench.text.pairs import Pairs
from workbench.training.batches import BatchStream, Direction, Position, tokenise
from workbench.training.filtering import Filter

DE_EN = Task("deu_Latn", "eng_Latn")


def direction(size, task_ids=(0, 0), mark=0, length=5):
    """Pairs whose second token numbers them."""
    return Direction(
        EN_DE,
        [[400 + mark, 10 + i, *[5] * (i % length), 2] for i in range(size)],
        [[450 + mark, 10 + i, 6, 2] for i in range(size)],
        task_ids,
    )


def stream(*directions, temperature=1.0, buckets=(4, 8), tokens=16, seed=0):
    return BatchStream(directions, buckets, tokens, temperature, pad_id=1, eos_id=2, seed=seed)


def epoch(made, number=0):
    batches = []
    for place, batch in made.batches(Position(number)):
        if place.epoch != number:
            return batches
        batches.append(batch)
    return batches


def pairs(batches):
    return Counter((int(row[0]), int(row[1])) for batch in batches for row in batch.source)


def test_a_batch_by_hand():
    made = stream(Direction(EN_DE, [[7, 8, 2]], [[9, 10, 11, 2]], (3, 5)), buckets=(6,), tokens=6)
    batch = next(made.batches())[1]
    assert batch.source.tolist() == [[7, 8, 2, 1, 1, 1]]
    assert batch.inputs.tolist() == [[2, 9, 10, 11, 1, 1]]
    assert batch.labels.tolist() == [[9, 10, 11, 2, 1, 1]]
    assert (batch.encoder_task_ids.tolist(), batch.decoder_task_ids.tolist()) == ([3], [5])
    assert {array.dtype for array in batch} == {np.dtype(np.int32)}


def test_an_epoch_has_every_pair_once_but_for_the_fill_of_last_batches():
    made = stream(direction(50), direction(30, mark=1))
    for number in (0, 1):
        seen = pairs(epoch(made, number))
        assert len(seen) == 80
        # Whole batches of four rows in the one bucket and two in the other: at most 3 + 1 pairs twice.
        assert sum(seen.values()) - 80 <= 4


def test_shapes_are_those_of_the_buckets():
    shapes = {batch.source.shape for batch in epoch(stream(direction(50)))}
    assert shapes == {(4, 4), (2, 8)}


def test_shares_follow_the_temperature():
    big, little = direction(160, length=1), direction(10, mark=1, length=1)
    counts = {}
    for temperature in (1.0, 2.0, 1e9):
        made = stream(big, little, temperature=temperature, buckets=(4,), tokens=4)
        marks = Counter(int(b.source[0, 0]) - 400 for b in epoch(made))
        counts[temperature] = marks[0], marks[1]
    assert counts[1.0] == (160, 10)
    assert counts[2.0] == (136, 34)  # sqrt(160) : sqrt(10) = 4 : 1
    assert counts[1e9] == (85, 85)


def test_a_pair_is_seen_again_only_after_all_others():
    made = stream(
        direction(160, length=1), direction(10, mark=1, length=1), temperature=2.0, buckets=(4,)
    )
    seen = Counter()
    for number in range(5):  # 5 x 34 of 10 pairs: each 17 times
        seen += pairs(epoch(made, number))
    assert max(seen[401, 10 + i] for i in range(10)) <= 18
    assert min(seen[401, 10 + i] for i in range(10)) >= 17


def test_the_order_changes_with_the_epoch_and_the_seed():
    def order(made, number=0):
        return [batch.source.tolist() for batch in epoch(made, number)]

    first = order(stream(direction(50)))
    assert order(stream(direction(50))) == first
    assert order(stream(direction(50)), 1) != first
    assert order(stream(direction(50), seed=1)) != first


def test_the_sequence_goes_on_the_same_from_any_position():
    made = stream(direction(21), direction(9, mark=1))
    whole = list(islice(made.batches(), 25))
    assert whole[-1][0].epoch >= 1
    for start in range(24):
        place = whole[start][0]
        fresh = stream(direction(21), direction(9, mark=1))
        for (a, x), (b, y) in zip(
            whole[start + 1 :], fresh.batches(Position(*place)), strict=False
        ):
            assert a == b
            assert all((i == j).all() for i, j in zip(x, y, strict=True))


def tokenised(pairs, shape=None, **options):
    return tokenise(Pairs(pairs), tiny_tokenizer(), shape or config(), Filter(16, **options))


def test_pairs_as_tokens_without_those_that_are_left_out():
    shape = config("token", "target")
    english, german = (
        ["A dog.", "", "A dog " * 30, "A cat."],
        ["Ein Hund.", "x", "Ein Hund.", "Eine Katze."],
    )
    [made] = tokenised({EN_DE: (english, german)}, shape)
    tokenizer = tiny_tokenizer()
    assert [list(ids) for ids in made.sources] == tokenizer.encode_sources(
        ["A dog.", "A cat."], "eng_Latn"
    )
    assert [list(ids) for ids in made.targets] == tokenizer.encode_targets(
        ["Ein Hund.", "Eine Katze."], "deu_Latn"
    )
    assert made.task_ids == (0, shape.decoder.router.keys.index("deu_Latn"))
    assert made.counts.table() == {"kept": 2, "empty": 1, "long": 1}


def test_directions_of_the_same_text_share_its_tokens_in_two_bytes_each():
    english, german = ["A dog.", "A cat."], ["Ein Hund.", "Eine Katze."]
    there, back = tokenised({EN_DE: (english, german), DE_EN: (german, english)})
    assert there.sources.ids is back.targets.ids
    assert there.sources.ids.dtype == np.uint16


def test_batches_of_token_arrays_are_those_of_lists():
    pairs = Pairs({EN_DE: (captions()[:50], captions("deu_Latn")[:50])})
    made = tokenise(pairs, tiny_tokenizer(), config(), Filter(64))
    lists = [
        Direction(d.task, [list(x) for x in d.sources], [list(x) for x in d.targets], d.task_ids)
        for d in made
    ]
    both = [stream(*directions, buckets=(32, 64), tokens=64) for directions in (made, lists)]
    for a, b in zip(epoch(both[0]), epoch(both[1]), strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


def test_a_direction_without_a_usable_pair_is_named_with_the_reasons():
    with pytest.raises(
        WorkbenchError,
        match=r"No usable .* deu_Latn-eng_Latn among 2 lines; left out: 1 empty, 1 long",
    ):
        tokenised({DE_EN: (["", "ein Hund " * 20], ["A dog.", "A dog."])})
