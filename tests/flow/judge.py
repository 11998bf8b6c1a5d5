"""What must be true of a life at any time, whatever happened in it. The provider's ledger is the judge."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from batcher.assets import mp4
from batcher.events import EventKind
from batcher.state.queries import Queries
from batcher.tasks import IN_FLIGHT, Status

from .harness import PRICE_USD
from .life import KEYS, Life, author_of, clip_of

if TYPE_CHECKING:
    from batcher.tasks import Asset, Task

    from .harness import Ran
    from .life import Ahead

KNOWN = (Status.SUBMITTED, Status.PROCESSING, Status.SUCCEEDED, Status.DOWNLOADED)
"""Statuses that claim a generation."""

MODERATION = "risk control"


def judge(life: Life) -> None:
    """Everything that no command may break, however it ended."""
    paid_as_agreed(life)
    rows_are_true(life)
    files_are_whole(life)
    no_secret_is_told(life)


# ---- money ------------------------------------------------------------------------------------------------------


def paid_as_agreed(life: Life) -> None:
    """No id is charged twice; each further purchase of a video has a consent, and comes after the last one failed."""
    twice = {name: times for name, times in life.books.charges.items() if times > 1}
    assert not twice, f"charged more than once: {twice}"
    bought: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for create in sorted(life.books.creates, key=lambda create: create["at"]):
        if create["charged"]:
            content = life.content_of(create["external_task_id"])
            assert content, f"an id that nobody made: {create}"
            bought[content].append(create)
    for content, creates in bought.items():
        _each_had_a_consent(life, content, creates)


def _each_had_a_consent(life: Life, content: str, creates: list[dict[str, Any]]) -> None:
    consent = life.consent(content)
    retries, again = consent.retries, consent.again
    for number, create in enumerate(creates[1:], 2):
        before = [life.world.generation(earlier["task_id"]) for earlier in creates[: number - 1]]
        are_over = all(g.failure and not g.is_live(create["at"]) for g in before)
        if not are_over:
            again -= 1
        elif MODERATION in before[-1].failure or number > consent.attempts:
            retries -= 1
    # a person who asked to pay again, and saw the last one fail meanwhile, has agreed as well
    assert again + min(retries, 0) >= 0, f"bought {len(creates)} times on {consent}: {creates}"


def money(life: Life, job: str, edition: str) -> float:
    """What this job's edition has cost and may yet have cost, in US dollars."""
    charged = life.books.charges
    mine = {c for c, of in life.jobs.items() if of == (job, edition)}
    paid = sum(times for name, times in charged.items() if life._contents.get(name) in mine)
    reserved = sum(
        task.status in (Status.UNCLEAR, Status.SUBMITTING) and not charged[task.external_task_id]
        for task in life.rows()
        if (task.job, task.edition) == (job, edition)
    )
    return (paid + reserved) * PRICE_USD


# ---- the state --------------------------------------------------------------------------------------------------


def rows_are_true(life: Life) -> None:
    """Each row agrees with the ledger as far as it claims anything."""
    charges, generations = life.books.charges, life.generations()
    for task in life.rows():
        name, generation = task.external_task_id, generations.get(task.generation_id or "")
        about = f"{task.name} is {task.status} as {name}"
        if task.status in KNOWN:
            if task.generation_id is None:
                assert charges[name], f"{about}, and was never bought"
            else:
                assert generation, f"{about}, and there is no generation {task.generation_id}"
                assert generation["external_task_id"] == name, f"{about}, and has another's {generation}"
        is_stale = life.root_of(task.content_hash) in life.stale
        if task.status is Status.PENDING and not is_stale:
            assert not charges[name], f"{about}, and was bought"
        if task.status is Status.FAILED and generation is None and not is_stale:
            assert not charges[name], f"{about}, unbought, and was bought"
        if task.status is Status.FAILED and generation is not None:
            assert generation["status"] == "failed", f"{about}, and at the provider it is {generation['status']}"
        if task.status is Status.FAILED and task.generation_id is not None:
            assert generation is not None, f"{about}, and there is no generation {task.generation_id}"


# ---- files ------------------------------------------------------------------------------------------------------


def videos(life: Life) -> list[tuple[Task, Asset]]:
    if not life.state.exists():
        return []
    from batcher.state.selection import Selection  # noqa: PLC0415

    state = Queries.open(life.state)
    try:
        return state.videos(Selection(orphaned=True))
    finally:
        state.close()


def files_are_whole(life: Life) -> None:
    """A clip under its final name is one of the provider's, whole; what a person made of one stays theirs."""
    generations = life.generations()
    for path in life.clips():
        relative = str(path.relative_to(life.out))
        if relative in life.touched:
            continue
        clip = path.read_bytes()
        assert clip == clip_of(author_of(clip)), f"{relative} is not whole"
        assert author_of(clip) in generations
    for relative, made in life.touched.items():
        if made is not None:
            assert (life.out / relative).read_bytes() == made, f"{relative} was edited by hand, and is overwritten"
    for task, video in videos(life):
        path = life.out / video.path
        if video.path in life.touched or not path.exists():
            continue
        clip = path.read_bytes()
        assert sha256(clip).hexdigest() == video.sha256, f"{video.path} is not what the state says"
        author = generations[author_of(clip)]["external_task_id"]
        assert life.content_of(author) == life.root_of(task.content_hash), f"{video.path} shows another task's clip"


# ---- secrets ----------------------------------------------------------------------------------------------------


def no_secret_is_told(life: Life) -> None:
    """No key in any file or word; a signed URL in the state alone, and there only until its clip is home."""
    told = "\n".join(life.told)
    life.told.clear()
    for key in KEYS:
        assert key not in told, "a key was told"
    assert "Signature=" not in told, "a signed URL was told"
    for path in life.folder.rglob("*"):
        if path.is_file() and path.suffix != ".mp4":
            content = path.read_bytes()
            for key in KEYS:
                assert key.encode() not in content, f"a key is in {path}"
            assert b"Signature=" not in content or path.parent == life.folder, f"a signed URL is in {path}"
    if life.state.exists():
        with closing(sqlite3.connect(f"{life.state.as_uri()}?mode=ro", uri=True)) as state:
            signed = state.execute(
                "SELECT external_task_id, status FROM attempts WHERE asset_url LIKE '%Signature=%'"
                " AND status <> 'succeeded'"
            ).fetchall()
        assert not signed, f"a signed URL outlives its clip: {signed}"


# ---- the end of a command ---------------------------------------------------------------------------------------


def ended(life: Life, ran: Ran | None) -> None:
    """What a command that was not killed leaves behind."""
    if ran is None or ran.summary is None:
        return
    for event in ran.events:
        assert "defect" not in str(event.detail.get("message", "")), event.detail["message"]
    open_rows = [t for t in life.rows() if t.status in (*IN_FLIGHT, Status.SUCCEEDED, Status.UNCLEAR)]
    left = list(life.out.rglob("*.part"))
    # a lost state does not know under which name the clip was to come, and other states may use the folder
    assert open_rows or life.was_forgotten or not left, f"left behind, and nothing is under way: {left}"
    for event in ran.of(EventKind.ADOPTED):
        if event.detail.get("how") == "on disk":
            for task, video in videos(life):
                if task.id == event.task.id:
                    life.touched.pop(video.path, None)
    files_are_whole(life)
    if ran.exit_code == 0:
        paid = [task.name for task in open_rows if ran.summary.job in ("", task.job)]
        assert not paid, f"exit 0, and these are not home: {paid}"


def run_ended(life: Life, ran: Ran | None, prepared: Ahead, chosen: set[str], *, limited: bool) -> None:
    """After `run`: exit 0 says that all that it was asked for is home."""
    if ran is None or ran.summary is None:
        return
    here = {life.root_of(content) for content in (*prepared.hashes, *prepared.known)}
    if life.receipts_are_whole:
        life.stale -= here
    if ran.exit_code != 0:
        return
    rows = {life.root_of(task.content_hash): task for task in life.rows()}
    paths = {task.id: video for task, video in videos(life)}
    fine = {Status.DOWNLOADED, Status.CANCELLED} | ({Status.PENDING} if limited else set())
    for content in here:
        task = rows.get(content)
        assert task, f"exit 0, and a wanted task is not even planned: {content}"
        if task.orphaned or task.name not in chosen:
            continue
        assert task.status in fine, f"exit 0, and {task.name} is {task.status}"
        if task.status is Status.DOWNLOADED:
            video = paths[task.id]
            path = life.out / video.path
            assert path.is_file(), f"exit 0, and {video.path} is not there"
            assert path.stat().st_size == video.size_bytes, f"exit 0, and {video.path} is of another size"
            mp4.check(path)
            if life.touched.get(video.path) is None:
                life.touched.pop(video.path, None)
