# SPDX-License-Identifier: Apache-2.0
"""The feature cache: complete or absent, whatever happens to its files and its writers."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend import store as store_module
from m3net_tf.audio.frontend.store import RowStore, content_hashes
from m3net_tf.system.errors import DataError

SHAPE = (4, 5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(number: int) -> bytes:
    return b"key%013d" % number


def row(number: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(number).integers(-128, 128, shape).astype(np.int8)


def put(store: RowStore, numbers: list[int]) -> None:
    with store.writing() as writer:
        for n in numbers:
            writer.add([key(n)], row(n)[None])


def test_what_is_put_in_comes_out_in_any_order(monkeypatch):
    monkeypatch.setattr(store_module, "FILE_BYTES", 3 * 20)  # three maps a file
    store = RowStore("a", SHAPE)
    assert store.rows([[key(1)]]) is None
    put(store, list(range(10)))
    assert len(list(store.folder.glob("a-*.npy"))) == 4
    numbers = np.array([[9, 0, 4, 4], [1, 8, 3, 7]])
    rows = store.rows([[key(n) for n in copy] for copy in numbers])
    expected = np.array([[row(n) for n in copy] for copy in numbers])
    assert rows.shape == expected.shape and rows.dtype == np.int8 and len(rows) == 2
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(rows[:], expected)
    assert rows.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(rows[0], expected[0])
    np.testing.assert_array_equal(rows[1, 2], expected[1, 2])
    np.testing.assert_array_equal(rows[:, 1:3], expected[:, 1:3])
    picked = np.array([1, 0, 1]), np.array([3, 3, 0])
    np.testing.assert_array_equal(rows[picked], expected[picked])
    with pytest.raises(IndexError):
        rows[0, 0, 0]
    assert store.missing([key(3), key(10)]) == {key(10)}
    assert RowStore("b", SHAPE).rows([[key(1)]]) is None  # another front end


def test_more_files_than_the_limit_of_open_files(monkeypatch):
    monkeypatch.setattr(store_module, "FILE_BYTES", 20)  # one map a file
    store = RowStore("a", SHAPE)
    put(store, list(range(60)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + 40, limits[1]))
    try:
        rows = store.rows([[key(n) for n in range(60)]])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    np.testing.assert_array_equal(rows[0], [row(n) for n in range(60)])


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "garbage", "flipped data", "flipped key", "longer", "shape", "magic"]
)
def test_damage_is_found_and_the_file_goes(damage):
    store = RowStore("a", SHAPE)
    put(store, [1, 2])
    put(store, [3])
    path = next(p for p in store.folder.iterdir() if len(np.load(p)) == 2)
    whole = bytearray(path.read_bytes())
    if damage == "shape":
        rewritten = RowStore("a", (5, 4))
        with rewritten.writing() as writer:
            writer.add([key(1), key(2)], np.zeros((2, 5, 4), np.int8))
    else:
        changed = {"flipped data": 130, "flipped key": 128 + 40, "magic": len(whole) - 24}
        if damage in changed:
            whole[changed[damage]] ^= 1
        content = {"cut": whole[:-9], "empty": b"", "garbage": b"x" * 500, "longer": whole + b"x"}
        path.write_bytes(content.get(damage, whole))
    assert store.rows([[key(1), key(2), key(3)]]) is None
    missing = store.missing([key(1), key(2), key(3)])
    assert missing == {key(1), key(2)}
    put(store, [1, 2])
    np.testing.assert_array_equal(store.rows([[key(2), key(3)]]), [[row(2), row(3)]])


def test_after_an_error_nothing_half_done_is_left(cache):
    store = RowStore("a", SHAPE)
    with pytest.raises(ZeroDivisionError), store.writing() as writer:
        writer.add([key(1)], row(1)[None])
        raise ZeroDivisionError
    assert not store.folder.exists()
    put(store, [2])  # the lock is free again


def test_a_full_disk_is_one_line(cache):
    store = RowStore("a", SHAPE)
    store.folder.parent.mkdir(parents=True)
    store.folder.write_text("a file stands where the folder should")
    with refuses(DataError, "M3NET_CACHE"):
        put(store, [1])


WRITER = """
import sys, time
import numpy as np
from m3net_tf.audio.frontend import store
store.FILE_BYTES = 10 * 20_000
rows = store.RowStore("a", (100, 200))
numbers = range(300)
keys = [b"key%013d" % n for n in numbers]
print("ready", flush=True)
with rows.writing(lambda line: print(line, flush=True)) as writer:
    missing = rows.missing(keys)
    for n in numbers:
        if keys[n] in missing:
            row = np.random.default_rng(n).integers(-128, 128, (100, 200)).astype(np.int8)
            writer.add([keys[n]], row[None])
            print("added", n, flush=True)
            time.sleep(0.001)
print("made", len(missing), flush=True)
"""


def start_writer() -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout.readline() == "ready\n"
    return process


def last_line(process: subprocess.Popen) -> str:
    """The last line of a writer that has ended."""
    with process.stdout as said:  # not communicate: readline has read ahead
        lines = said.read().splitlines()
    process.wait()
    return lines[-1] if lines else ""


def check_whole(rows: RowStore, count: int) -> int:
    """Check that each stored map is right; returns their number."""
    keys = [key(n) for n in range(count)]
    missing = rows.missing(keys)
    there = [n for n in range(count) if keys[n] not in missing]
    if there:
        stored = rows.rows([[keys[n] for n in there]])
        expected = [row(n, (100, 200)) for n in there]
        np.testing.assert_array_equal(stored, [expected])
    return len(there)


@pytest.mark.slow
def test_20_kills_lose_nothing_that_was_written():
    rows = RowStore("a", (100, 200))
    chance = random.Random(3)
    there = 0
    progress = []
    for _ in range(20):
        writer = start_writer()
        for _ in range(chance.randrange(30)):  # not seconds: the computer may be busy
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        last_line(writer)
        now = check_whole(rows, 300)
        assert now >= there
        there = now
        progress.append(now)
    last = start_writer()
    assert last_line(last) == f"made {300 - there}"
    assert check_whole(rows, 300) == 300
    assert len(set(progress)) > 2, progress  # the kills happened during the work
    assert not list(rows.folder.glob(".*"))  # leftovers of the killed ones are gone


def test_two_writers_at_once_do_the_work_once():
    first = start_writer()
    second = start_writer()
    assert sorted([last_line(first), last_line(second)]) == ["made 0", "made 300"]
    assert check_whole(RowStore("a", (100, 200)), 300) == 300
    assert not list(RowStore("a", SHAPE).folder.glob(".*"))


def test_without_locks_two_writers_do_no_harm(no_locks):
    store = RowStore("a", SHAPE)
    with store.writing() as first, store.writing() as second:
        for writer in (first, second):
            writer.add([key(1), key(2)], np.stack([row(1), row(2)]))
    np.testing.assert_array_equal(store.rows([[key(1), key(2)]]), [[row(1), row(2)]])


@pytest.fixture
def reads(monkeypatch) -> list:
    """Receives the name of each file whose content is hashed."""
    seen: list = []
    plain = store_module._hash_file
    monkeypatch.setattr(
        store_module, "_hash_file", lambda path: (seen.append(path.name), plain(path))[1]
    )
    return seen


def test_contents_are_read_once_until_they_change(tmp_path, cache, reads):
    paths = [tmp_path / folder / name for folder in "ab" for name in ("1.wav", "2.wav")]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"sound %d" % (number // 3))
    first = content_hashes(paths, 2)
    assert first[paths[0]] == first[paths[1]] == first[paths[2]] != first[paths[3]]
    assert content_hashes(paths * 2, 2) == first
    assert len(reads) == 4
    paths[0].write_bytes(b"other sound")
    assert content_hashes(paths, 2)[paths[0]] != first[paths[0]]
    assert reads[4:] == ["1.wav"]
    stamp = paths[1].stat()
    paths[1].write_bytes(b"SOUND 0")  # of the same size
    os.utime(paths[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert content_hashes(paths, 2)[paths[1]] != first[paths[1]]
    (notes, _) = sorted((cache / "audio-hashes").iterdir())
    for damage in (b"", b"[1]", b"\xff", json.dumps({"1.wav": 3, "2.wav": [1]}).encode()):
        notes.write_bytes(damage)
        assert content_hashes(paths, 2)[paths[3]] == first[paths[3]]
    with refuses(DataError, "c.wav"):
        content_hashes([tmp_path / "c.wav"], 1)
