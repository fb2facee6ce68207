"""Locks of files."""

import errno

import pytest

from jaxdl.errors import UserError
from jaxdl.flock import exclusive


def test_a_file_system_without_locks_is_accepted(tmp_path, monkeypatch):
    def unsupported(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with exclusive(tmp_path / "new" / "lock"):
        assert (tmp_path / "new" / "lock").exists()


def test_a_lock_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot write"), exclusive(tmp_path):
        pass
