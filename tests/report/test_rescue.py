"""`verify` and `recover` in words: every name from outside is escaped, every doubt has its command."""

from __future__ import annotations

import shlex
from dataclasses import replace

from batcher.report.recover import recover_text
from batcher.report.verify import verify_text
from batcher.report.views import FileTrouble, RecoverView, StrayGeneration, VerifyView
from batcher.text import printable

from .samples import HOSTILE

STRAY = StrayGeneration(generation_id="867", status="succeed", created_at="2026-11-22T13:00:00Z")


def view(**changes):
    known = {"job": "autumn", "provider": "cometapi", "simulated": False, "edition": "", "listed": 3, "known": 0}
    return RecoverView(**(known | changes))


def test_nothing_from_outside_steers_the_terminal():
    stray = StrayGeneration(generation_id=HOSTILE, status=HOSTILE, external_task_id=HOSTILE)
    texts = [
        recover_text(
            view(
                job=HOSTILE,
                notes=(HOSTILE,),
                unclear=(HOSTILE,),
                reason=HOSTILE,
                strays=(stray,),
                editions=(HOSTILE,),
            )
        ),
        verify_text(
            VerifyView(
                files=1,
                whole=0,
                troubles=(FileTrouble(name=HOSTILE, what="video", ailment="missing", path=HOSTILE),),
                next=(HOSTILE,),
            )
        ),
    ]
    for text in texts:
        assert all(line == printable(line) for line in text.split("\n"))


def test_each_stray_has_its_command():
    """By name where one task alone is unclear; else the person says which."""
    one = recover_text(view(unclear=("fox",), strays=(STRAY,), reason="no id tells"))
    assert "batcher resolve fox --adopt 867" in one
    assert "batcher resolve TASK --adopt 867" in recover_text(view(unclear=("fox", "owl"), strays=(STRAY,)))


def test_strays_that_hold_nothing_up_have_none():
    assert "--adopt" not in recover_text(view(strays=(STRAY,)))


def test_a_provider_without_a_list_is_said():
    assert "it has no list" in recover_text(view(listed=None))


def test_many_unclear_are_counted():
    text = recover_text(view(unclear=tuple(f"fox-{n}" for n in range(100)), reason="no list"))
    assert "100 unclear" in text
    assert "and 60 more" in text


def test_all_whole_is_one_line():
    assert verify_text(VerifyView(files=24, whole=24)) == "24 files: 24 whole"


def test_a_strays_command_is_one_word_an_argument():
    """A provider's id may hold what a shell would run: pasted, it is an id."""
    text = recover_text(view(unclear=("fox",), reason="lost", strays=(replace(STRAY, generation_id="8; $(true)"),)))
    [line] = [line for line in text.splitlines() if "resolve fox" in line and "--adopt" in line]
    assert shlex.split(line) == ["batcher", "resolve", "fox", "--adopt", "8; $(true)"]
