from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.identity import content_hash
from batcher.manifest import ManifestError, Problems, check, load


def names(tasks):
    return [task.name for task in tasks]


def test_order_is_prompts_then_matrix_then_zip_then_takes(job):
    tasks = job(
        "prompts: [{id: a, prompt: '{{ l }} {{ s }}'}, {id: b, prompt: 'x {{ l }} {{ s }}'}]\n"
        "matrix: {l: [dawn, dusk]}\nzip: {s: [may, june]}\ntakes: 2\n"
    )
    assert names(tasks)[:5] == ["a-dawn-may-t1", "a-dawn-may-t2", "a-dawn-june-t1", "a-dawn-june-t2", "a-dusk-may-t1"]
    assert len(tasks) == 16
    assert [t.take for t in tasks[:2]] == ["1", "2"]
    assert tasks[0].request == tasks[1].request, "takes are the same request"


def test_a_task_says_all_that_a_run_needs(job):
    (task,) = job(
        "job: autumn\nprompts:\n  - id: fox\n    prompt: A {{ fur }} fox\n    fur: red\n    priority: 3\n"
        "defaults: {duration: 5, mode: pro, model_name: kling-v1-6, params: {newer: [1]}}\n",
        edition="2026-11-22",
    )
    assert task.request == {
        "prompt": "A red fox", "duration": "5", "mode": "pro", "model_name": "kling-v1-6", "newer": [1],
    }  # fmt: skip
    assert (task.job, task.name, task.edition, task.take) == ("autumn", "fox-t1", "2026-11-22", "1")
    assert task.output == "autumn/2026-11-22/fox-t1"
    assert task.source.endswith("job.yaml:3")
    assert (task.priority, task.variables) == (3, {"fur": "red"})


@pytest.mark.parametrize("duration", ["5", "'5'"])
def test_duration_is_sent_as_text(job, duration):
    """The API refuses a number, and `5` and "5" are one request."""
    (task,) = job(f"prompts: [A fox]\ndefaults: {{duration: {duration}}}\n")
    assert task.request["duration"] == "5"


def test_numbers_are_sent_as_they_are_written(job):
    (task,) = job("prompts: [A fox]\ndefaults: {cfg_scale: 1, camera_control: {type: simple, config: {zoom: -5}}}\n")
    assert repr(task.request["cfg_scale"]) == "1"
    assert task.request["camera_control"] == {"type": "simple", "config": {"zoom": -5}}


def test_null_unsets_a_default(job):
    """A master model takes no mode; null takes the default away, in an entry, an axis or an override."""
    tasks = job(
        "defaults: {mode: std}\nprompts: [{id: a, prompt: A fox, mode: null}, {id: b, prompt: A hare}]\n"
        "overrides: [{when: {id: b}, set: {mode: null, model_name: kling-v2-master}}]\n"
    )
    assert ["mode" in t.request for t in tasks] == [False, False]
    tasks = job("defaults: {mode: std}\nprompts: [A fox]\nmatrix: {mode: [pro, null]}\n")
    assert [t.request.get("mode") for t in tasks] == ["pro", None]
    assert names(tasks) == ["a-fox-pro-t1", "a-fox-default-t1"]


def test_overrides_come_last_and_the_last_one_wins(job):
    tasks = job(
        "prompts: [{id: fox, prompt: A fox}]\nmatrix: {aspect_ratio: [16:9, 9:16]}\n"
        "overrides:\n  - {when: {id: fox, aspect_ratio: 16:9}, set: {duration: 10, priority: 10}}\n"
        "  - {when: {duration: 10}, set: {mode: pro, params: {x: 1}}}\n"
    )
    assert [(t.request.get("duration"), t.request.get("mode"), t.priority) for t in tasks] == [
        ("10", "pro", 10), (None, None, 0),
    ]  # fmt: skip
    assert tasks[0].request["x"] == 1


def test_when_sees_what_the_api_assumes(job):
    """A field that is not sent has the API's default, and `when` matches it."""
    (task,) = job("prompts: [A fox]\noverrides: [{when: {aspect_ratio: 16:9, take: 1}, set: {priority: 7}}]\n")
    assert task.priority == 7


def test_a_prompt_walks_its_own_zip(job):
    tasks = job("prompts:\n  - id: t\n    prompt: '{{ p }} {{ v }}'\n    zip: {p: [a, b], v: [c, d]}\n  - A fox\n")
    assert [t.request["prompt"] for t in tasks] == ["a c", "b d", "A fox"]
    assert names(tasks) == ["t-a-c-t1", "t-b-d-t1", "a-fox-t1"]


def test_variables_of_the_command_line_replace_those_of_the_manifest(job):
    (task,) = job("vars: {who: fox}\nprompts: ['A {{ who }}']\n", variables={"who": "hare"})
    assert task.request["prompt"] == "A hare"
    (task,) = job("prompts: ['A {{ who }}']\n", variables={"who": "hare"})
    assert task.request["prompt"] == "A hare"


def test_what_fills_a_template_is_not_a_template(job, write):
    """Text from a file or the command line cannot pull other variables in."""
    write(rows_csv="who\n{{ secret }}\n")
    (task,) = job(
        "vars: {secret: s}\nprompts: [{file: rows.csv, template: 'A {{ who }}'}, ]\noutput: {name: '{{ secret }}'}\n"
    )
    assert task.request["prompt"] == "A {{ secret }}"


def test_the_negative_prompt_and_the_shots_are_templates_too(job):
    (task,) = job(
        "vars: {no: text, l: dusk}\nprompts: [A fox]\ndefaults:\n  model_name: kling-v3\n  duration: 3\n"
        "  negative_prompt: 'no {{ no }}'\n  multi_shot: true\n  shot_type: customize\n"
        "  multi_prompt: [{index: 1, prompt: 'at {{ l }}', duration: 3}]\n"
    )
    assert task.request["negative_prompt"] == "no text"
    assert task.request["multi_prompt"] == [{"index": 1, "prompt": "at dusk", "duration": "3"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompts: ['{{ a }}']\n", [("E209", 1, 12)]),
        ("prompts: ['{{ today }}']\n", [("E209", 1, 12)]),
        ("prompts:\n  - |\n    A fox\n    in {{ seasn }}\n", [("E209", 4, 8)]),
        ("prompts: ['{% for x in y %}']\n", [("E208", 1, 12)]),
        ("prompts: ['{{ x.__class__ }}']\n", [("E208", 1, 12)]),
        ("prompts: ['{{ x | upper | lwer }}']\nvars: {x: a}\n", [("E208", 1, 12), ("W404", 2, 8)]),
        ("prompts: [A fox, A fox]\n", [("E206", 1, 18)]),
        ("prompts: [{id: a, prompt: A fox}, {id: b, prompt: A fox}]\n", [("E206", 1, 35)]),
        ("prompts: [{id: café, prompt: A fox}, {id: CAFÉ, prompt: B}]\n", [("E205", 1, 43)]),
        ("prompts: [{id: café, prompt: A}, {id: cafe\u0301, prompt: B}]\n", [("E205", 1, 39)]),
        ("prompts: [{id: a b, prompt: A}, {id: a-b, prompt: B}]\n", [("E207", 1, 33)]),
        ("prompts: [A fox, '{{ l }}']\nmatrix: {l: [a, b]}\n", [("E206", 1, 11)]),
        ("prompts: [A fox]\nmatrix: {l: [a, b]}\n", [("E215", 2, 14)]),
        ("prompts: [A fox]\nmatrix: {aspect_ration: ['16:9']}\n", [("E215", 2, 26)]),
        ("prompts: [A fox]\nzip: {aspect_ratio: [16:9], mode: [std, pro]}\n", [("E210", 2, 1)]),
        ("prompts: [{prompt: '{{ a }}{{ b }}', zip: {a: [1, 2], b: [3]}}]\n", [("E210", 1, 38)]),
        ("prompts: [{id: 'x{{ l }}', prompt: '{{ l }}'}]\nmatrix: {l: [a, b]}\n", [("E209", 1, 18)]),
        ("prompts: ['{{ l }}']\nmatrix: {l: [a]}\nzip: {l: [b]}\n", [("E214", 3, 7)]),
        ("prompts: [{prompt: A fox, mode: pro}]\nmatrix: {mode: [std]}\n", [("E214", 1, 33)]),
        ("prompts: ['{{ take }}']\nvars: {take: x}\n", [("E214", 2, 8)]),
        ("prompts: ['{{ mode }}']\nvars: {mode: x}\n", [("E214", 2, 8)]),
        ("prompts: ['{{ id }}']\nmatrix: {id: [x]}\n", [("E214", 2, 10)]),
        ("prompts: ['" + "x" * 501 + "']\n", [("E211", 1, 11)]),
        ("prompts: [{prompt: '{{ a }}', a: ' '}]\n", [("E211", 1, 20)]),
        ("prompts: [A fox]\ndefaults: {negative_prompt: " + "x" * 201 + "}\n", [("E212", 2, 29)]),
        ("prompts: [{prompt: A fox, moode: pro}]\n", [("E102", 1, 27)]),
        ("prompts: [A fox]\nvars: {unused: 1}\n", [("W404", 2, 8)]),
        ("prompts: [A fox]\noverrides: [{when: {id: hare}, set: {mode: pro}}]\n", [("W403", 2, 14)]),
        ("prompts: [A fox]\nmatrix: {mode: [std, pro], exclude: [{mode: 4k}]}\n", [("W403", 2, 45)]),
        ("prompts: [A fox]\nmatrix: {mode: [std, pro], exclude: [{mod: std}]}\n", [("E102", 2, 39)]),
        ("prompts: [A fox]\nmatrix: {duration: [5, 7]}\n", [("E303", 2, 24)]),
        ("prompts: [A fox]\noverrides: [{when: {take: 1}, set: {duration: 7}}]\n", [("E303", 2, 47)]),
        ("prompts: [A fox]\ndefaults: {model_name: kling-v9}\n", [("W401", 2, 24)]),
        ("prompts: [A fox]\noutput: {name: '../{{ id }}'}\n", [("E213", 2, 16)]),
        ("prompts: [A fox]\noutput: {name: '/etc/{{ id }}'}\n", [("E213", 2, 16)]),
        ("prompts: [A fox]\noutput: {name: '{{ nobody }}'}\n", [("E209", 2, 16)]),
        ("prompts: [A fox]\noutput: {name: '{{ id | }}'}\n", [("E208", 2, 16)]),
        ("prompts: [A fox, A hare]\noutput: {name: clip}\n", [("E207", 1, 18)]),
        ("prompts: [A fox]\nedition: '{{ today }}'\noutput: {name: '{{ id }}'}\n", [("W405", 3, 16)]),
    ],
)  # fmt: skip
def test_what_only_whole_tasks_show_is_said_at_its_place(faults, text, expected):
    assert faults(text) == expected


def test_a_misspelt_variable_on_the_command_line_is_an_error(faults):
    """Otherwise other clips than meant would be paid for."""
    text = "vars: {who: fox}\nprompts: ['A {{ who }}']\n"
    assert faults(text, variables={"whoo": "x"}) == [("E102", 1, 1)]
    assert faults(text, variables={"who": "\udcff"}) == [("E111", 1, 1)]
    assert faults("prompts: ['A {{ mode }}']\n", variables={"mode": "x"}) == [("E214", 1, 1)]


def test_prompt_limits_can_be_raised(faults):
    """For gateways that follow Kling's own page: the negative prompt's limit goes with it."""
    text = "prompts: ['" + "x" * 900 + "']\ndefaults: {negative_prompt: " + "y" * 900 + "}\n"
    assert [code for code, *_ in faults(text)] == ["E211", "E212"]
    assert faults(text + "run: {prompt_limit: 900}\n") == []
    assert faults(text, prompt_limit=2500) == []
    assert [code for code, *_ in faults(text + "run: {prompt_limit: 2500}\n", prompt_limit=800)] == ["E211", "E212"]


def test_characters_are_counted_as_code_points(faults):
    assert faults("prompts: ['" + "🦊" * 500 + "']\n") == []


def test_tasks_stream_and_the_problems_come_at_the_end(write):
    """A caller that looks at each task sees all that can be made; nothing is bought before the end."""
    folder = write(job_yaml="prompts: [A fox, A fox, A hare]\n")
    seen = []
    manifest = load(folder / "job.yaml")
    with pytest.raises(ManifestError):
        seen.extend(manifest.expand(edition=""))
    assert [t.request["prompt"] for t in seen] == ["A fox", "A fox", "A hare"]


def test_warnings_of_the_expansion_can_be_had(write):
    folder = write(job_yaml="prompts: [A fox]\ndefaults: {model_name: kling-v9, mode: 4k, duration: 42}\n")
    problems = Problems()
    (task,) = load(folder / "job.yaml").expand(edition="", problems=problems)
    assert task.request["duration"] == "42", "an unknown model is passed on"
    assert [p.code for p in problems] == ["W401"]


def test_problems_inside_csv_and_json_lines_have_exact_places(faults, write):
    write(
        rows_csv='sku,product,mode\nA,"A ""big"", red\nchair",fast\nB,x\n',
        rows_jsonl='{"prompt": "a", "duration": 7.5}\n{"prompt": "b", "mood": {}}\n{"prompt"\n',
    )

    write(job_yaml="prompts: [{file: rows.csv, id: '{{ sku }}', template: '{{ product }}'}, {file: rows.jsonl}]\n")
    found = check([Path("job.yaml")], now=datetime(2026, 1, 1, tzinfo=UTC))
    assert [(p.code, p.place.file, p.place.line, p.place.column) for p in found] == [
        ("E103", "rows.csv", 3, 8),
        ("E203", "rows.csv", 4, 3),
        ("E114", "rows.jsonl", 1, 29),
        ("E104", "rows.jsonl", 2, 25),
        ("E203", "rows.jsonl", 3, 11),
    ]


WORDS = st.text(st.sampled_from("aäBç狐 .-/\\:~\u0301🦊%"), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(WORDS.filter(str.strip), min_size=1, max_size=6, unique=True),
    st.lists(WORDS.filter(str.strip), min_size=1, max_size=3, unique=True),
)
def test_whatever_ids_and_values_are_called_names_are_safe_and_unique(tmp_path_factory, ids, values):
    """Each task's files lie below the job's folder, under names that no file system confuses."""
    folder = tmp_path_factory.mktemp("names")
    prompts = [{"id": each, "prompt": f"{each} {{{{ v }}}}"} for each in ids]
    (folder / "job.yaml").write_text(
        json.dumps({"job": "j", "prompts": prompts, "matrix": {"v": values}}, ensure_ascii=False)
    )
    tasks, refused = [], False
    try:
        tasks.extend(load(folder / "job.yaml").expand(edition=""))
    except ManifestError as error:
        refused = True
        assert {p.code for p in error.problems} <= {"E205", "E206", "E207"}  # noqa: PT017
    for task in tasks:
        assert re.fullmatch(r"j/[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", task.output), task.output
        assert task.output == f"j/{task.name}"
    assert refused or len({task.name.casefold() for task in tasks}) == len(tasks) == len(ids) * len(values)


def test_moving_and_reordering_prompts_changes_no_task(job):
    """A task is its content: names and identities stay when lines move."""
    text = [
        "  - A fox leaps over a stream in the early morning light\n",
        "  - A hare\n",
        "  - {id: owl, prompt: An owl}\n",
    ]
    first = {content_hash(t, scope="s"): (t.name, t.output) for t in job("prompts:\n" + "".join(text))}
    again = {content_hash(t, scope="s"): (t.name, t.output) for t in job("prompts:\n" + "".join(reversed(text)))}
    assert first == again


def test_a_job_without_end_is_stopped(faults, monkeypatch):
    """A small file can ask for a great many tasks."""
    monkeypatch.setattr("batcher.manifest.expand.MAX_TASKS", 50)
    assert faults("prompts: ['{{ a }}', 'x{{ a }}']\nmatrix: {a: [" + ", ".join(map(str, range(60))) + "]}\n") == [
        ("E110", 1, 1)
    ]
    axes = ", ".join(f"{name}: [{', '.join(map(str, range(100)))}]" for name in "abc")
    assert faults(f"prompts: ['{{{{ a }}}} {{{{ b }}}} {{{{ c }}}}']\nmatrix: {{{axes}}}\n") == [("E110", 2, 1)]


def test_only_axes_that_vary_are_in_the_name(job):
    tasks = job(
        "prompts: ['A {{ l }} {{ s }} fox']\nmatrix: {l: [dawn], s: [may, june]}\noutput: {name: 'x{{ axes }}'}\n"
    )
    assert names(tasks) == ["x-may", "x-june"]
