from __future__ import annotations

import errno
import os

import pytest

from batcher.errors import exhausted


@pytest.mark.parametrize(
    ("exc", "message"),
    [
        (MemoryError(), "out of memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many open files"),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), "too many open files"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (ImportError("libav.so: failed to map segment from shared object"), "libav.so: failed to map"),
    ],
)
def test_a_machine_at_its_end_is_told_from_a_defect(exc, message):
    error = exhausted(exc)
    assert error is not None
    assert message in error.message
    assert error.exit_code == 78
    assert "run again" in error.hint


@pytest.mark.parametrize("exc", [OSError(errno.ENOENT, "No such file"), RuntimeError("a defect"), KeyError("x")])
def test_anything_else_is_not_the_machines_fault(exc):
    assert exhausted(exc) is None
