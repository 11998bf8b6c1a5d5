"""Inputs that nobody meant: noise, and good manifests broken in one place or many."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import strategies as st

SHOWCASE = (Path(__file__).parents[2] / "jobs" / "showcase.yaml").read_text(encoding="utf-8")
LINES = SHOWCASE.splitlines(keepends=True)

KEYS = re.findall(
    r"\S+",
    """
    version job provider edition defaults vars prompts matrix zip takes overrides output run budget notify schedule
    id prompt file template params exclude include when set dir name mode duration aspect_ratio model_name cfg_scale
    camera_control negative_prompt multi_prompt priority attempts timeout max_usd max_failures cron timezone url on
    x-mine callback_url external_task_id sound shot_type voice_list
""",
)

ODD = re.findall(
    r"\S+",
    """
    16:9 5 1e999 .nan 0x10 kling-v1-6 std CON -rf .. -1 30m 20% Europe/Berlin {{today}} {{a|slug}} {{a.__class__}}
    {%set ${HOME} ../x /etc/passwd **/*.txt \0 \ud800 \x1b]0;x
""",
)

WORDS = st.one_of(
    st.sampled_from([*KEYS, *ODD, "", " ", "é" * 600, "a" * 300, "9" * 400]),
    st.text(max_size=12),
)

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)
"""Anything that YAML or JSON can say, under keys that mean something as often as not."""

MANIFESTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8).map(
    lambda data: {"prompts": ["A {{ a }} fox"], "vars": {"a": "red"}} | data
)

TOKENS = (
    *"[]{}:#\"'|>%@`?,\n\t\ufeff\x00\x85\u2028",
    *(": ", "- ", "  ", "&a ", "*a", "<<: *a", "!!python/name:os.system ", "---\n", "...", "[" * 50, "a: " * 30),
)


@st.composite
def broken(draw) -> str:
    """The showcase with some lines gone, doubled, moved, or with a token put in."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, draw(st.sampled_from(LINES)))
            case 2:
                column = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:column] + draw(st.sampled_from(TOKENS)) + lines[at][column:]
            case 3:
                lines[at] = lines[at].replace(draw(st.sampled_from(" :-{}[]\"'a1")), draw(st.sampled_from(TOKENS)), 1)
            case _:
                lines[at] = draw(WORDS) + "\n"
        if not lines:
            break
    return "".join(lines)
