"""Cheap facts about the house. The floors themselves are held by import-linter (`.importlinter`, run by CI)."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from pathlib import Path

import pytest

import batcher
from batcher import errors
from batcher.tasks import NEXT, Status

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "batcher"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_lives_in_it(path):
    assert docstring(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_long_module_says_why_it_is_long(path):
    """Over 400 lines a module is split, or its docstring has a line that begins `Long because`."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES or "Long because" in docstring(path)


def test_the_error_tree_is_drawn_as_it_is():
    """The docstring of `errors` shows every class, where it hangs, and how the process ends by it."""
    drawn, ancestors = {}, []
    for indent, name, code in re.findall(r"^([ │├└─]*)(\w+Error)(?: +(\d+))?", errors.__doc__, re.MULTILINE):
        del ancestors[(len(indent) - 4) // 4 :]
        drawn[name] = (ancestors[-1] if ancestors else "Exception", int(code or errors.BatcherError.exit_code))
        ancestors.append(name)
    assert drawn == real_error_tree()


def real_error_tree():
    """Every class below BatcherError, wherever it is defined: its parent and its exit code."""
    classes = {
        node.name: node
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.bases
    }
    tree = {"BatcherError": ("Exception", errors.BatcherError.exit_code)}
    grown = 0
    while grown < len(tree):
        grown = len(tree)
        for name, node in classes.items():
            parent = ast.unparse(node.bases[0])
            if parent in tree:
                own = [ast.unparse(line.value) for line in node.body if ast.unparse(line).startswith("exit_code = ")]
                tree[name] = (parent, int(own[0]) if own else tree[parent][1])
    return tree


def test_the_public_names_are_listed_sorted_and_exist():
    assert batcher.__all__ == sorted(batcher.__all__)
    assert [name for name in batcher.__all__ if not hasattr(batcher, name)] == []


def test_type_checkers_see_exactly_the_public_names():
    """The names are loaded late, so they stand twice in `batcher/__init__.py`: for machines and for people."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    ours = (
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module).startswith("batcher")
    )
    assert sorted(alias.asname or alias.name for node in ours for alias in node.names) == batcher.__all__


def test_every_status_can_be_reached_and_says_what_follows():
    reached, open_ends = set(), {Status.PENDING}
    while open_ends:
        reached |= open_ends
        open_ends = set().union(*(NEXT[status] for status in open_ends)) - reached
    assert reached == set(NEXT) == set(Status)


def test_no_committed_file_names_a_package_registry():
    """Where packages come from is the machine's business."""
    addresses = ["pypi" + ".org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian.org"]
    options = ["--" + "index-url", "--extra-" + "index-url", "--find-" + "links", "--trusted-" + "host"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    named = {
        (name, word)
        for name in filter(None, listed.split("\0"))
        if (ROOT / name).is_file()
        for word in addresses + options
        if word.encode() in (ROOT / name).read_bytes()
    }
    assert named == set()


def test_the_simulator_is_kept_a_stranger_to_every_room():
    """The contract names each room, so a new room has to be added to it."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    listed = set(contracts["importlinter:contract:stranger"]["forbidden_modules"].split())
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert listed == {f"batcher.{room}" for room in rooms - {"__init__", "__main__", "simulator"}}
