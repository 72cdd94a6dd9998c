"""Served prompts: what an earlier one began with is not read again, whoever writes beside it; memory is bounded."""

import pytest

from models.continuous import Continuous, Request
from models.remembered import Remembered
from models.sampling import GREEDY
from models.windows import Windows
from tests.models.test_generation import naive, tiny, tiny_ngram, tiny_transformer
from tests.models.test_windows import SYSTEM, Reading, long


def texts(batch: Continuous, wanted: list[Request]) -> list[list[int]]:
    """All join at once; the ids of each."""
    found: dict[Request, list[int]] = {request: [] for request in wanted}
    for request in wanted:
        batch.join(request)
    while batch.rows:
        for written in batch.step():
            found[written.request].append(written.id)
    return list(found.values())


@pytest.mark.parametrize("make", [tiny, tiny_ngram, tiny_transformer])
def test_a_prompt_that_begins_like_one_before_reads_the_rest(make, monkeypatch):
    model = long(make)
    batch, reading = Continuous(model), Reading(model, monkeypatch)
    talk = [*SYSTEM, 1, 2]
    asked = [Request(talk, 6, sampling=GREEDY), Request([*talk, 7, 7, 4], 6, sampling=GREEDY)]
    assert texts(batch, asked) == [naive(model, request.prompt, 6) for request in asked]
    before = reading.tokens
    again = Request([*talk, 7, 7, 4, 3], 1, sampling=GREEDY)
    assert texts(batch, [again]) == [naive(model, again.prompt, 1)]
    assert reading.tokens - before == 1 + len(again.prompt)  # naive's reading is counted too


def test_prompts_that_share_little_are_read_whole(monkeypatch):
    model = long(tiny)
    batch, reading = Continuous(model), Reading(model, monkeypatch)
    for prompt in (SYSTEM, [*SYSTEM[:8], *SYSTEM[:8]]):
        batch.join(Request(list(prompt), 1, sampling=GREEDY))
    assert reading.tokens == 18 + 16


def test_only_so_many_bytes_are_kept_and_nothing_twice():
    model = long(tiny)

    def read(prompt):
        made = Windows(model, [prompt], use_cache=True)
        made.prefill(1, 1)
        return made

    size = read(SYSTEM).row(0).cache.nbytes
    assert size == 2 * 2 * 18 * 8 * 4  # keys and values of 2 layers, 18 tokens, 8 channels, fp32
    kept = Remembered(most_bytes=2 * size)
    for first in (1, 2, 3):
        kept.add(read([first, *SYSTEM[1:]]))
    assert [made.ids[0][0] for made in kept.windows] == [2, 3]
    kept.add(read([3, *SYSTEM[1:]]))
    assert len(kept.windows) == 2
    kept.add(read([9] * 5))  # too short to be of use
    assert len(kept.windows) == 2
    assert kept.like([3, *SYSTEM[1:], 5]).ids == [[3, *SYSTEM[1:]]]
    assert kept.like([4, *SYSTEM[1:]]) is None
