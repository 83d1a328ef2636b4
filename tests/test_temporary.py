"""Temporary folders go with their process; the next process removes those of killed ones and no others."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from jaxrnn.data import temporary


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def abandoned(place, process=7):
    """What a killed process has left: its lock ended with it."""
    left = Path(tempfile.mkdtemp(prefix=f"jaxrnn-{process}-{temporary._machine_id()}-", dir=place))
    (left / temporary.CONTENT).mkdir()
    (left / temporary.CONTENT / "file").touch()
    (left / temporary.LOCK).touch()
    return left


def test_a_folder_is_empty_and_gone_at_the_end(place):
    with temporary.folder() as own:
        assert list(own.iterdir()) == []
        assert place in own.parents
        (own / "file").touch()
    assert list(place.iterdir()) == []


def test_a_folder_is_gone_after_an_error(place):
    with pytest.raises(KeyError), temporary.folder():
        raise KeyError
    assert list(place.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed(place):
    left = abandoned(place)
    with temporary.folder():
        assert not left.exists()


class Killed(BaseException):
    """The process is gone."""


def left_at_the_end(place):
    with temporary.folder() as own:
        (own / "file").touch()


def left_by_an_error(place):
    with temporary.folder() as own:
        (own / "file").touch()
        raise KeyError


def removed_as_own(place):
    abandoned(place, os.getpid())
    temporary.remove_own()


def removed_as_abandoned(place):
    abandoned(place)
    temporary.remove_abandoned(place)


@pytest.mark.parametrize("remove", [left_at_the_end, left_by_an_error, removed_as_own, removed_as_abandoned])
def test_what_a_process_killed_while_it_removes_has_left_is_removed(place, monkeypatch, remove):
    def killed(path, ignore_errors):
        files = sorted((each for each in path.rglob("*") if each.is_file()), key=lambda file: file.name != temporary.LOCK)
        files[0].unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            remove(place)
    assert len(list(place.iterdir())) == 1
    temporary.remove_abandoned(place)
    assert list(place.iterdir()) == []


def test_what_could_not_be_removed_is_removed_by_the_next_process(place, monkeypatch):
    with monkeypatch.context() as patch:
        rmtree = shutil.rmtree
        patch.setattr(shutil, "rmtree", lambda path, **how: path.name == temporary.CONTENT or rmtree(path, **how))
        left_at_the_end(place)
    assert len(list(place.rglob("file"))) == 1
    temporary.remove_abandoned(place)
    assert list(place.iterdir()) == []


def test_the_folder_of_a_live_process_stays(place):
    with temporary.folder() as first, temporary.folder() as second:
        temporary.remove_abandoned(place)
        assert first.exists()
        assert second.exists()


def test_a_folder_whose_process_has_not_locked_it_yet_stays(place):
    (abandoned(place) / temporary.LOCK).rename(place / "lock.new")
    temporary.remove_abandoned(place)
    assert len(list(place.glob("jaxrnn-*"))) == 1


@pytest.mark.parametrize("other", ["name", "boot"])
def test_the_folder_of_another_machine_stays(place, monkeypatch, other):
    left = abandoned(place)
    if other == "name":
        monkeypatch.setattr(temporary.platform, "node", lambda: "another machine, or container")
    else:
        (place / "boot_id").write_text("another machine of this name")
        monkeypatch.setattr(temporary, "BOOT", place / "boot_id")
    temporary.remove_abandoned(place)
    assert left.exists()


def test_the_folder_of_another_user_stays(place, monkeypatch):
    left, uid = abandoned(place), os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    temporary.remove_abandoned(place)
    assert left.exists()


def test_a_link_is_not_followed(place):
    left = abandoned(place)
    left.rename(place / "elsewhere")
    left.symlink_to(place / "elsewhere")
    temporary.remove_abandoned(place)
    assert (place / "elsewhere" / temporary.CONTENT / "file").exists()


def test_where_files_cannot_be_locked_nothing_is_removed(place, monkeypatch):
    monkeypatch.setattr(temporary, "CAN_LOCK", False)
    left = abandoned(place)
    with temporary.folder() as own:
        temporary.remove_abandoned(place)
        assert own.exists()
    assert left.exists()


def test_no_place_for_temporary_files_is_an_os_error(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    with pytest.raises(OSError), temporary.folder():  # noqa: PT011
        pass
