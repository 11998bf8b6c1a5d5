"""Providers and gateways in all their moods, the course of a job among them, and the judge of what is left."""

from __future__ import annotations

import importlib
import json
import random
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from flow.harness import PRICE_USD
from mortal import Census, Mortal, Tracer

from batcher.simulator.clips import sample
from batcher.state.queries import Queries
from batcher.tasks import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flow.harness import Ran
    from mortal import Life

    from batcher.tasks import Task

retrying = importlib.import_module("batcher.cli.retry")  # the package's attribute of that name is the command

CENT = 0.01
HONEST, REFUSED = "the sea at noon", "simulate refusal"

PROVIDERS: dict[str, dict[str, Any]] = {
    "takes it": {},
    "takes it, then resets": {"script": ("ok", "reset-after")},
    "takes it, then says 500": {"script": ("ok", "5000-created")},
    "takes it, then sends a page": {"script": ("ok", "html-200-created")},
    "takes it, then sends garbage": {"script": ("ok", "half-reply")},
    "takes it, and names no id": {"script": ("ok", "no-id-created")},
    "takes the first, then resets": {"script": ("reset-after",)},
    "takes it late": {"script": ("ok", "zombie"), "late_s": 100.0},
    "does not take it, and says 502": {"script": ("ok", "html-502")},
    "is busy": {"script": ("ok", "1303")},
    "refuses the words": {"bad": REFUSED},
    "refuses a value": {"bad": "a prompt that is too long for this provider", "prompt_limit": 32},
    "has it already": {"bought_before": True},
}
"""By what they do to the second create call, or the first."""

FAILS_ONCE = {"fails once": {"script": ("ok", "fails")}}
"""Takes it, is paid for it, and does not make it: only a person's `retry` buys it again."""

SIGHTS: dict[str, dict[str, Any]] = {
    "finds": {},
    "finds late": {"visible_after_s": 5.0},
    "is blind": {"shape": "taskdto"},
    "fails to look": {"looks_fail": True, "lists": False},
}
"""What a look by an id of ours brings."""

USED_IDS = ("refuse", "reword", "return", "create")
"""What a used id meets; `create` would sell it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One provider behind one gateway, and a job of a few clips."""

    provider: str
    sight: str = "finds"
    used_ids: str = "create"
    clips: int = 2
    affords: float = 2.0
    """The budget, in clips: by default not a cent more than is needed."""

    @property
    def name(self) -> str:
        return f"{self.provider} | {self.sight} | {self.used_ids}"

    @property
    def mood(self) -> dict[str, Any]:
        return {**PROVIDERS, **FAILS_ONCE}[self.provider]

    @property
    def prompts(self) -> list[str]:
        prompts = [f"{HONEST}, {n}" for n in range(1, self.clips + 1)]
        if "bad" in self.mood:
            prompts[1] = self.mood["bad"]
        return prompts

    @property
    def may_be_unclear(self) -> bool:
        """Only a gateway that cannot look leaves anything to a person."""
        return self.sight in ("is blind", "fails to look")

    def lab(self, home: Path, rng: random.Random, **more: Any) -> Mortal:
        home.mkdir()
        own = {name: value for name, value in self.mood.items() if name not in ("bad", "bought_before")}
        lab = Mortal(home, rng=rng, **{**own, **SIGHTS[self.sight], "used_ids": self.used_ids, **more})
        lab.notes.append(self.name)
        lab.budget_usd = self.affords * PRICE_USD
        lab.manifest(self.prompts, budget={"max_usd": lab.budget_usd, "max_usd_per_day": lab.budget_usd})
        if self.mood.get("bought_before"):
            assert lab.live(run).exit_code == 0
            shutil.rmtree(lab.folder)  # state, clips, receipts: nothing here knows of it
            lab.folder.mkdir()
            lab.lives.clear()
            lab.is_forgotten = True
        return lab


SCENES = [
    Scene(provider=provider, sight=sight, used_ids=used_ids)
    for provider, sight, used_ids in product(PROVIDERS, SIGHTS, USED_IDS)
    # Nobody can know what is bought where all memory is gone and used ids are sold again (README, limits).
    if (provider, used_ids) != ("has it already", "create")
]


async def run(lab: Mortal) -> Ran:
    """`batcher run`, the same command each time."""
    return await lab.run(lab.home / "film.yaml")


async def retry(lab: Mortal) -> Ran:
    """`batcher retry --failed`; where it finds nothing to retry, `batcher run`."""
    state = Queries.open(lab.state)
    try:
        found = retrying._find(state, None, None, ())
    finally:
        state.close()
    tasks = [task for task in found if retrying._is_chosen(task, None, pay_again=False)]
    return await (lab.retry(tasks) if tasks else run(lab))


def deaths(
    make: Callable[[str], Mortal],
    work: Any,
    *,
    every: int = 1,
    sample: int = 0,
    seed: int = 0,
    prefixes: tuple[str, ...] = (),
    born: Any = None,
    until: str = "",
) -> Iterator[Mortal]:
    """Labs in which `work` has just died: at a random statement of each `every`-th spell, and at `sample` others.

    Before a file of the name `until` changes, no spell is left out.
    """
    rng, born = random.Random(seed), born or live
    census = born(make("census"), work, tracer=lambda lab: Census(lab.footprint, prefixes=prefixes))
    early = next((n for n, spell in enumerate(census.spells) if n and until in spell.after), 0) if until else 0
    chosen = census.spells[:early] + census.spells[early + seed % every :: every]
    moments = {spell.first + rng.randrange(spell.length) for spell in chosen}
    moments |= {rng.randrange(census.statements) + 1 for _ in range(sample)}
    for moment in sorted(moments):
        lab = make(str(moment))
        tracer = (lambda lab, at=moment: Tracer(at, lab.die, prefixes=prefixes)) if prefixes else None
        life = born(lab, work, die_at=moment, tracer=tracer)
        assert life.exit_code is None, f"it outlived statement {moment} of {census.statements}"
        yield lab
        shutil.rmtree(lab.home)


def dying_retries(
    folder: Path, *, seed: int, every: int, until: str = ""
) -> Iterator[tuple[Mortal, Scene, random.Random]]:
    """A clip that the provider failed to make, and a `retry` of it that was killed."""
    rng = random.Random(seed)
    scene = Scene(provider="fails once", affords=3.0)

    failed = scene.lab(folder / "failed", rng)
    assert failed.live(run).exit_code == 1
    failed.allowed[failed.tasks(Status.FAILED)[0].prompt] = 2

    for lab in deaths(lambda name: failed.twin(folder / name), retry, seed=seed, every=every, until=until):
        yield lab, scene, rng


def meanwhile(lab: Mortal, rng: random.Random) -> None:
    """What may happen between two lives: time, a `collect`, a state that is deleted, or one from a backup."""
    lab.age += rng.choice([0, 0, 5, 3600])
    match rng.choice(["nothing", "nothing", "collect", "backup", "forget", "restore"]):
        case "collect" if lab.state.exists() and not lab.has_lost_state:
            sent = sent_by(lab)
            live(lab, collect, die_at=rng.choice([0, rng.randrange(1, 3000)]))
            assert sent_by(lab) == sent, f"collect has sent something\n{_story(lab)}"
        case "backup" if lab.state.exists():
            lab.backup = lab.back_up()
        case "forget" if not lab.is_forgotten:
            lab.forget_state()
            lab.has_lost_state = True
            lab.notes.append(f"state deleted after life {len(lab.lives)}")
        case "restore" if lab.backup and not lab.is_forgotten:
            lab.restore(lab.backup)
            lab.has_lost_state = True
            lab.notes.append(f"old state restored after life {len(lab.lives)}")


def sent_by(lab: Mortal) -> list[bytes]:
    """Every create call that ever left, in order."""
    return lab.wire.read_bytes().splitlines() if lab.wire.exists() else []


async def collect(lab: Mortal) -> Ran:
    """`batcher collect`: never spends."""
    return await lab.collect()


def live_on(lab: Mortal, scene: Scene, *, work: Any = run) -> Life:
    """Run again, as a person does, until the run says that it is done."""
    for _ in range(4):
        life = live(lab, work)
        if life.exit_code not in (None, 75):
            judge(lab, scene, life)
            return life
    raise AssertionError(f"{scene.name}: not done after {_story(lab)}")


def live(lab: Mortal, work: Any = run, **how: Any) -> Life:
    """One life, of which nothing may be left that breaks a promise even for a while."""
    life = lab.live(work, **how)
    assert not life.crash, f"{life.crash}\n{_story(lab)}"
    assert not any("defect" in line for line in life.told), f"{life.told}\n{_story(lab)}"
    check_books(lab)
    return life


def check_books(lab: Mortal) -> None:
    """What must be true at every moment: written before sent, reserved before charged, and never twice."""
    check_paid_once(lab)
    bought = charges(lab)
    if lab.is_forgotten or not bought:
        return
    receipts = lab.out / "film" / ".batcher-receipts.jsonl"
    noted = receipts.read_text() if receipts.exists() else ""
    for external_id in lab.ledger.charges:
        assert external_id in noted, f"no receipt for {external_id}\n{_story(lab)}"
    tasks = {task.prompt: task for task in lab.tasks()} if lab.state.exists() else {}
    if lab.has_lost_state and not bought.keys() <= tasks.keys():
        return  # the new one is not planned yet
    for prompt in bought:
        paid = tasks[prompt].status not in (Status.PENDING, Status.CANCELLED, Status.FAILED)
        assert paid or lab.allowed, f"{prompt!r} was charged and is {tasks[prompt].status}\n{_story(lab)}"
    charged = sum(map(len, bought.values())) * PRICE_USD
    assert lab.spent_usd() >= charged - CENT, f"{lab.spent_usd()} reserved, {charged} charged\n{_story(lab)}"
    assert lab.spent_usd() <= lab.budget_usd + CENT, f"{lab.spent_usd()} reserved\n{_story(lab)}"


def check_paid_once(lab: Mortal) -> None:
    for prompt, ids in charges(lab).items():
        assert len(ids) <= lab.allowed.get(prompt, 1), f"paid twice: {prompt!r} {ids}\n{_story(lab)}"


def judge(lab: Mortal, scene: Scene, life: Life) -> None:
    """The end: one charge a clip at most, the provider's own id in the row, clips whole, nothing lying about."""
    story = _story(lab)
    bought = charges(lab)
    tasks = lab.tasks()
    assert len(tasks) == scene.clips, story
    for task in tasks:
        ids = bought.get(task.prompt, [])
        assert is_told_alike(lab, task), story
        match task.status:
            case Status.DOWNLOADED:
                assert len(ids) == lab.allowed.get(task.prompt, 1), story
                assert ids[-1] == task.generation_id, story
                assert (lab.out / f"{task.output}.mp4").read_bytes() == sample(), story
                note = json.loads((lab.out / f"{task.output}.json").read_text())
                assert note["external_task_id"] == task.external_task_id, story
            case Status.UNCLEAR:
                has_control = any(prompt != task.prompt for prompt in bought)
                assert scene.may_be_unclear or not has_control, story
            case Status.FAILED:
                assert not ids, f"a guess: {task.prompt!r} was paid\n{story}"
                assert task.prompt == scene.mood.get("bad"), story
            case _:
                is_too_dear = task.status is Status.PENDING and scene.affords < scene.clips and not ids
                assert is_too_dear or task.status is Status.CANCELLED, f"{task.name} is left {task.status}\n{story}"
    ends = [task.status for task in tasks]
    whole = ends.count(Status.DOWNLOADED)
    expected = 3 if Status.PENDING in ends else int({Status.UNCLEAR, Status.FAILED} & {*ends} != set())
    assert life.exit_code == expected, f"exit {life.exit_code}, expected {expected}\n{story}"
    assert len(lab.clips()) == whole, story
    assert len(catalogue(lab)) == whole, f"metadata.jsonl: {catalogue(lab)}\n{story}"
    # A download that was killed, and whose task only a person can bring on, keeps its place until then.
    waiting = {PurePosixPath(task.output).name for task in tasks if task.status is Status.UNCLEAR}
    stray = [name for name in leftovers(lab) if not any(name.startswith(f".{stem}.") for stem in waiting)]
    assert not stray, f"{stray}\n{story}"


def is_told_alike(lab: Mortal, task: Task) -> bool:
    """Whether the row of the task and that of its newest attempt say the same."""
    state = Queries.open(lab.state)
    try:
        attempt = state.attempt(task.external_task_id)
    finally:
        state.close()
    if attempt is None:
        return task.status in (Status.PENDING, Status.CANCELLED)
    return (attempt.status, attempt.generation_id) == (task.status, task.generation_id)


def catalogue(lab: Mortal) -> list[str]:
    """The lines of metadata.jsonl."""
    path = lab.out / "film" / "metadata.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def charges(lab: Mortal) -> dict[str, list[str]]:
    """Prompt -> the ids of what was charged for it."""
    found = defaultdict(list)
    for page in lab.ledger.document["accounts"].values():
        for generation in page["generations"]:
            found[generation["prompt"]].append(generation["task_id"])
    return found


def leftovers(lab: Mortal) -> list[str]:
    """Files that only a work in progress has."""
    names = [path.name for path in lab.folder.rglob("*")]
    return [name for name in names if name.endswith((".part", ".new"))]


def _story(lab: Mortal) -> str:
    lives = [
        f"  died at {life.died_at} ({life.statements})"
        if life.exit_code is None
        else f"  exit {life.exit_code}: {life.told}"
        for life in lab.lives
    ]
    creates = [f"  {c['external_task_id']} {c['outcome']} {c['fault']}" for c in lab.ledger.creates]
    rows = [f"  {task.name} {task.status} {task.generation_id}" for task in lab.tasks()] if lab.state.exists() else []
    return "\n".join([*lab.notes, "lives:", *lives, "books:", *creates, "rows:", *rows])
