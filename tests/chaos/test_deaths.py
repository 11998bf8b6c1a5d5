"""Die at every statement: the spells in which a death leaves the same behind, each ended at a statement of its own.

A seed takes one of `scenes.SCENES` through a quarter of its spells, and others through a few deaths in a row:
four times as many seeds as there are scenes die in every spell of each. Forty see each way in which a disk fails.
"""

from __future__ import annotations

import errno
import random
import shutil
from dataclasses import replace

import pytest
from failing import BadCalls, Choke
from mortal import Census
from scenes import SCENES, Scene, deaths, dying_retries, judge, live, live_on, meanwhile, retry, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]  # each takes seconds; on a machine that is busy, more


def scene_of(seed):
    """Another one for each seed, all providers before any comes again."""
    return random.Random(0).sample(SCENES, len(SCENES))[seed % len(SCENES)]


def test_a_death_at_each_moment_of_a_scene(tmp_path, seed):
    """Whatever the provider does and whatever was under way: one charge, the right id or `unclear`, whole clips."""
    scene = scene_of(seed)
    rng = random.Random(seed)

    def make(name):
        return scene.lab(tmp_path / name, rng)

    for lab in deaths(make, run, seed=seed + seed // len(SCENES), every=4):
        lab.age += rng.choice([0, 0, 5, 3600])
        live_on(lab, scene)


def test_deaths_in_a_row_in_many_scenes(tmp_path, seed):
    """The second life dies as well, and the third; between them the state is deleted, or an old one put back."""
    rng = random.Random(seed)
    for number, each in enumerate(SCENES[seed % 24 :: 24]):
        scene = replace(each, clips=rng.choice([2, 3]), affords=3.0)
        lab = scene.lab(tmp_path / str(number), rng)
        for _ in range(rng.choice([2, 3, 3])):
            live(lab, die_at=rng.randrange(1, 9000))
            meanwhile(lab, rng)
        live_on(lab, scene)
        live_on(lab, scene)


def test_retries_that_die(tmp_path, seed):
    """A failed clip is bought a second time, once, however often its `retry` dies."""
    for lab, scene, rng in dying_retries(tmp_path, seed=seed, every=16):
        live(lab, retry, die_at=rng.randrange(200, 4000))
        live_on(lab, scene, work=retry)


def test_a_disk_that_fails_at_each_moment(tmp_path, seed):
    """Each write and call on a file, once and for good: exit 78 or a whole run, never a guess; the next completes."""
    rng = random.Random(seed)
    scene = Scene(provider="takes it, then resets")
    calls = live(scene.lab(tmp_path / "calls", rng), tracer=lambda lab: BadCalls(lab.folder, 0, once=True, code=0))
    spells = live(scene.lab(tmp_path / "spells", rng), tracer=lambda lab: Census(lab.footprint)).spells
    plans = [
        lambda lab, n=n, once=once: BadCalls(lab.folder, n, once=once, code=errno.EIO)
        for n in range(1, calls.faults + 1)
        for once in (True, False)
    ]
    plans += [lambda _, at=spell.first, once=once: Choke(at, once=once) for spell in spells for once in (True, False)]
    for number, plan in enumerate(plans[seed % 40 :: 40]):
        lab = scene.lab(tmp_path / str(number), rng)
        life = live(lab, tracer=plan)
        if life.exit_code != 78:
            judge(lab, scene, life)
        live_on(lab, scene)
        shutil.rmtree(lab.home)
