from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.events import EventKind
from batcher.report.document import event_document, plain, plan_document, show_document, status_document, to_json
from batcher.report.views import PlanLine, PlanView, Spend, StatusView, TaskView

from .samples import AT, HOSTILE, make_event, make_summary, make_task


def test_an_event_names_its_task_and_carries_its_detail():
    event = make_event(EventKind.DONE, task=make_task(), path="out/a.mp4", bytes=5)
    assert event_document(event) == {
        "schema": 1,
        "event": "done",
        "at": AT,
        "task": {
            "id": 7,
            "job": "autumn",
            "name": "fox-16x9",
            "edition": "",
            "take": "1",
            "status": "processing",
            "external_task_id": "autumn-00ff-a1",
            "generation_id": None,
            "attempt": 1,
            "cost_usd": 0.28,
            "source": "jobs/autumn.yaml:22",
        },
        "path": "out/a.mp4",
        "bytes": 5,
    }


def test_a_detail_cannot_pass_itself_off_as_the_envelope():
    event = make_event(EventKind.WARNING, event="done", schema=9, message="m")
    assert event_document(event) == {"schema": 1, "event": "warning", "at": AT, "message": "m"}


def test_the_last_line_is_the_summary():
    summary = make_summary(files=("a.mp4",))
    document = json.loads(to_json(event_document(make_event(EventKind.SUMMARY, **asdict(summary)))))
    assert document["event"] == "summary"
    assert (document["exit_code"], document["files"], document["counts"]) == (0, ["a.mp4"], {"downloaded": 24})


def test_a_line_is_ascii_and_one_line_whatever_it_says():
    """`--json | cat` cannot be made to steer a terminal, and fits any locale."""
    text = to_json(event_document(make_event(EventKind.WARNING, message=HOSTILE + "é\ud800")))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["message"] == HOSTILE + "é\ud800"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(_json)
def test_every_value_becomes_strict_json(value):
    """NaN and infinity have no place in JSON and become null; nothing raises."""
    json.loads(to_json({"value": plain(value)}), parse_constant=pytest.fail)


def test_what_json_does_not_know_becomes_what_it_knows():
    assert plain({EventKind.DONE: {1}, "x": object}) == {"done": [1], "x": str(object)}


@pytest.mark.parametrize(
    "view", [{"job": "a", "to_submit": 2}, PlanView(job="a", manifest="m", provider="p", simulated=True)]
)
def test_a_plan_is_one_document_from_a_view_or_from_rows(view):
    document = plan_document(view)
    assert (document["schema"], document["document"], document["job"]) == (1, "plan", "a")


def test_nested_views_are_plain_in_a_document():
    line = PlanLine(kind="submit", name="fox", cost_usd=0.28)
    document = plan_document(PlanView(job="a", manifest="m", provider="p", simulated=False, lines=(line,)))
    assert document["lines"] == [{"kind": "submit", "name": "fox", "cost_usd": 0.28, "source": ""}]


def test_status_lists_every_job():
    view = StatusView(job="a", provider="p", simulated=False, spend=Spend(failed_usd=0.5))
    document = status_document([view, {"job": "b"}])
    assert [job["job"] for job in document["jobs"]] == ["a", "b"]
    assert document["jobs"][0]["spend"]["failed_usd"] == 0.5


def test_show_holds_the_whole_task():
    document = show_document(TaskView(task=make_task()))
    assert document["task"]["request"] == {"prompt": "A fox", "duration": "5"}
