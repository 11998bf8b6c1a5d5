"""Errors a tired person can use: each one has a cause, a word on money, and a next step, in the code and in docs."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import batcher
from batcher.cli.entry import VERBS
from batcher.errors import BatcherError
from batcher.events import Outcome
from batcher.generations import RefusalKind
from batcher.manifest.problems import CODES
from batcher.policy.retry import FailureClass
from batcher.providers.kling import KINDS
from batcher.report import errors as explained
from batcher.report.errors import Explanation, errors_document
from batcher.runner.outcome import RANK
from batcher.tasks import ErrorCode

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "batcher").rglob("*.py"))}


def classes(of=BatcherError):
    for module in pkgutil.walk_packages(batcher.__path__, "batcher."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {of}.union(*(classes(sub) for sub in of.__subclasses__()))


def calls(*names):
    """Every call of these names in the package, with where it stands."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and (called := getattr(node.func, "id", getattr(node.func, "attr", ""))) in names
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {called}", node


def test_the_page_is_made_from_the_code():
    """Change the texts in `batcher/report/errors.py`, then run `.ci/errors-doc`."""
    assert PAGE.read_text(encoding="utf-8") == errors_document(KINDS)


def test_everything_that_can_go_wrong_is_explained():
    assert set(explained.ERRORS) == classes()
    assert set(explained.TASK_CODES) == set(ErrorCode)
    assert set(explained.CLASSES) == set(FailureClass)
    assert set(explained.REFUSALS) == set(RefusalKind)
    assert set(explained.OUTCOMES) == set(Outcome)
    assert set(explained.EXITS) == set(RANK)
    assert {kind.exit_code for kind in explained.ERRORS} <= set(explained.EXITS)
    for code in (*KINDS, *CODES):
        assert f"`{code}`" in PAGE.read_text(encoding="utf-8")


TOLD = [
    (what, told)
    for table in (explained.EXITS, explained.ERRORS, explained.TASK_CODES, explained.REFUSALS, explained.OUTCOMES)
    for what, told in table.items()
]


@pytest.mark.parametrize(("what", "told"), TOLD, ids=str)
def test_an_explanation_says_why_whether_it_was_paid_and_what_to_type(what, told: Explanation):
    assert all(len(part) > 3 for part in told)
    verbs = re.findall(r"`batcher (\S+?)[` ]", " ".join(told))
    assert set(verbs) <= {*VERBS, "COMMAND"}


def test_every_error_says_what_to_do_next():
    """`message` is what happened and where, `hint` what to type; a run that is stopped has both too."""
    names = {kind.__name__ for kind in classes()} - {"ManifestError"}  # it makes its own, of the file's name
    found = [(where, call) for where, call in calls(*names, "Stop") if "click" not in ast.unparse(call.func)]
    assert len(found) > 75, "the search finds them"
    assert [where for where, call in found if not any(keyword.arg == "hint" for keyword in call.keywords)] == []


def test_a_tasks_error_code_is_one_of_ours_or_the_providers():
    """No code is made up on the way: each is of `ErrorCode`, so it is explained, or came from the provider."""
    found = []
    for where, call in calls("failed", "troubled", "_fail", "_move", "tell"):
        values = [keyword.value for keyword in call.keywords if keyword.arg in ("code", "error_code", "error_class")]
        values += [part for k in call.keywords if isinstance(k.value, ast.Tuple) for part in k.value.elts[:2]]
        values += call.args[:2] if where.endswith("_fail") else []
        found += [(where, value) for value in values]
    assert len(found) >= 12, "the search finds them"
    assert [where for where, value in found if isinstance(value, ast.Constant) and value.value is not None] == []
