from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from batcher.cli.check import check
from batcher.cli.init import FILES, init
from batcher.cli.schema import schema
from batcher.manifest import json_schema


def call(command, *args):
    done = CliRunner().invoke(command, list(args), standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


def test_check_counts_and_prices_a_good_manifest(write):
    write(job_yaml="prompts: [A fox, A hare]\n", paid_yaml="provider: cometapi\nprompts: [A fox]\n")
    assert call(check, "job.yaml", "paid.yaml") == (
        0,
        "job.yaml: 2 tasks, free on the simulator ($0.26 at CometAPI)\npaid.yaml: 1 task, $0.13\n",
        "",
    )


def test_check_reports_all_manifests_and_exits_with_2(write):
    """Results go to stdout, problems to stderr."""
    write(a_yaml="prompts: []\n", b_yaml="prompts: [A fox]\n", c_yaml="prompts: [x]\njobb: x\n")
    code, out, err = call(check, "a.yaml", "b.yaml", "c.yaml")
    assert code == 2
    assert out == "b.yaml: 1 task, free on the simulator ($0.13 at CometAPI)\n"
    assert "error[E105]: a.yaml:1:10" in err
    assert "error[E102]: c.yaml:2:1: jobb" in err
    assert "1 problem in c.yaml. Nothing was sent. Next: fix and run  batcher check c.yaml" in err


def test_strict_takes_warnings_for_errors(write):
    write(job_yaml="prompts: [A fox]\nvars: {unused: 1}\n")
    assert call(check, "job.yaml")[0] == 0
    code, out, err = call(check, "job.yaml", "--strict")
    assert (code, out) == (2, "")
    assert "1 warning in job.yaml" in err


@pytest.mark.parametrize("output_format", ["json", "github"])
def test_other_formats_go_to_stdout(write, output_format):
    write(job_yaml="prompts: [A fox]\njobb: x\n")
    code, out, err = call(check, "job.yaml", "--output-format", output_format)
    assert (code, err) == (2, "")
    if output_format == "json":
        (problem,) = json.loads(out)["problems"]
        assert (problem["file"], problem["line"], problem["column"], problem["end_column"]) == ("job.yaml", 2, 1, 5)
    else:
        assert out.startswith("::error file=job.yaml,line=2,col=1,")


def test_variables_come_from_the_command_line(write):
    write(job_yaml="prompts: ['A {{ who }}']\n")
    assert call(check, "job.yaml", "--var", "who=fox")[0] == 0
    assert call(check, "job.yaml")[0] == 2
    with pytest.raises(Exception, match="--var name=value"):
        call(check, "job.yaml", "--var", "who")


def test_schema_prints_the_schema():
    code, out, _ = call(schema)
    assert (code, json.loads(out)) == (0, json_schema())


def test_init_writes_files_that_pass_the_check_and_overwrites_none(tmp_path):
    code, out, _ = call(init, str(tmp_path))
    assert code == 0
    assert out.count("written") == len(FILES)
    assert call(check, str(tmp_path / "jobs/first.yaml"))[0] == 0
    (tmp_path / ".gitignore").write_text("mine\n")
    code, out, _ = call(init, str(tmp_path))
    assert code == 0
    assert out.count("kept") == len(FILES)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert ".env\n" in FILES[".gitignore"]
    assert "\nCOMETAPI_KEY" not in FILES[".env.example"], "the key's line is a comment"


def test_a_file_that_is_too_large_can_be_allowed(write):
    """16 MB by default; the flag that raises it is named where it is needed."""
    write(job_yaml="prompts: [{file: p.txt}]\n", p_txt="A fox\n" + "# filler\n" * 150_000)
    code, _, err = call(check, "job.yaml", "--max-file-mb", "1")
    assert (code, "--max-file-mb" in err) == (2, True)
    assert call(check, "job.yaml")[0] == 0
