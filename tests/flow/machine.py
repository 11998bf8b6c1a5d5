"""A person does anything, in any order, to a job on a gateway of any kind: the rules that hypothesis chooses from."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batcher.tasks import Status

from . import judge
from .harness import KEY, PRICE_USD
from .life import ELSEWHERE_KEY, KEYS, ROTATED_KEY, WORDS, Life, foreign_clip

if TYPE_CHECKING:
    from .harness import Ran

OLD_BACKUPS_MAY_PAY_TWICE = True
"""Known, and being mended: an old backup on a gateway that sells a used id again. The machine does not go there
while this is True; `pytest` with False shows the ways in."""

KEPT_FOR_EVER = {"never-ends", "vanishes", "no-url", "slow-tail"}
"""Faults that a generation is born with, and that let no clip of it be had, at least not in the time we wait."""

FAULTS = (
    "ok",
    "fails",
    "fails",
    "risk-control",
    "reset-after",
    "half-reply",
    "5000-created",
    "html-502-created",
    "no-id-created",
    "zombie",
    "1303",
    "1303",
    "1302",
    "rewritten-429",
    "html-502",
    "reset-before",
    "1102",
    "401",
    "never-ends",
    "vanishes",
    "slow-tail",
    "no-url",
    "late-url",
    "two-videos",
    "numeric-id",
    "backwards",
    "look-502",
    "look-reset",
    "look-empty",
    "asset-403",
    "asset-cut",
    "asset-unsized",
    "asset-html",
)

MOST_EDITIONS = 5

GATEWAYS = (
    ("create", False, False),
    ("create", True, False),
    ("create", False, True),
    ("create", True, True),
    ("create", False, False),
    ("refuse", False, False),
    ("refuse", True, True),
    ("reword", False, False),
    ("reword", True, False),
    ("return", False, False),
)
"""What a used id meets, whether ids are found, whether there is a list."""

events = st.sampled_from([3, 4, 5, 6, 7, 8, 10, 12, 14, 18])
"""A clip makes six or so, after two of the run's own."""

deaths = st.one_of(
    st.tuples(st.just("killed at event"), events),
    st.tuples(st.just("killed at call"), st.sampled_from([1, 2, 1, 3]), st.sampled_from(["out", "back"])),
    st.tuples(st.just("killed in download"), st.sampled_from([1, 2])),
    st.tuples(st.just("Ctrl-C"), events, st.booleans()),
)

lost_replies = st.one_of(
    st.tuples(st.just("lost"), st.integers(1, 2), st.just("reply")),
    st.tuples(st.just("faults"), st.lists(st.sampled_from(["ok", "5000-created", "zombie"]), min_size=1, max_size=3)),
)

weather = st.one_of(
    st.tuples(st.just("lost"), st.integers(1, 3), st.sampled_from(["request", "reply"])),
    st.tuples(st.just("outage"), st.integers(0, 250), st.sampled_from([60, 900, 5000])),
    st.tuples(st.just("faults"), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4)),
    st.tuples(st.just("slots"), st.integers(1, 2)),
    st.tuples(st.just("disk full")),
    st.tuples(st.just("backed up"), events),
)

prices = st.sampled_from([clips * PRICE_USD for clips in (1.5, 2.5, 3.5, 0.5)])
budgets = st.one_of(st.none(), prices)

choices = st.one_of(
    st.sampled_from(
        [
            {"limit": 1},
            {"limit": 2, "concurrency": 1},
            {"submit_only": True},
            {"include": ("s[01]*",)},
            {"include": ("*-t1",), "limit": 1},
            {"include": ("status:pending",)},
            {"canary": 1},
            {"canary": 2, "fail_fast": True},
            {"deadline_s": 5.0},
            {"deadline_s": 130.0, "concurrency": 2},
        ]
    ),
    prices.map(lambda usd: {"max_usd": usd}),
)


class Machine(RuleBasedStateMachine):
    """One life."""

    def __init__(self) -> None:
        super().__init__()
        self.life: Life | None = None
        self.is_sound = False
        """Whether the last step was judged good: a life that went wrong is not led to its end."""
        self.is_over = False
        self.was_elsewhere = False
        self.had_another_key = False
        """In a run: ids may be of another namespace than the one of `KEY`."""
        self.was_renamed = False

    @initialize(
        gateway=st.sampled_from(GATEWAYS),
        lag_s=st.sampled_from([0.0, 0.0, 15.0]),
        prompts=st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=3, unique=True),
        attempts=st.integers(1, 2),
        max_usd=budgets,
    )
    def begin(self, gateway, lag_s, prompts, attempts, max_usd):
        used_ids, finds, lists = gateway
        self.life = Life(used_ids=used_ids, finds_external_ids=finds, lists=lists, visible_after_s=lag_s)
        self.life.wishes.max_usd = max_usd
        self.life.wishes.prompts, self.life.wishes.attempts = prompts, attempts
        self.life.write_manifest()

    # ---- commands that work -------------------------------------------------------------------------------------

    @rule(adopts=st.booleans())
    def run(self, adopts):
        self._run([], {}, adopts=adopts)

    @rule(death=deaths, trouble=weather, choices=choices)
    def run_and_die(self, death, trouble, choices):
        self._run([trouble, death], choices, adopts=True)

    @rule(death=deaths)
    def run_and_die_in_good_weather(self, death):
        self._run([death], {}, adopts=True)

    @rule(troubles=st.lists(weather, min_size=1, max_size=2))
    def run_in_bad_weather(self, troubles):
        self._run(troubles, {}, adopts=True)

    @rule(trouble=lost_replies)
    def run_and_lose_replies(self, trouble):
        self._run([trouble], {}, adopts=True)

    @rule(choices=choices, trouble=weather)
    def run_with_wishes(self, choices, trouble):
        self._run([trouble], choices, adopts=True)

    @precondition(lambda self: self.life.wishes.edition > 1)
    @rule(edition=st.integers(1, MOST_EDITIONS))
    def run_an_edition(self, edition):
        self._run([], {"edition": f"e{min(edition, self.life.wishes.edition)}"}, adopts=True)

    def _has_work(self) -> bool:
        return self.life.look_ahead().has_work

    def _run(self, troubles: list[tuple[Any, ...]], options: dict[str, Any], *, adopts: bool) -> Ran | None:
        """Whoever runs wants something: a job that is all home gets a new edition."""
        life = self.life
        options = dict(options)
        if not self._has_work() and life.wishes.edition < MOST_EDITIONS and not self.is_over:
            life.wishes.edition += 1
            life.write_manifest()
        prepared = life.look_ahead(options.get("edition"))
        if prepared.renamed:
            assert life.go((), **options) is None
            assert not life.network.posts, "a renamed job was bought without a word"
            options["adopt_orphans" if adopts else "buy_again"] = True
            self.was_renamed = True
        self.had_another_key |= life.key != KEY
        if not self._sells_an_id_once():
            # what is bought, then found no more, and sold again under its id: nobody could know better
            troubles = [t for t in troubles if t[0] != "faults" or "vanishes" not in t[1]]
        budget = options.get("max_usd", life.wishes.max_usd)
        before = judge.money(life, prepared.job, prepared.edition)
        ran = life.go(troubles, **options)
        assert ran is not None, life.told[-1]
        judge.ended(life, ran)
        include = options.get("include", ("*",))
        chosen = {name for name in prepared.names if any(fnmatchcase(name, pattern) for pattern in include)}
        judge.run_ended(life, ran, prepared, chosen, limited="limit" in options)
        if budget is not None and not self.was_renamed and not self.life.was_forgotten:
            after = judge.money(life, prepared.job, prepared.edition)
            assert after <= max(budget, before) + 1e-6, f"{after} of {budget} US dollars are spent or reserved"
        return ran

    @precondition(lambda self: self.life.state.exists())
    @rule()
    def collect(self):
        judge.ended(self.life, self.life.pick_up())
        assert not self.life.network.posts, "collect sent a create call"

    @precondition(lambda self: self._has(Status.FAILED))
    @rule()
    def retry_failed(self):
        for ran in self.life.try_again((), pay_again=False):
            judge.ended(self.life, ran)

    @precondition(lambda self: self._has(Status.UNCLEAR, Status.PROCESSING))
    @rule()
    def retry_and_pay_again(self):
        for ran in self.life.try_again(("status:unclear", "status:processing"), pay_again=True):
            judge.ended(self.life, ran)

    @precondition(lambda self: self._has(Status.UNCLEAR))
    @rule(drops=st.booleans())
    def resolve(self, drops):
        self._settle(drops=drops)

    def _settle(self, *, drops: bool = False) -> None:
        """A person looks at the provider's own list, and says what is there."""
        for task in self.life.tasks(Status.UNCLEAR):
            taken = [
                ident
                for ident, generation in self.life.generations().items()
                if generation["external_task_id"] == task.external_task_id
            ]
            if drops:
                self.life.resolve(task, drop=True)
            elif taken:
                self.life.resolve(task, adopt=taken[0])
            elif not self.life.may_still_come(task.external_task_id):
                self.life.resolve(task)

    def _has(self, *statuses: Status) -> bool:
        return any(task.status in statuses for task in self.life.rows())

    # ---- commands that look -------------------------------------------------------------------------------------

    @rule(verb=st.sampled_from(["plan", "status", "show"]))
    def look(self, verb):
        """They change nothing and send nothing."""
        life = self.life
        rows = life.rows()
        if not rows and verb != "plan":
            return
        what = {"plan": [str(life.manifest_path)], "status": [], "show": [r.external_task_id for r in rows[:1]]}
        before, asked = fingerprint(life.home), life.books.totals
        life.read(verb, *what[verb])
        assert fingerprint(life.home) == before, f"{verb} wrote something"
        assert life.books.totals == asked, f"{verb} sent something"

    # ---- the manifest -------------------------------------------------------------------------------------------

    @rule(place=st.integers(0, 4), word=st.integers(0, len(WORDS) - 1))
    def edit_prompts(self, place, word):
        """Add, remove, reword or move one."""
        prompts = self.life.wishes.prompts
        if word not in prompts:
            prompts[place : place + 1 if len(prompts) > 2 else place] = [word]
            del prompts[3:]
        elif len(prompts) > 1 and place % 2:
            prompts.remove(word)
        else:
            prompts.insert(0, prompts.pop(prompts.index(word)))
        self.life.write_manifest()

    @rule(takes=st.integers(1, 2), attempts=st.integers(1, 2), max_usd=budgets, prefix=st.sampled_from("st"))
    def edit_settings(self, takes, attempts, max_usd, prefix):
        wishes = self.life.wishes
        wishes.takes, wishes.attempts, wishes.max_usd, wishes.prefix = takes, attempts, max_usd, prefix
        self.life.write_manifest()

    @rule(renames=st.booleans())
    def begin_another(self, renames):
        """A job is not renamed once something was lost: what it was called before is known to the state alone."""
        wishes = self.life.wishes
        if not renames:
            wishes.edition = min(wishes.edition + 1, MOST_EDITIONS)
        elif self.life.receipts_are_whole and not self.life.was_forgotten:
            wishes.job = "movie" if wishes.job == "film" else "film"
        self.life.write_manifest()

    # ---- files --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.life.clips())
    @rule(
        which=st.integers(0, 9), how=st.sampled_from(["delete", "cut", "edit", "edit longer", "delete the sidecar"])
    )
    def touch_a_clip(self, which, how):
        clips = self.life.clips()
        clip = clips[which % len(clips)]
        relative = str(clip.relative_to(self.life.out))
        if self.life.touched.get(relative):
            return  # it is theirs already
        size = clip.stat().st_size
        match how:
            case "delete the sidecar":
                clip.with_suffix(".json").unlink(missing_ok=True)
                return
            case "delete":
                clip.unlink()
                self.life.touched[relative] = None
            case "cut":
                clip.write_bytes(clip.read_bytes()[: size // 2])
                self.life.touched[relative] = None
            case _:
                made = foreign_clip(size + 5 * (how == "edit longer"))
                clip.write_bytes(made)
                self.life.touched[relative] = made

    @precondition(lambda self: self.life.out.exists() and self._may_lose_receipts() and self._state_knows_all())
    @rule()
    def delete_the_output(self):
        self.life.forget_clips()

    @precondition(lambda self: self.life.state.exists() and self._may_forget())
    @rule()
    def delete_the_state(self):
        self._forget()
        self.life.forget_state()

    @precondition(lambda self: self.life.state.exists() and self._sells_an_id_once() and self._may_lose_receipts())
    @rule()
    def delete_everything(self):
        """Where a used id is refused, not even the receipts are needed."""
        self._forget()
        self.life.forget_state()
        self.life.forget_clips()

    @precondition(lambda self: self.life.snapshots and self._may_restore())
    @rule(which=st.integers(0, 30))
    def restore_a_backup(self, which):
        self._forget()
        self.life.restore(self.life.snapshots[which % len(self.life.snapshots)])

    @precondition(lambda self: self._may_restore())
    @rule(death=deaths, failure=st.sampled_from([["ok"], ["fails"], ["ok", "fails"]]), trouble=weather)
    def go_back_to_the_backup_of_last_night(self, death, failure, trouble):
        """A run is cut short, its state is kept, another run goes on, and the kept state is put back."""
        self._run([death, ("faults", failure)], {}, adopts=True)
        kept = self.life.back_up()
        self._run([trouble], {}, adopts=True)
        judge.judge(self.life)
        self._forget()
        self.life.restore(kept)

    def _forget(self) -> None:
        self.life.was_forgotten = True
        self.life.stale = {self.life.root_of(content) for content in self.life.jobs}

    def _sells_an_id_once(self) -> bool:
        return self.life.world.settings.used_ids != "create"

    def _may_forget(self) -> bool:
        """Something must remember what was bought: the receipts, or the account that all of it was bought in."""
        return self.life.receipts_are_whole or self._sells_an_id_once()

    def _state_knows_all(self) -> bool:
        return self._sells_an_id_once() or (self.life.state.exists() and not self.life.was_forgotten)

    def _may_restore(self) -> bool:
        return self._may_forget() and (self._sells_an_id_once() or not OLD_BACKUPS_MAY_PAY_TWICE)

    def _may_lose_receipts(self) -> bool:
        """The ids must come out the same, in the account that knows them."""
        return self.life.key == KEY and not self.had_another_key and not self.was_renamed

    # ---- the provider and the calendar --------------------------------------------------------------------------

    @rule(change=st.sampled_from(["hours", "a day", "finds ids", "lists", *KEYS]))
    def the_world_goes_on(self, change):
        life = self.life
        match change:
            case "hours" | "a day":
                life.clock.start += 86400 if change == "a day" else 7200
            case "finds ids":
                life.change_provider(finds_external_ids=not life.world.settings.finds_external_ids)
            case "lists":
                life.change_provider(lists=not life.world.settings.lists)
            case key if life.receipts_are_whole:
                life.change_key(key)
                self.was_elsewhere |= key == ELSEWHERE_KEY

    # ---- the judge ----------------------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self):
        if self.life is None:
            return
        self.is_sound = False
        judge.judge(self.life)
        if self.life.state.exists():
            self.life.snapshots.append(self.life.back_up())
        self.is_sound = True

    def teardown(self):
        """A friendly provider, and the command again: everything wanted comes home, and nothing is paid twice."""
        if self.life is None:
            return
        try:
            if self.is_sound:
                self._to_the_end()
        finally:
            self.life.close()

    def _to_the_end(self) -> None:
        life = self.life
        self.is_over = True
        life.change_provider(finds_external_ids=True, lists=True, visible_after_s=0.0, faults={})
        life.wishes.max_usd = None
        life.write_manifest()
        for key in (ELSEWHERE_KEY, ROTATED_KEY, KEY) if self.was_elsewhere else (life.key, KEY):
            life.change_key(key)
            before: list[Any] = []
            while before != (now := [(task.external_task_id, task.status) for task in life.rows()]) or not now:
                life.clock.start += 600
                self._run([], {"max_usd": 1000.0}, adopts=True)
                self._settle()
                judge.judge(life)
                before = now
        wanted = {life.root_of(content) for content in life.look_ahead().hashes}
        lost = [
            task
            for task in life.rows()
            if not self._is_over(task)
            and (task.status is not Status.PENDING or life.root_of(task.content_hash) in wanted)
        ]
        assert not lost, f"never came home: {[(t.name, t.status, t.external_task_id) for t in lost]}"

    def _is_over(self, task: Any) -> bool:
        """Home, given up by a person, failed, or kept by the provider for ever."""
        if task.status in (Status.DOWNLOADED, Status.CANCELLED, Status.FAILED):
            return True
        marks = {
            self.life.mark_of(ident)
            for ident, generation in self.life.generations().items()
            if generation["external_task_id"] == task.external_task_id
        }
        return bool(marks & KEPT_FOR_EVER)


def fingerprint(home: Path) -> dict[str, str]:
    """Every file's content; what SQLite keeps beside a state while it is open is none."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }
