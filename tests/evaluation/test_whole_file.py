"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from cloudsched_env.whole_file import beside, write_whole


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_holds_what_was_written_and_nothing_is_left_beside_it(tmp_path):
    write_whole(tmp_path / "a" / "b.json", "Grüße\r\n")
    write_whole(tmp_path / "a" / "b.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.json").read_bytes() == "Grüße\r\n".encode()
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a") == {"b.json", "b.bin"}


def test_an_error_while_writing_leaves_the_old_content(tmp_path):
    write_whole(tmp_path / "x.csv", "old")

    def fail() -> None:
        with beside(tmp_path / "x.csv") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "x.csv").read_text() == "old"
    assert names(tmp_path) == {"x.csv"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_content(tmp_path, monkeypatch, call):
    write_whole(tmp_path / "x.csv", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "x.csv", "new")
    monkeypatch.undo()
    assert (tmp_path / "x.csv").read_text() == "old"
    assert names(tmp_path) == {"x.csv"}


def test_contents_are_on_the_disk_before_the_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    happened = []
    synchronise, replace = os.fsync, os.replace

    def watch_sync(descriptor: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        synchronise(descriptor)

    def watch_replace(source: str, target: str) -> None:
        happened.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(os, "replace", watch_replace)
    write_whole(tmp_path / "x", "new")
    assert happened == ["content", "name", "folder"]


def test_the_suffix_stays_while_a_file_is_written(tmp_path):
    with beside(tmp_path / "figure.png") as partial:
        assert partial.suffix == ".png"
        assert partial.name.startswith(".")
        partial.touch()


def test_a_file_can_be_read_by_others(tmp_path):
    mask = os.umask(0)
    os.umask(mask)
    write_whole(tmp_path / "x", "shared")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


def test_threads_that_write_one_file_leave_the_content_of_one_of_them(tmp_path):
    contents = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "x", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "x").read_text() in contents
    assert names(tmp_path) == {"x"}
