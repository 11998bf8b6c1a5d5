"""Everything a provider or a CDN could do to the real command, and then a second run once it behaves."""

from __future__ import annotations

import random
from itertools import chain, repeat

import pytest
from hostile import BREAKS, CLIPS, INTERNAL, LOOKS

pytestmark = pytest.mark.timeout(120)

MOST_MB = 300
"""A run at rest has 60 to 90; the largest honest answer, 4 MB of JSON, takes 120 to read."""


@pytest.mark.parametrize("fate", ["taken", "lost"])
def test_every_lie_about_a_create_call(siege, fate):
    """Charged or not, whatever the answer was: each task ends with one charge and its clip."""
    besieged = siege(len(BREAKS) + 1)
    besieged.enemy.lies_once = True
    besieged.enemy.faults = {"create": iter(("honest", *(f"{fate} {lie}" for lie in BREAKS)))}
    ended = besieged.run("-v", "-j", "50")
    assert ended.code == 0, ended.err
    assert besieged.enemy.books.met.total() == len(BREAKS)
    assert not besieged.enemy.books.connections["elsewhere"]
    assert ended.peak_mb < MOST_MB
    besieged.assert_safe(ended)
    besieged.assert_all_home()


def test_every_lie_about_a_look(siege):
    """No look, however it ends, fails a task, buys one, or brings somebody else's clip."""
    lies = (*BREAKS, *LOOKS)
    besieged = siege(len(lies))
    besieged.enemy.faults = {"look": iter((*repeat("honest", 4), *lies))}
    ended = besieged.run("-v", "-j", "50")
    assert ended.code == 0, ended.err
    assert besieged.enemy.books.met.total() == len(lies)
    assert not besieged.enemy.books.connections["elsewhere"]
    assert ended.peak_mb < MOST_MB
    besieged.assert_safe(ended)
    besieged.assert_all_home()


def test_every_lie_about_a_download(siege):
    """What is no whole clip gets no name; what could be tried again was, and the rest comes with the next run."""
    lies = (*BREAKS, *CLIPS)
    besieged = siege(len(lies))
    besieged.enemy.faults = {"clip": iter(lies)}
    ended = besieged.run("-v", "-j", "50")
    assert ended.code == 75, ended.err
    assert besieged.enemy.books.met.total() == len(lies)
    assert ended.peak_mb < MOST_MB
    besieged.assert_safe(ended)
    besieged.assert_only_ours_lies_there()
    refused = besieged.statuses()["succeeded"]
    assert refused == sum("inside" in lie or "gigabyte" in lie for lie in lies)
    besieged.enemy.calm()
    assert besieged.run().code == 0
    besieged.assert_all_home()


def test_words_that_are_meant_for_a_terminal_or_a_page(siege):
    """A reason full of escape codes, turned text, script and signatures: told in every place, and steers none."""
    besieged = siege(2)
    besieged.enemy.faults = {"look": iter(("honest", "honest", "failed"))}
    ended = besieged.run("-v")
    assert ended.code == 1, ended.err
    ((name,),) = besieged.rows("SELECT name FROM tasks WHERE status = 'failed'")
    told = [besieged.command(*words) for words in (("status", "--failed"), ("show", name), ("status", "--json"))]
    besieged.assert_safe(ended, *told)
    for each in (ended, *told[:2]):
        assert "\\x1b]0;owned" in each.err + each.out


def test_addresses_that_are_not_the_providers(siege):
    """Metadata service and private networks, in every spelling: refused, and the clip waits for a good one."""
    besieged = siege(len(INTERNAL))
    enemy = besieged.enemy
    enemy.url_of = lambda made: INTERNAL[enemy.books.made.index(made)]
    ended = besieged.run("-v", "-j", "50")
    assert ended.code == 75, ended.err
    assert not enemy.books.connections["cdn"]
    besieged.assert_safe(ended)
    enemy.url_of = enemy.signed
    assert besieged.run().code == 0
    besieged.assert_all_home()


def test_bodies_without_end(siege):
    """An answer stops at 4 MB and a clip at 500 MB, none of it held in memory; each is paid once and comes home."""
    besieged = siege(3)
    besieged.enemy.faults = {
        "create": iter(("honest", "taken endless body")),
        "look": iter(("honest", "honest", "honest", "endless body")),
        "clip": iter(("endless body",)),
    }
    ended = besieged.run("-v", "-j", "50")
    assert ended.code == 75, ended.err
    assert "larger than 500,000,000 bytes" in ended.err
    assert ended.peak_mb < MOST_MB
    besieged.assert_safe(ended)
    besieged.assert_only_ours_lies_there()
    besieged.enemy.calm()
    assert besieged.run().code == 0
    besieged.assert_all_home()


def test_a_captive_portal_for_everything(siege):
    """It charges, answers every question with its own page, and gives no clip: unclear, not bought again, exit 1."""
    besieged = siege(1)
    besieged.enemy.faults = {"create": repeat("taken portal"), "look": repeat("portal"), "list": repeat("portal")}
    ended = besieged.run("-v", within_s=60)
    assert ended.code == 1, ended.err
    assert besieged.statuses() == {"unclear": 1}
    assert "an answer that is not JSON (text/html)" in ended.err
    besieged.assert_safe(ended)
    besieged.enemy.calm()
    assert besieged.run().code == 0
    besieged.assert_all_home()


def test_a_storm_from_all_sides(siege, seed):
    """A third of everything goes wrong, at random; then all is calm. What was charged is home, once."""
    besieged = siege(20)
    rng = random.Random(7000 + seed)

    def some(lies: tuple[str, ...], chance: float, *before: str):
        while True:
            words = ([rng.choice(before)] if before else []) + [rng.choice(lies)]
            yield " ".join(words) if rng.random() < chance else "honest"

    besieged.enemy.faults = {
        "create": chain(["honest"], some(BREAKS, 0.35, "taken", "lost")),
        "look": chain(["honest"] * 3, some((*BREAKS, *LOOKS), 0.2)),
        "list": some(BREAKS, 0.3),
        "clip": some((*BREAKS, *CLIPS), 0.3),
    }
    ended = besieged.run("-v", "-j", "20", "--deadline", "20s", within_s=60)
    besieged.assert_safe(ended)
    besieged.assert_only_ours_lies_there()
    assert ended.peak_mb < MOST_MB
    besieged.enemy.calm()
    again = besieged.run(within_s=60)
    besieged.assert_safe(again)
    charged, state = besieged.enemy.books.charges, besieged.status_of()
    assert {state[external_id] for external_id in charged} == {"downloaded"}
    # Unpaid ones are unclear where nothing was proved, failed where three calls were proved to do nothing.
    unpaid = {status for external_id, status in state.items() if external_id not in charged}
    assert unpaid <= {"unclear", "failed"}
    assert again.code == bool(unpaid)
