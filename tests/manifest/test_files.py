from __future__ import annotations

import io
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batcher.manifest import LoadOptions, Problems, check, load
from batcher.manifest.rows import read_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def codes(path="jobs/job.yaml", **options):
    return [p.code for p in check([Path(path)], now=NOW, options=LoadOptions(**options))]


def rows(text, file):
    problems = Problems()
    lines = io.StringIO(text, newline="" if file.endswith(".csv") else "\n")
    return [r.values for r in read_rows(lines, file=file, whole=False, problems=problems)], [p.code for p in problems]


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "prompts/../../secret.txt", "../*.txt"])
def test_a_manifest_reads_nothing_outside_its_folder(write, name):
    """A stranger's manifest must not put your files into a prompt."""
    write(jobs__job_yaml=f"prompts: [{{file: '{name}'}}]\n", secret_txt="key\n")
    assert codes() == ["E202"]


def test_what_lies_outside_can_be_allowed(write):
    write(jobs__job_yaml="prompts: [{file: ../more.txt}]\n", more_txt="A fox\n")
    assert codes(allow_outside=True) == []
    task = next(load(Path("jobs/job.yaml"), allow_outside=True).expand(edition=""))
    assert task.source == "jobs/../more.txt:1"


def test_a_link_out_of_the_folder_is_refused(write, tmp_path):
    write(jobs__job_yaml="prompts: [{file: a.txt}, {file: 'links/*.txt'}]\n", secret_txt="key\n")
    (tmp_path / "jobs/links").mkdir()
    (tmp_path / "jobs/a.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "jobs/links/b.txt").symlink_to(tmp_path / "secret.txt")
    assert codes() == ["E202", "E202"]


def test_a_link_does_not_turn_another_file_into_prompts(write, tmp_path):
    """The key file beside the manifest has no suffix of a prompt file, under any name."""
    write(jobs__job_yaml="prompts: [{file: a.txt}, {file: .env}]\n", jobs__env="x")
    (tmp_path / "jobs/env").rename(tmp_path / "jobs/.env")
    (tmp_path / "jobs/a.txt").symlink_to(tmp_path / "jobs/.env")
    assert codes() == ["E103", "E103"]


@pytest.mark.parametrize("pattern", ["**/*.txt", "*/*/*.txt", "*/**/*.txt"])
def test_a_pattern_looks_into_no_folder_outside(write, tmp_path, monkeypatch, pattern):
    """A link to a folder outside, met on the way: what lies there is not even looked at, however deep the pattern."""
    write(jobs__job_yaml=f"prompts: [{{file: '{pattern}'}}]\n", jobs__a__b__in_txt="A fox\n")
    for n in range(300):
        write(**{f"outside__d{n}__x_txt": "secret\n"})
    (tmp_path / "jobs/a/link").symlink_to(tmp_path / "outside")
    (tmp_path / "jobs/link").symlink_to(tmp_path / "outside")
    monkeypatch.setattr("batcher.manifest.files.MAX_ENTRIES", 60)
    tasks = list(load(Path("jobs/job.yaml")).expand(edition=""))
    assert [task.request["prompt"] for task in tasks] == ["A fox"]


def test_a_pattern_in_a_folder_outside_is_refused(write, tmp_path):
    """`link/*.txt`, where the link leads out: the folder is named, not the files in it."""
    write(jobs__job_yaml="prompts: [{file: 'link/*.txt'}]\n", outside__x_txt="secret\n")
    (tmp_path / "jobs/link").symlink_to(tmp_path / "outside")
    (problem,) = check([Path("jobs/job.yaml")], now=NOW)
    assert problem.code == "E202"
    assert "x.txt" not in problem.message


def test_a_pattern_that_never_ends_is_stopped(write, monkeypatch):
    write(jobs__job_yaml="prompts: [{file: '**/**/*.txt'}]\n", **{f"jobs__d{n}__x_txt": "A\n" for n in range(30)})
    monkeypatch.setattr("batcher.manifest.files.MAX_ENTRIES", 50)
    assert codes() == ["E110"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_does_not_hang(write, tmp_path):
    write(jobs__job_yaml="prompts: [{file: a.txt}]\n")
    os.mkfifo(tmp_path / "jobs/a.txt")
    found = []
    worker = threading.Thread(target=lambda: found.extend(codes()), daemon=True)
    worker.start()
    worker.join(10)
    assert found == ["E100"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff\xfeA\x00", "E108"),
        (b"A caf\xe9\n", "E108"),
        (b"x" * 5000, "E100"),
        (b"\n# only a comment\n", "E204"),
    ],
)
def test_a_prompt_file_that_cannot_be_used_is_said(write, content, code):
    write(jobs__job_yaml="prompts: [{file: a.txt}]\n", jobs__a_txt=content)
    assert codes(max_bytes=4000) == [code]


@pytest.mark.parametrize("pattern", ["none.txt", "none/*.txt", "a**b/x.txt", "'[*.txt'", "''"])
def test_a_pattern_without_files_is_said(write, pattern):
    write(jobs__job_yaml=f"prompts: [{{file: {pattern}}}]\n")
    assert codes() in (["E201"], ["E105"])


def test_all_kinds_of_files_make_prompts(write):
    write(
        jobs__job_yaml=(
            "vars: {brand: N}\nprompts:\n"
            "  - {file: p.csv, id: '{{ sku }}', template: '{{ product }} by {{ brand }}', mode: pro}\n"
            "  - {file: q.csv}\n"
            "  - {file: l.txt, aspect_ratio: 9:16}\n"
            "  - {file: 's/*.txt', template: 'Scene: {{ prompt }}'}\n"
            "  - {file: o.jsonl}\n"
        ),
        jobs__p_csv='\ufeffsku,product,mode\r\nA-1,"A chair, red",\r\n\r\nA-2,Lamp,std\r\n',
        jobs__q_csv="id,prompt,cfg_scale,multi_shot,camera_control\nq,An owl,0.5,,\n",
        jobs__l_txt="# filler\n\n  A train  \n",
        jobs__s__b_txt="B\nb\n",
        jobs__s__a_txt="A\n",
        jobs__o_jsonl='{"id": "d", "prompt": "A drone over {{ town }}", "town": "Ulm", "duration": 10, "x": null}\n',
    )
    tasks = list(load(Path("jobs/job.yaml")).expand(edition=""))
    assert [(t.name, t.source, t.request) for t in tasks] == [
        ("A-1-t1", "jobs/p.csv:2", {"prompt": "A chair, red by N", "mode": "pro"}),
        ("A-2-t1", "jobs/p.csv:4", {"prompt": "Lamp by N", "mode": "std"}),
        ("q-t1", "jobs/q.csv:2", {"prompt": "An owl", "cfg_scale": 0.5}),
        ("a-train-t1", "jobs/l.txt:3", {"prompt": "A train", "aspect_ratio": "9:16"}),
        ("a-t1", "jobs/s/a.txt:1", {"prompt": "Scene: A"}),
        ("b-t1", "jobs/s/b.txt:1", {"prompt": "Scene: B\nb"}),
        ("d-t1", "jobs/o.jsonl:1", {"prompt": "A drone over Ulm", "duration": "10"}),
    ]
    assert tasks[0].variables == {"brand": "N", "product": "A chair, red", "sku": "A-1"}


@pytest.mark.parametrize(
    ("text", "codes_"),
    [
        ("a,b\n1,2,3\n", ["E203"]),
        ("a,b\n1\n", ["E203"]),
        ("a;b\n1;2\n", ["E203"]),
        ("a,a\n1,2\n", ["E107"]),
        ("a,\n1,2\n", ["E203"]),
        ('a,b\n"1,2\n', ["E203"]),
        ('a\n"1"2\n', ["E203"]),
    ],
)
def test_a_broken_table_is_said(text, codes_):
    assert rows(text, "x.csv") == ([], codes_)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"a": 1, "a": 2}', "E203"),
        ('{"a": NaN}', "E111"),
        ('{"a": 1e999}', "E111"),
        ('{"a": 9223372036854775808}', "E111"),
        ('{"a": ' + "9" * 5000 + "}", "E203"),
        ('{"a": "\\ud800"}', "E111"),
        ('{"a": "\\u0000"}', "E111"),
        ("[" * 100_000, "E203"),
        ("[1]", "E203"),
        ("{'a': 1}", "E203"),
    ],
)
def test_a_broken_line_is_said_and_the_others_are_read(line, code):
    assert rows(f'{{"a": 1}}\n{line}\n{{"a": 3}}\n', "x.jsonl") == ([{"a": 1}, {"a": 3}], [code])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"prompt": "a", "take": 1}\n', "E214"),
        ('{"prompt": "a", "zip": {}}\n', "E214"),
        ('{"prompt": "a", "params": {"callback_url": "x"}}\n', "E113"),
        ('{"id": "a"}\n', "E106"),
    ],
)
def test_a_row_is_held_to_the_rules_of_an_entry(write, text, code):
    write(jobs__job_yaml="prompts: [{file: a.jsonl}]\n", jobs__a_jsonl=text)
    assert codes() == [code]


def test_too_many_files_are_refused(write, monkeypatch):
    monkeypatch.setattr("batcher.manifest.files.MAX_FILES", 2)
    write(jobs__job_yaml="prompts: [{file: '*.txt'}]\n", jobs__a_txt="A", jobs__b_txt="B", jobs__c_txt="C")
    assert codes() == ["E110"]


def test_a_cell_that_is_no_number_is_said_at_its_place(write):
    write(jobs__job_yaml="prompts: [{file: a.csv}]\n", jobs__a_csv="prompt,cfg_scale\nA fox,half\n")
    (problem,) = check([Path("jobs/job.yaml")], now=NOW)
    assert (problem.code, str(problem.place), problem.place.column) == ("E104", "jobs/a.csv:2", 7)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_file_name_that_is_not_text_is_refused(write, tmp_path):
    """It could not be stored in the state."""
    write(jobs__job_yaml="prompts: [{file: '*.txt'}]\n")
    (tmp_path / "jobs" / os.fsdecode(b"caf\xe9.txt")).write_text("A fox")
    assert codes() == ["E111"]
    (tmp_path / os.fsdecode(b"caf\xe9.yaml")).write_text("prompts: [A fox]\n")
    assert codes(os.fsdecode(b"caf\xe9.yaml")) == ["E111"]


def test_ids_of_rows_may_be_numbers(write):
    write(jobs__job_yaml="prompts: [{file: a.jsonl}]\n", jobs__a_jsonl='{"id": 7, "prompt": "A fox"}\n')
    assert [t.name for t in load(Path("jobs/job.yaml")).expand(edition="")] == ["7-t1"]


def test_the_template_of_a_file_wins_over_a_rows_own_prompt(write):
    write(
        jobs__job_yaml="prompts: [{file: a.jsonl, template: '{{ prompt }}, at {{ light }}'}]\n",
        jobs__a_jsonl='{"prompt": "A fox", "light": "dusk"}\n',
    )
    assert [t.request["prompt"] for t in load(Path("jobs/job.yaml")).expand(edition="")] == ["A fox, at dusk"]
