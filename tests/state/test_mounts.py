"""A state on a network folder: recognised from the kernel's list of mounts, and kept without shared memory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batcher.state import mounts
from batcher.state import store as store_module
from batcher.state.mounts import kind_of, network_mount
from batcher.state.store import Store

LIST = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /home rw - nfs4 server:/export/home rw,vers=4.2
41 40 0:46 / /home/ann/local\\040disk rw - xfs /dev/sdb1 rw
42 22 0:47 / /media/share rw - cifs //nas/share rw
43 22 0:48 / /media/share rw - ext4 /dev/sdc1 rw
44 22 0:49 / /mnt/sea rw - fuse.sshfs ann@sea:/ rw
nonsense
45 22 - broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/state.db", "ext4"),
        ("/home/ann/state.db", "nfs4"),
        ("/home/ann/local disk/state.db", "xfs"),
        ("/homestead/state.db", "ext4"),
        ("/media/share/state.db", "ext4"),  # mounted over the other
        ("/mnt/sea/a/b/state.db", "fuse.sshfs"),
    ],
)
def test_a_file_is_of_the_deepest_and_last_mount_above_it(path, kind):
    assert kind_of(Path(path), LIST) == kind


def test_where_nothing_is_listed_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert network_mount(tmp_path) is None
    assert kind_of(tmp_path, "") is None


def test_this_machines_own_list_is_read(tmp_path):
    """A temporary folder is local; the list itself is there on Linux."""
    assert not mounts.MOUNTS.exists() or kind_of(tmp_path.resolve(), mounts.MOUNTS.read_text())
    assert network_mount(tmp_path) is None


@pytest.mark.parametrize("is_new", [True, False])
def test_a_state_on_a_network_folder_shares_no_memory(tmp_path, monkeypatch, is_new):
    """TRUNCATE and FULL lost no commit either; a state that came from a local disk is changed over."""
    path = tmp_path / "state.db"
    if not is_new:
        Store(path).close()
        assert _mode(path) == "wal"
    monkeypatch.setattr(store_module, "network_mount", lambda _: "nfs4")
    store = Store(path)
    try:
        assert store.lies_on == "nfs4"
        assert _mode(path) == "truncate"
        assert not path.with_name("state.db-shm").exists()
    finally:
        store.close()


def _mode(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return "wal" if mode == "wal" else "truncate"  # a mode other than WAL is each connection's own
