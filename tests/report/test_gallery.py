"""The gallery as a text: what it holds of a job, and that nothing in it is anything but a word."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from cells import NASTY, row, waiting

from batcher.report.gallery import document, page


def content(*rows, **more):
    about = {"job": "x", "folder": "x", "provider": "cometapi", "simulated": False, "max_usd": 25.0}
    return document(rows, at="2026-11-27T02:10:00.000Z", **about | more)


def embedded(text):
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(data)


def test_a_row_is_a_prompt_and_a_cell_is_named_by_what_is_its_own():
    told = content(row("fox-16x9-t1"), row("fox-9x16-t1"), row("owl", source="jobs/x.yaml:9"))
    assert [(task["row"], task["label"]) for task in told["tasks"]] == [
        ("fox", "16x9-t1"),
        ("fox", "9x16-t1"),
        ("owl", "16:9"),
    ]


def test_the_head_counts_and_adds_up():
    """What waits was not bought, and costs nothing yet."""
    told = content(row("a"), row("b"), waiting("c"))
    assert told["counts"] == {"downloaded": 2, "pending": 1}
    assert told["totals"] == [["2 / 3", "downloaded"], ["≈ $0.52", "of $25.00 budget"], ["1m30s", "median wait"]]
    assert not told["next"]


def test_failures_come_with_their_reason_and_the_command_that_mends_them():
    told = content(waiting("a", status="failed", error_code="1301", error_message="refused"))
    assert told["tasks"][0]["error"] == "1301: refused"
    assert told["next"] == ["batcher retry x --failed"]


def test_placeholders_are_never_called_paid():
    told = content(row(), simulated=True, provider="simulator")
    assert told["totals"][1] == ["≈ $0.26", "would cost"]
    assert "nothing was paid" in told["about"][0]


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("x/fox.mp4", "./fox.mp4"),
        ("x/2026-11/fox.mp4", "./2026-11/fox.mp4"),
        ("y/fox.mp4", "../y/fox.mp4"),
        ("x/javascript:alert(1).mp4", "./javascript%3Aalert%281%29.mp4"),
        ("x/a b#c?d%.mp4", "./a%20b%23c%3Fd%25.mp4"),
    ],
)
def test_a_file_is_an_address_below_the_page_and_never_one_of_a_scheme(path, link):
    assert content(row(path=path))["tasks"][0]["file"] == link


def test_words_from_outside_end_nothing_and_begin_nothing():
    told = row(NASTY, prompt=NASTY, error_message=NASTY, source=NASTY, request=json.dumps({NASTY: NASTY}))
    text = page(content(told, job=NASTY))
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "alert(1)</" not in text
    [task] = embedded(text)["tasks"]
    assert "<script>alert(1)</script>" in task["prompt"]
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_its_policy_lets_run_its_own_script_and_no_other():
    text = page(content(row()))
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    script, style = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", text, re.DOTALL)[::-1]
    for part, what in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{what} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_damaged_request_is_shown_as_none():
    assert "model_name" not in content(row(request="{"))["tasks"][0]["facts"]
