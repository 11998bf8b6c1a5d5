"""Whatever a file holds: tasks, or problems with their places. Never another error, and never a long wait."""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.manifest import ManifestError, check, load, render_github, render_json, render_text
from manifest.garbage import MANIFESTS, VALUES, WORDS, broken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = 5.0
"""A limit that only a hang, or work that grows with no bound, reaches on a busy machine."""

TRIED = {"inputs": 0, "good": 0}
EXAMPLES = int(os.environ.get("BATCHER_GARBAGE", "150"))
"""For each of the properties; `BATCHER_GARBAGE=20000` tries a lot more."""

tries = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def read(content: bytes, prompts: bytes = b"", suffix: str = "txt") -> None:
    """Load it and look at it as every verb does; raises what a verb would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.yaml")
        path.write_bytes(content)
        Path(folder, f"p.{suffix}").write_bytes(prompts)
        began = time.monotonic()
        try:
            tasks = sum(1 for _ in load(path).expand(edition="x"))
        except ManifestError as error:
            tasks = 0
            told = len(error.problems)
        else:
            told = 0
        problems = check([path], now=NOW)
        for render in (render_text, render_json, render_github):
            assert isinstance(render(problems), str)
        assert tasks or told, "an error without a problem helps nobody"
        assert time.monotonic() - began < LONG_S
        TRIED["inputs"] += 1
        TRIED["good"] += bool(tasks)


@tries
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
)
def test_noise(content):
    read(content)


@tries
@given(broken())
def test_a_good_manifest_broken_in_a_few_places(text):
    read(text.encode(errors="surrogatepass"))


@tries
@given(MANIFESTS)
def test_any_values_under_the_known_keys(data):
    """As YAML would write them, and as JSON, which is YAML too."""
    read(json.dumps(data).encode())
    try:
        dumped = yaml.safe_dump(data, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError):
        return
    read(dumped.encode(errors="surrogatepass"))


ROWS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.lists(WORDS, max_size=4).map(",".join), max_size=5).map(
        lambda rows: "\n".join(rows).encode(errors="replace")
    ),
    st.lists(VALUES.map(json.dumps), max_size=4).map(lambda rows: "\n".join(rows).encode()),
)


@tries
@given(ROWS, st.sampled_from(["txt", "csv", "jsonl"]), st.sampled_from(["{{ prompt }}", "x {{ id }}", None]))
def test_any_file_of_prompts(rows, suffix, template):
    entry = {"file": f"p.{suffix}"} | ({"template": template} if template else {})
    read(json.dumps({"prompts": [entry]}).encode(), rows, suffix)


def test_enough_was_tried_and_some_of_it_was_good():
    """Runs last: noise that is refused at its first byte would prove little."""
    if TRIED["inputs"]:
        assert TRIED["inputs"] >= 3 * EXAMPLES
        assert TRIED["good"] >= EXAMPLES / 10
