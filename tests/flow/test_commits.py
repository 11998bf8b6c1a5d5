"""A commit that serves many walks and fails: the run never goes on as if it had not."""

from __future__ import annotations

import pytest
from choked import choked

from batcher.events import EventKind
from batcher.state.commits import Commits
from batcher.state.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def fail_commits(monkeypatch):
    """Let so many commits fail that hold a change of this kind, as a full disk makes them fail."""
    real = Commits._run

    def fail(method, *, times):
        left, holds, change = iter(range(times)), False, getattr(Store, method)

        def noting(self, *args, **options):
            nonlocal holds
            holds = True
            return change(self, *args, **options)

        def run(self, statement):
            nonlocal holds
            if statement == "COMMIT" and holds:
                holds = False
                if next(left, None) is not None:
                    with choked():
                        real(self, statement)
                    return
            real(self, statement)

        monkeypatch.setattr(Store, method, noting)
        monkeypatch.setattr(Commits, "_run", run)

    return fail


async def test_claims_that_did_not_reach_the_disk_send_nothing(make_lab, fail_commits):
    lab = make_lab()
    manifest = lab.manifest(4)
    fail_commits("claim", times=1)
    ran = await lab.run(manifest)
    assert ran.exit_code == 78
    assert not ran.of(EventKind.SUBMIT)
    assert lab.ledger.totals["creates"] == 0
    assert lab.counts() == {"pending": 4}
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)


async def test_acceptances_that_share_a_commit_are_each_written_again(make_lab, fail_commits):
    """A moment without space costs nobody's id."""
    lab = make_lab()
    assert (await lab.run(lab.manifest(1, job="before"))).exit_code == 0  # no canary
    manifest = lab.manifest(4)
    fail_commits("accepted", times=2)
    ran = await lab.run(manifest)
    assert ran.exit_code == 0
    tried_again = [e for e in ran.of(EventKind.WARNING) if "trying again to record it" in e.detail["message"]]
    assert {event.task.name for event in tried_again} == {f"s{n:02}-t1" for n in range(1, 5)}
    assert len(ran.of(EventKind.SUBMITTED)) == 4
    assert set(lab.ledger.charges.values()) == {1}
    assert lab.counts() == {"downloaded": 5}


@pytest.mark.parametrize("method", ["accepted", "processing", "succeeded", "downloaded"])
async def test_a_disk_that_stays_full_ends_the_run_and_costs_nothing(make_lab, fail_commits, monkeypatch, method):
    """Exit 78; nothing is told that is not on the disk; with space again, all comes home, paid once."""
    lab = make_lab()
    manifest = lab.manifest(4)
    with monkeypatch.context():
        fail_commits(method, times=10**6)
        ran = await lab.run(manifest)
        monkeypatch.undo()
    assert ran.exit_code == 78
    told = {"accepted": "submitted", "downloaded": "done"}.get(method, method)
    assert not ran.of(EventKind(told))
    if method == "accepted":
        accepted = next(iter(lab.world._accounts.values())).generations
        assert any(f"generation {generation_id} " in ran.summary.reason for generation_id in accepted)
    assert (await lab.run(manifest)).exit_code == 0
    lab.assert_all_home(4)
