"""A bad manifest costs nothing: all that is wrong is said at once, at its place."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import batcher.catalog
import batcher.manifest
from batcher.errors import UsageError
from batcher.manifest import CODES, ManifestError, check, load, render_github, render_json, render_text

TEN = """\
job: Autumn Launch
defaults:
  aspect_ratio: 21:9
  cfg_scale: 2
vars: {brand: North, brand: West}
prompts:
  - id: fox
    prompt: A fox by {{ brnd }}
  - id: Fox
    prompt: A fox
    duration: 7
  - file: prompts/nothing.csv
  - promt: A hare
run: {timeout: soon}
budgets: 5
"""


def test_ten_mistakes_are_ten_problems_with_exact_places(faults):
    assert faults(TEN) == [
        ("E114", 1, 6),
        ("E103", 3, 17),
        ("E105", 4, 14),
        ("E107", 5, 22),
        ("E209", 8, 22),
        ("E205", 9, 9),
        ("E303", 11, 15),
        ("E201", 12, 11),
        ("E106", 13, 5),
        ("E114", 14, 16),
        ("E102", 15, 1),
    ]


def test_load_raises_all_of_them_as_one_error(write):
    write(job_yaml=TEN)
    with pytest.raises(ManifestError) as caught:
        load(Path("job.yaml"))
    assert isinstance(caught.value, UsageError)
    assert len(caught.value.problems) == 11
    assert caught.value.message == (
        "11 problems in job.yaml. Nothing was sent. Next: fix and run  batcher check job.yaml"
    )


def test_a_problem_is_shown_as_a_compiler_would(write):
    write(jobs__broken_yaml="job: x\nprompts: [a]\n\n\ndefaults:\n  aspect_ratio: 21:9\n")
    found = check([Path("jobs/broken.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert render_text(found) == (
        "error[E103]: jobs/broken.yaml:6:17: defaults.aspect_ratio: '21:9' is not one of "
        "16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3\n"
        "  |\n"
        "6 |   aspect_ratio: 21:9\n"
        "  |                 ^^^^\n"
        "  = hint: did you mean 16:9?"
    )
    assert '"code": "E103"' in render_json(found)
    assert render_github(found) == (
        "::error file=jobs/broken.yaml,line=6,col=17,endColumn=21,title=E103 not one of::defaults.aspect_ratio: "
        "'21:9' is not one of 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3 (did you mean 16:9?)"
    )


def test_what_is_shown_cannot_steer_a_terminal_nor_forge_an_annotation(write):
    write(job_yaml='prompts: ["x"]\ndefaults: {mode: "\\e]0;owned\\a%0A::error::"}\n')
    found = check([Path("job.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert "\x1b" not in render_text(found) + render_github(found)
    assert "%0A" not in render_github(found)
    assert "%250A" in render_github(found)


def test_every_code_that_is_raised_is_explained():
    """The table of codes and the code agree, both ways."""
    files = [Path(batcher.catalog.__file__), *Path(batcher.manifest.__file__).parent.glob("*.py")]
    texts = [f.read_text() for f in files if f.name != "problems.py"]
    assert set(re.findall(r'"([EW]\d{3})"', "".join(texts))) == set(CODES)


def test_no_more_than_a_hundred_problems_are_shown(write):
    write(job_yaml="prompts:\n" + "".join(f"  - {{prompt: x{n}, mode: {n}}}\n" for n in range(300)))
    with pytest.raises(ManifestError, match=r"300 problems in job.yaml, the first 100 shown") as caught:
        load(Path("job.yaml"))
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("E101", 1, 1)]),
        ("- a\n", [("E104", 1, 1)]),
        ("just text\n", [("E104", 1, 1)]),
        ("prompts: [a]\n---\nprompts: [b]\n", [("E109", 2, 1)]),
        ("job: x\n", [("E106", 1, 1)]),
        ("prompts: []\n", [("E105", 1, 10)]),
        (b"\xff\xfep\x00", [("E108", 1, 1)]),
        ("prompts:\n  - caf\u00e9\n".encode("latin-1"), [("E108", 2, 8)]),
        (b"\xef\xbb\xbfprompts: [A fox]\n", []),
        ("prompts: [A fox]\nversion: 2\n", [("E103", 2, 10)]),
        ("prompts: [A fox]\nx-mine: {a: [1]}\n", []),
        ("prompts: [A fox]\nprovider: null\n", []),
        ("prompts:\n  - A lighthouse: in a storm\n", [("E106", 2, 5)]),
        ("prompts: [42]\n", [("E104", 1, 11)]),
        ("prompts: [A fox]\ntakes: true\n", [("E104", 2, 8)]),
        ("prompts: [A fox]\nvars: {a: [1]}\n", [("E104", 2, 11)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: '${COMETAPI_KEY}'}]\n", [("E112", 2, 30)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: '${batcher_x}'}]\n", [("E112", 2, 30)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: 'https://x/${A}'}]\n", [("E112", 2, 30)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: 'file:///etc/passwd'}]\n", [("E114", 2, 30)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: '${HOOK}'}]\n", []),
        ("prompts: ['A fox ${HOME}']\n", [("E112", 1, 18)]),
        ("prompts: [A fox]\noutput: {dir: 'out/${HOME}'}\n", [("E112", 2, 20)]),
        ("prompts: [A fox]\nschedule: {timezone: Mars/Olympus}\n", [("E114", 2, 22)]),
        ("prompts: [A fox]\nschedule: {cron: nightly}\n", [("E114", 2, 18)]),
        ("prompts: [A fox]\nedition: '{{ now }}'\n", [("E209", 2, 11)]),
        ("prompts: [A fox]\nedition: '{{ today }}{{ today | lwer }}'\n", [("E208", 2, 22)]),
        ("prompts: [A fox]\nrun: {max_failures: 120%}\n", [("E114", 2, 21)]),
        ("prompts: [A fox]\ndefaults: {params: {callback_url: 'http://x'}}\n", [("E113", 2, 20)]),
        ("prompts: [A fox]\ndefaults: {params: {model: x}}\n", [("E113", 2, 20)]),
        ("prompts: [A fox]\ndefaults: {params: {external_task_id: x}}\n", [("E113", 2, 20)]),
        ("prompts: [A fox]\ndefaults: {params: {mode: std}}\n", [("E113", 2, 20)]),
        ("prompts: [A fox]\ncallback_url: http://x\n", [("E102", 2, 1)]),
        ("prompts: [A fox]\nbase_url: http://x\n", [("E102", 2, 1)]),
        ("prompts: [A fox]\ndefaults: {duration: 5.5}\n", [("E114", 2, 22)]),
        ("prompts: [A fox]\nedition: '" + "x" * 65 + "'\n", [("E105", 2, 10)]),
        ("prompts: [A fox]\noutput: {dir: ''}\n", [("E114", 2, 15)]),
        ("prompts: [A fox]\nnotify: [{on: [failed], url: 'http://[x'}]\n", [("E114", 2, 30)]),
        ("prompts: [{id: '{{ n }}', prompt: A fox, n: ' '}]\n", [("E105", 1, 16)]),
        ('prompts: [{file: "a\\0b.txt"}]\n', [("E111", 1, 18)]),
        ("prompts: [A fox]\ndefaults: {camera_control: {type: simple}}\n", [("E106", 2, 28)]),
        ("prompts: [A fox]\ndefaults: {camera_control: {type: simple, config: {}}}\n", [("E105", 2, 51)]),
        ("prompts: [A fox]\ndefaults: {camera_control: {type: down_back, config: {zoom: 1}}}\n", [("E114", 2, 28)]),
        ("prompts: [A fox]\ndefaults: {camera_control: {type: simple, config: {pan: 11}}}\n", [("E105", 2, 57)]),
    ],
)  # fmt: skip
def test_one_mistake_is_one_clear_problem(faults, write, text, expected):
    if isinstance(text, bytes):
        write(raw_yaml=text)
        found = check([Path("raw.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
        assert [(p.code, p.place.line, p.place.column) for p in found] == expected
    else:
        assert faults(text) == expected


def test_what_cannot_be_read_is_said(write, tmp_path):
    write(big_yaml="prompts: [" + "x" * 2000 + "]")
    (tmp_path / "folder.yaml").mkdir()
    for path, reason in (
        ("missing.yaml", "No such file"),
        ("folder.yaml", "folder.yaml"),
        ("big.yaml", "larger than"),
    ):
        with pytest.raises(ManifestError) as caught:
            load(Path(path), max_bytes=1000)
        assert caught.value.problems[0].code == "E100"
        assert reason in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("prompts: [A fox]\nrun: {concurency: 4}\n", "did you mean concurrency?"),
        ("prompts: [A fox]\noverrides: [{when: {}, set: {duratoin: 5}}]\n", "did you mean duration?"),
        ("prompts: [A fox]\ndefaults: {camera_control: {typ: simple, type: down_back}}\n", "did you mean type?"),
        ("prompts: [{promt: A fox}]\n", "is 'promt' meant?"),
        ("prompts: [{prompt: A fox, moode: pro}]\n", "did you mean mode?"),
        ("prompts: [A fox]\nbudget: {xyz: 1}\n", "keys here: max_tasks, max_usd, max_usd_per_day"),
        ("prompts: [A fox]\nmatrix: {aspect_ration: ['16:9']}\n", "did you mean aspect_ratio?"),
        ("prompts: [A fox]\nprovider: comet\n", "did you mean cometapi?"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_as_a_hint(write, text, hint):
    write(job_yaml=text)
    assert hint in [p.hint for p in check([Path("job.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))]


def test_one_mistake_in_many_combinations_is_one_problem(faults):
    text = "prompts: ['{{ l }} " + "x" * 500 + "']\nmatrix: {l: [a, bb, ccc], aspect_ratio: [16:9, 9:16]}\n"
    assert faults(text) == [("E211", 1, 11)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompts: ['A {{ l }} fox']\nmatrix: {l: [[a]], m: [b]}\n", [("E104", 2, 14)]),
        ("prompts: ['A {{ l }} fox', 'A {{ l }} fox']\nvars: {l: [a]}\n", [("E104", 2, 11)]),
        ("prompts: [{id: a, prompt: A fox, mode: x}, {id: b, prompt: A fox}]\n", [("E103", 1, 40)]),
    ],
)
def test_what_only_follows_from_another_mistake_is_not_said(faults, text, expected):
    assert faults(text) == expected
