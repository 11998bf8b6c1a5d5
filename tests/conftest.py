"""What all tests share: the long suite is asked for by name, and its seeds by number."""

from __future__ import annotations

import pytest
from siege import Siege
from storm import Storm


def pytest_addoption(parser):
    parser.addoption(
        "--seeds", type=int, default=2, metavar="N", help="how many random courses each test of tests/chaos takes"
    )


def pytest_ignore_collect(collection_path, config):
    """`pytest` alone is the fast part; `pytest tests/chaos` is the long one."""
    if collection_path.name == "chaos" and not any("chaos" in str(argument) for argument in config.args):
        return True
    return None


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames and "chaos" in metafunc.definition.nodeid:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


@pytest.fixture
def storm(tmp_path, request):
    """Make a storm; in a report (`--junit-xml`) each test says how often it killed."""
    opened: list[Storm] = []

    def make(tasks: int, *simulate: str, **more: int) -> Storm:
        opened.append(Storm(tmp_path, tasks, *simulate, **more))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
        request.node.user_properties.append(("kills", each.kills))


@pytest.fixture
def siege(tmp_path):
    opened: list[Siege] = []

    def make(tasks: int) -> Siege:
        folder = tmp_path / f"siege-{len(opened)}"
        folder.mkdir()
        opened.append(Siege(folder, tasks))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
