"""One list call for all that wait: what it saves, what it may be believed, and what becomes of it in bad weather."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest

from batcher.events import EventKind
from batcher.generations import GenerationStatus, Listing, Refusal, RefusalKind

pytestmark = pytest.mark.anyio


def counted(lab, **methods):
    """Count the calls that reach the provider; `methods` answer some of them in its place."""
    calls = Counter()

    async def find(api, generation_id):
        calls["find"] += 1
        return await methods.get("find", type(api).find)(api, generation_id)

    async def list_(api, **asked):
        calls["list"] += 1
        return await methods.get("list", type(api).list)(api, **asked)

    lab.meddle(find=find, list=list_)
    return calls


async def test_with_a_list_nearly_no_task_is_looked_at_alone(make_lab):
    """And fewer than four calls a task are made in all, where twenty run at once."""
    lab = make_lab(limit=20)
    calls = counted(lab)
    assert (await lab.run(lab.manifest(80), concurrency=20)).exit_code == 0
    lab.assert_all_home(80)
    assert lab.account().has_list is True
    assert calls["find"] < 20
    assert calls["list"] < 4 * 80


async def test_one_or_two_are_looked_at_without_a_list(make_lab):
    lab = make_lab()
    calls = counted(lab)
    assert (await lab.run(lab.manifest(4), concurrency=2)).exit_code == 0
    lab.assert_all_home(4)
    assert calls["list"] == 0


async def test_that_there_is_no_list_is_found_out_once(make_lab):
    """ "No such path" is remembered, and single looks do the work."""
    lab = make_lab(lists=False)
    calls = counted(lab)
    assert (await lab.run(lab.manifest(8), concurrency=4)).exit_code == 0
    assert lab.account().has_list is False
    assert calls["list"] == 1
    assert (await lab.run(lab.manifest(8, job="more"), concurrency=4)).exit_code == 0
    assert calls["list"] == 1
    lab.assert_all_home(16)


async def test_a_list_that_lacks_some_of_ours_leaves_these_to_looks_of_their_own(make_lab):
    """Whatever the order and the length of its pages are."""
    lab = make_lab(limit=8)

    async def half(api, **asked):
        listing = await api.list(**asked)
        return replace(listing, generations=tuple(g for g in listing.generations if int(g.id) % 2))

    calls = counted(lab, list=half)
    assert (await lab.run(lab.manifest(24), concurrency=8)).exit_code == 0
    lab.assert_all_home(24)
    assert calls["find"] > 24


async def test_a_list_that_shows_none_of_ours_is_left_alone(make_lab):
    """Another account's, or the oldest first: it is asked for rarely, and costs no clip."""
    lab = make_lab()

    async def strangers(api, **asked):
        return Listing(supported=True, shown=asked["size"])

    calls = counted(lab, list=strangers)
    assert (await lab.run(lab.manifest(12), concurrency=4)).exit_code == 0
    lab.assert_all_home(12)
    assert calls["list"] < 20


async def test_a_list_that_shows_no_end_is_seen_through(make_lab):
    """It says "processing" of what a look finds finished: the run waits for looks instead."""
    lab = make_lab()

    async def old(api, **asked):
        listing = await api.list(**asked)
        frozen = (replace(g, status=GenerationStatus.PROCESSING, videos=()) for g in listing.generations)
        return replace(listing, generations=tuple(frozen))

    counted(lab, list=old)
    assert (await lab.run(lab.manifest(12), concurrency=4)).exit_code == 0
    lab.assert_all_home(12)
    assert lab.clock.monotonic() < 1800


async def test_what_a_list_shows_under_another_id_of_ours_is_no_word_about_it(make_lab):
    """The provider's number of our task, over somebody else's: their clip is not ours."""
    lab = make_lab()

    async def theirs(api, **asked):
        listing = await api.list(**asked)
        ended = (
            replace(g, status=GenerationStatus.FAILED, external_task_id="somebody-else-a1")
            for g in listing.generations
        )
        return replace(listing, generations=tuple(ended))

    counted(lab, list=theirs)
    assert (await lab.run(lab.manifest(8), concurrency=4)).exit_code == 0
    lab.assert_all_home(8)


async def test_a_failure_or_a_file_that_the_list_does_not_tell_whole_is_looked_at(make_lab):
    """Why one failed decides whether it may be bought again."""
    lab = make_lab(script=("ok", "risk-control"))

    async def bare(api, **asked):
        listing = await api.list(**asked)
        return replace(listing, generations=tuple(replace(g, message="", videos=()) for g in listing.generations))

    calls = counted(lab, list=bare)
    ran = await lab.run(lab.manifest(8), concurrency=4)
    assert ran.exit_code == 1
    assert [event.detail["code"] for event in ran.of(EventKind.FAILED)] == ["moderation"]
    assert lab.counts() == {"downloaded": 7, "failed": 1}
    assert 8 <= calls["find"] < 30


@pytest.mark.parametrize("retry_after_s", [None, 200.0])
async def test_trouble_with_the_list_is_told_once_and_waited_out(make_lab, retry_after_s):
    """Retry-After is obeyed by all looks; after three in a row without an answer, looks are single for a while."""
    lab = make_lab()
    asked_at, looked_at = [], []

    async def busy(api, **asked):
        asked_at.append(lab.clock.monotonic())
        refusal = Refusal(
            kind=RefusalKind.BUSY, code="1302", message="", http_status=429, retry_after_s=retry_after_s
        )
        return Listing(supported=None, refusal=refusal, detail="HTTP 429, code 1302")

    async def find(api, generation_id):
        looked_at.append(lab.clock.monotonic())
        return await api.find(generation_id)

    counted(lab, list=busy, find=find)
    ran = await lab.run(lab.manifest(12), concurrency=4)
    assert ran.exit_code == 0
    lab.assert_all_home(12)
    told = [event for event in ran.of(EventKind.WARNING) if "list of generations" in event.detail["message"]]
    assert 1 <= len(told) <= 3
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert min(pauses) > (retry_after_s or 0.5) - 1e-6
    assert len(asked_at) < 12
    if retry_after_s:
        for at in asked_at:
            assert not any(at < look < at + retry_after_s - 1e-6 for look in looked_at)


async def test_an_outage_while_the_list_is_asked_for(make_lab):
    lab = make_lab()

    async def outage():
        await anyio.sleep(60)
        lab.network.down = True
        await anyio.sleep(600)
        lab.network.down = False

    async with anyio.create_task_group() as group:
        group.start_soon(outage)
        ran = await lab.run(lab.manifest(12), concurrency=4)
    assert ran.exit_code == 0
    lab.assert_all_home(12)


async def test_a_list_of_thousands_is_read_page_by_page_up_to_a_bound(make_lab):
    """Others use the account, too: what four pages do not show is looked at alone."""
    lab = make_lab()
    pages = Counter()

    async def crowded(api, *, page, size, wanted=None):
        pages[page] += 1
        if page < 6:
            return Listing(supported=True, shown=size)
        return await api.list(page=page - 5, size=size, wanted=wanted)

    counted(lab, list=crowded)
    assert (await lab.run(lab.manifest(8), concurrency=4)).exit_code == 0
    lab.assert_all_home(8)
    assert max(pages) == 4


async def test_a_defect_in_the_list_calls_costs_nobody_a_clip(make_lab):
    """It is told once, and single looks do the work."""
    lab = make_lab()

    async def broken(api, **asked):
        raise ZeroDivisionError

    counted(lab, list=broken)
    ran = await lab.run(lab.manifest(8), concurrency=4)
    assert ran.exit_code == 0
    lab.assert_all_home(8)
    told = [event.detail["message"] for event in ran.of(EventKind.WARNING) if "a defect" in event.detail["message"]]
    assert told == ["a defect of batcher ended the list calls (ZeroDivisionError); looking singly"]
