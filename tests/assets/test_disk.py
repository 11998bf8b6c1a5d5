"""Files that are whole or not there, and disks that are full, closed or prepared by somebody else."""

import contextlib
import os
import resource
import stat
import subprocess
from pathlib import Path

import pytest

from batcher.assets import disk
from batcher.assets.disk import inside, open_part, write_whole
from batcher.errors import DiskError


def write(final, data, **options):
    part = open_part(final)
    part.sink.write(data)
    (part.replace if options.get("replace") else part.publish)(final)
    return part


# ---- publishing -------------------------------------------------------------------------------------------------


def test_a_part_is_hidden_and_becomes_its_final_name_at_once(tmp_path):
    part = open_part(tmp_path / "new" / "clip.mp4")
    assert part.path == tmp_path / "new" / ".clip.mp4.part"
    part.sink.write(b"clip")
    part.publish(tmp_path / "new" / "clip.mp4")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"clip.mp4": b"clip"}


def test_publishing_changes_nothing_that_has_the_name(tmp_path):
    """A file, a folder, a link to a file and a link to nowhere all keep their name."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / "file").write_bytes(b"theirs")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link", "dangling"):
        part = open_part(tmp_path / name)
        part.sink.write(b"ours")
        with pytest.raises(FileExistsError):
            part.publish(tmp_path / name)
        part.discard()
    assert (tmp_path / "file").read_bytes() == victim.read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "folder", "link", "victim"]


def test_a_file_system_without_hard_links_is_good_enough(tmp_path, monkeypatch):
    def link(*_, **__):
        raise OSError(disk.errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "clip.mp4", b"clip")
    part = open_part(tmp_path / "clip.mp4")
    with pytest.raises(FileExistsError):
        part.publish(tmp_path / "clip.mp4")
    part.discard()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"clip.mp4": b"clip"}


def test_replacing_a_link_leaves_what_it_leads_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / "note.json").symlink_to(victim)
    write_whole(tmp_path / "note.json", b"ours")
    assert (victim.read_bytes(), (tmp_path / "note.json").read_bytes()) == (b"theirs", b"ours")


def test_discarding_after_publishing_spares_the_next_part_of_that_name(tmp_path):
    first = write(tmp_path / "clip.mp4", b"clip")
    second = open_part(tmp_path / "clip.mp4")
    first.discard()
    assert second.path.exists()
    second.discard()
    assert not second.path.exists()


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".clip.mp4.part").write_bytes(b"half a clip, longer than the next")
    assert write(tmp_path / "clip.mp4", b"clip")
    assert (tmp_path / "clip.mp4").read_bytes() == b"clip"


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_something_planted_at_the_hidden_name_is_an_error(tmp_path, kind):
    victim, planted = tmp_path / "victim", tmp_path / ".clip.mp4.part"
    victim.write_bytes(b"theirs")
    match kind:
        case "link":
            planted.symlink_to(victim)
        case "dangling":
            planted.symlink_to(tmp_path / "nowhere")
        case "folder":
            planted.mkdir()
        case "pipe":
            os.mkfifo(planted)
    with pytest.raises(FileExistsError):
        open_part(tmp_path / "clip.mp4")
    assert os.path.lexists(planted)
    assert victim.read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()


def test_clips_are_for_everybody_to_read_and_private_files_are_not(tmp_path):
    before = os.umask(0o022)
    try:
        write(tmp_path / "clip.mp4", b"clip")
        write_whole(tmp_path / "private", b"{}", mode=0o600)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"clip.mp4": 0o644, "private": 0o600}


# ---- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", ".", "..", "../x", "a/../../x", "a/..", "/etc/passwd", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    with pytest.raises(DiskError, match="leads out"):
        inside(tmp_path, path)


def test_a_link_out_of_the_folder_is_not_followed_and_one_within_is(tmp_path):
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (root / "real").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "away").symlink_to(elsewhere)
    (root / "near").symlink_to(root / "real")
    with pytest.raises(DiskError, match="leads out"):
        inside(root, "away/clip")
    with pytest.raises(DiskError, match="leads out"):
        inside(root, "away/deeper/clip")
    assert inside(root, "near/clip") == root / "near" / "clip"


def test_the_output_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "big-disk")
    assert inside(tmp_path / "out", "job/clip") == tmp_path / "out" / "job" / "clip"


# ---- disks ------------------------------------------------------------------------------------------------------


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    disk.prepare(tmp_path / "a" / "b", 1)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(DiskError, match="a file stands where") as caught:
        disk.prepare(tmp_path / "out" / "job", 1)
    assert "--out" in caught.value.hint


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to: /proc")
def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(DiskError, match="cannot write /proc/self"):
        disk.prepare(Path("/proc/self/out"), 1)


def test_too_little_space_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(DiskError, match=r"MB free, 1,000,000,000,000 MB needed"):
        disk.check_space(tmp_path, 10**18)
    assert disk.space_for(2) == disk.space_for(0) + 2 * disk.CLIP_BYTES


@contextlib.contextmanager
def small_files(folder):
    """A limit on file sizes, for the body alone: outside of it the test runner's own output could meet the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder):
    """A file system without room."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system; the limit on file sizes stands in for it")
    try:
        with (folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full", [small_disk, small_files])
def test_a_full_disk_leaves_no_file_and_names_the_free_bytes(tmp_path, full):
    """Whether at writing or only at the flush before publishing."""
    with full(tmp_path):
        for size in (200_000, 2_000):
            final = tmp_path / "clip.mp4"
            with pytest.raises(DiskError, match=r"clip\.mp4: .* bytes free\)"), disk.disk_errors(final):
                write_whole(final, b"x" * size)
            assert [path.name for path in tmp_path.iterdir() if path.name != "ballast"] == []
