"""What a function read, noted once and checked again."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lore
from lore import _inputs
from lore._inputs import File, Folder, Pattern, Remote


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("first")
    return path


def settle(path: Path) -> None:
    """Wait until the file's next change is sure to carry another time."""
    while not _inputs._settled(os.stat(path)):
        time.sleep(0.01)


def again(item: _inputs.Input) -> _inputs.Input:
    """Send an input through JSON."""
    return _inputs.decode(json.loads(json.dumps(_inputs.encode(item))))


# --- files ----------------------------------------------------------------------------------------------------------


def test_an_untouched_file_is_unchanged(path: Path) -> None:
    """A file that nobody touched is recognised without reading it."""
    settle(path)
    item = again(File.of(path))
    assert item.check() is None
    assert isinstance(item, File)
    assert item.ctime_ns == os.stat(path).st_ctime_ns


def test_content_decides_when_times_differ(path: Path) -> None:
    """A file that was touched, copied back or rewritten with the same content is unchanged."""
    settle(path)
    item = again(File.of(path))
    os.utime(path, (1, 1))
    assert item.check() is None
    path.write_text("first")
    assert item.check() is None
    path.unlink()
    path.write_text("first")
    assert item.check() is None


def test_a_change_is_found_even_under_the_old_size_and_time(path: Path) -> None:
    """Same size and same modification time do not hide another content."""
    settle(path)
    item = again(File.of(path))
    status = os.stat(path)
    path.write_text("other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert item.check() == f"file {path} changed"


def test_a_change_right_after_the_note_is_found(path: Path) -> None:
    """A change within the tick of the file system's clock is found by content."""
    for number in range(50):
        path.write_text(f"{number:05}")
        item = again(File.of(path))
        path.write_text(f"{number + 1:05}")
        assert item.check() == f"file {path} changed"


def test_gone_and_new_files_are_told(path: Path) -> None:
    """A file that vanished and one that appeared are changes; one that still is missing is not."""
    item, missing = again(File.of(path)), again(File.of(path.with_name("other")))
    path.rename(path.with_name("other"))
    assert item.check() == f"file {path} is gone"
    assert missing.check() == f"file {path.with_name('other')} is there now"
    path.with_name("other").unlink()
    assert missing.check() is None


def test_relative_paths_mean_what_they_would_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path counts from where the function would run now."""
    for name, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(text)
    monkeypatch.chdir(tmp_path / "a")
    item = again(File.of("x.txt"))
    monkeypatch.chdir(tmp_path / "b")
    assert item.check() == "file x.txt changed"
    monkeypatch.chdir(tmp_path / "c")
    assert item.check() is None


def test_content_is_read_once_for_as_long_as_it_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose times changed and whose content did not is read once, not at every check."""
    settle(path)
    item = again(File.of(path))
    os.utime(path, (1, 1))
    settle(path)
    reads: list[str] = []
    read = _inputs._read
    monkeypatch.setattr(_inputs, "_read", lambda name: reads.append(name) or read(name))
    assert [item.check() for _ in range(5)] == [None] * 5
    assert len(reads) == 1


def test_what_is_no_file_never_stays_the_same(tmp_path: Path) -> None:
    """A pipe cannot be compared, so it always has changed."""
    os.mkfifo(tmp_path / "pipe")
    assert again(File.of(tmp_path / "pipe")).check() is not None


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    """A folder changes with every file below it, and with new and missing ones."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_text("a")
    item = again(_inputs.of_path(folder))
    assert isinstance(item, Folder)
    assert item.check() is None
    (folder / "b").touch()
    assert "is new" in str(item.check())
    (folder / "b").unlink()
    (folder / "deep" / "a").write_text("other")
    assert "changed" in str(item.check())
    (folder / "deep" / "a").unlink()
    assert "is gone" in str(item.check())
    (folder / "deep").rmdir()
    folder.rmdir()
    assert item.check() == f"folder {folder} is gone"


def test_a_pattern_is_all_files_that_match(tmp_path: Path) -> None:
    """A pattern changes with every file that matches, at any depth under `**`, and with new and missing ones."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "a.csv").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    item = again(_inputs.of_pattern(f"{tmp_path}/**/*.csv"))
    assert isinstance(item, Pattern)
    assert item.check() is None
    (tmp_path / "b.txt").write_text("other")
    assert item.check() is None
    (tmp_path / "c.csv").touch()
    assert item.check() == f"file {tmp_path / 'c.csv'} is new in {tmp_path}/**/*.csv"
    (tmp_path / "c.csv").unlink()
    (tmp_path / "deep" / "deeper" / "a.csv").write_text("other")
    assert item.check() == f"file {tmp_path / 'deep' / 'deeper' / 'a.csv'} changed"
    (tmp_path / "deep" / "deeper" / "a.csv").unlink()
    assert item.check() == f"file {tmp_path / 'deep' / 'deeper' / 'a.csv'} is gone"


def test_file_urls_are_files(path: Path) -> None:
    """A file URL is the local file, with its times."""
    assert isinstance(File.of(path.as_uri()), File)


def test_remote_files_are_recognised_by_what_their_system_says(tmp_path: Path) -> None:
    """A remote file changes when its system says so; a missing one when it appears."""
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/in.txt"
    missing = again(_inputs.of_path(url))
    fs.pipe_file(url, b"one")
    item = again(_inputs.of_path(url))
    assert isinstance(item, Remote)
    assert item.check() is None
    assert missing.check() == f"{url} is there now"
    fs.pipe_file(url, b"two")
    assert item.check() == f"{url} changed"
    fs.rm_file(url)
    assert item.check() == f"{url} is gone"


def test_passwords_in_urls_are_not_shown() -> None:
    """A reason never shows credentials."""
    item = Remote("ftp://user:secret@host/x", {})
    assert "secret" not in repr(item)


# --- recording ------------------------------------------------------------------------------------------------------


class Thing:
    kind: ClassVar[str] = "thing"

    def __init__(self, name: str) -> None:
        self.name = name

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}

    def check(self) -> str | None:
        return None


def names(recorder: _inputs.Recorder) -> list[str]:
    return [item.name for item in recorder.inputs]  # type: ignore[attr-defined]


def test_notes_are_heard_by_everybody_around() -> None:
    """Recorders nest, hear what is noted inside them once, and nothing before or after."""
    _inputs.note(Thing("before"))
    assert not _inputs.active()
    with _inputs.record() as outer:
        _inputs.note(Thing("a"))
        with _inputs.record() as inner:
            assert _inputs.active()
            _inputs.note(Thing("b"))
            _inputs.note(Thing("b"))
            _inputs.expire(5.0)
        _inputs.note(Thing("c"))
        _inputs.expire(7.0)
    _inputs.note(Thing("after"))
    assert names(outer) == ["a", "b", "c"]
    assert names(inner) == ["b"]
    assert (outer.expires_s, inner.expires_s) == (5.0, 5.0)


def test_nothing_is_heard_in_a_pause() -> None:
    """What lore reads for itself is nobody's input."""
    with _inputs.record() as recorder:
        with _inputs.pause():
            assert not _inputs.active()
            _inputs.note(Thing("a"))
            _inputs.expire(1.0)
        _inputs.note(Thing("b"))
    assert names(recorder) == ["b"]
    assert recorder.expires_s == math.inf


def test_tasks_take_their_own_notes() -> None:
    """Tasks that record at the same time do not hear each other."""

    async def one(name: str) -> list[str]:
        with _inputs.record() as recorder:
            await asyncio.sleep(0)
            _inputs.note(Thing(name))
            await asyncio.to_thread(_inputs.note, Thing(f"{name} in a thread"))
            return names(recorder)

    async def main() -> list[list[str]]:
        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(main()) == [["a", "a in a thread"], ["b", "b in a thread"]]


def test_threads_started_inside_are_heard_and_older_ones_are_not() -> None:
    """A note from a thread goes to the recorders that were open when it started."""
    go, done = threading.Event(), threading.Event()

    def old() -> None:
        go.wait()
        _inputs.note(Thing("old"))
        done.set()

    older = threading.Thread(target=old)
    older.start()
    with _inputs.record() as recorder:
        go.set()
        done.wait()
        young = threading.Thread(target=_inputs.note, args=(Thing("young"),))
        young.start()
        young.join()

        def nested() -> None:
            with _inputs.record():
                _inputs.note(Thing("nested"))

        young = threading.Thread(target=nested)
        young.start()
        young.join()
    older.join()
    assert names(recorder) == ["young", "nested"]


def test_unknown_kinds_have_always_changed() -> None:
    """What cannot be checked here is not trusted, and says why."""
    item = again(_inputs.decode({"kind": "from the future", "x": 1}))
    assert "from the future" in str(item.check())
    assert "cannot be checked" in str(_inputs.decode({"kind": "file", "unknown": 1}).check())


def test_kinds_register_by_name() -> None:
    """A kind names its decoder as text, which is imported when it is needed."""
    _inputs.register("thing", f"{__name__}:_thing")
    item = again(Thing("x"))
    assert isinstance(item, Thing)
    assert item.name == "x"


def _thing(facts: dict[str, Any]) -> Thing:
    return Thing(**facts)


def test_a_linked_folder_counts(tmp_path: Path) -> None:
    """What stands below a linked folder is part of the folder, and links in a circle end."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "a").write_text("1")
    (inside / "link").symlink_to(outside)
    (outside / "back").symlink_to(inside)

    @lore.cached
    def read() -> str:
        lore.cache.depends_on(inside)
        return (inside / "link" / "a").read_text()

    assert (read(), read()) == ("1", "1")
    (outside / "a").write_text("22")
    assert read() == "22"
    assert read.cache_info()[:3] == (1, 1, 1)


def test_a_pattern_counts(tmp_path: Path) -> None:
    """A pattern stands for the files that match it, also for those that come later."""
    (tmp_path / "a.csv").write_text("1")

    @lore.cached
    def count() -> int:
        lore.cache.depends_on(f"{tmp_path}/*.csv")
        return len(list(tmp_path.glob("*.csv")))

    assert (count(), count()) == (1, 1)
    (tmp_path / "b.csv").write_text("2")
    assert count() == 2
