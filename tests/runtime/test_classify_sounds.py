# SPDX-License-Identifier: Apache-2.0
"""Input of ``m3net classify`` and its errors: folders, pipes, long, broken and hostile files."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets.audio import read_audio, to_pcm16
from m3net_tf.runtime import Classifier, read_metadata
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.errors import DataError, ModelError

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def pipe(tmp_path):
    """A named pipe that a thread writes given bytes to."""
    path = tmp_path / "pipe"
    writers = []

    def fill(data: bytes) -> Path:
        os.mkfifo(path)
        writers.append(threading.Thread(target=path.write_bytes, args=(data,)))
        writers[-1].start()
        return path

    yield fill
    for writer in writers:
        writer.join()


@pytest.fixture
def standard_input(tmp_path, monkeypatch):
    """Make bytes the standard input."""

    with contextlib.ExitStack() as files:

        def give(data: bytes) -> None:
            path = tmp_path / "standard_input"
            path.write_bytes(data)
            monkeypatch.setattr(sys, "stdin", files.enter_context(path.open()))

        yield give


def noise(samples: int, channels: int = 1) -> np.ndarray:
    shape = (samples, channels) if channels > 1 else samples
    return np.random.default_rng(7).integers(-9000, 9000, shape).astype(np.int16)


def joined(path: Path, rate_hz: int = 16_000) -> np.ndarray:
    return np.concatenate(list(pcm_chunks(path, rate_hz)))


# --- long files ----------------------------------------------------------------------------------


def test_a_long_file_takes_little_memory(exported, tmp_path, write_wav, monkeypatch):
    """Memory holds one piece of the file and one window; the scores equal the whole file's."""
    monkeypatch.setattr("m3net_tf.audio.datasets.audio._CHUNK_VALUES", 1 << 14)
    pcm = noise(1_000_000)  # a minute, 2 MB
    path = write_wav(tmp_path / "long.wav", pcm)
    classifier = Classifier(exported.folder)
    classifier.run = lambda features: features[:, :10, 0, 0]  # the network does not matter here
    expected = classifier.classify(pcm)
    tracemalloc.start()
    try:
        result = classifier.classify_chunks(pcm_chunks(path, 16_000))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < pcm.nbytes
    np.testing.assert_array_equal(result.window_scores, expected.window_scores)
    np.testing.assert_array_equal(result.starts_s, expected.starts_s)
    np.testing.assert_array_equal(result.scores, expected.scores)


@pytest.mark.parametrize("samples", [512, 15_871, 15_872, 16_191, 16_192, 23_808, 40_001])
@pytest.mark.parametrize("piece", [1600, 7936, 50_000])
def test_windows_do_not_depend_on_the_pieces(exported, samples, piece):
    classifier = Classifier(exported.folder)
    classifier.run = lambda features: features[:, :10, 0, 0]
    pcm = noise(samples)
    pieces = (pcm[i : i + piece] for i in range(0, samples, piece))
    result = classifier.classify_chunks(pieces)
    expected = classifier.classify(pcm)
    np.testing.assert_array_equal(result.window_scores, expected.window_scores)
    np.testing.assert_array_equal(result.starts_s, expected.starts_s)


@pytest.mark.parametrize("rate_hz", [16_000, 8000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_are_the_whole_file(tmp_path, write_wav, monkeypatch, rate_hz, channels):
    """Also with a resampler that runs across pieces."""
    monkeypatch.setattr("m3net_tf.audio.datasets.audio._CHUNK_VALUES", 3001)
    path = write_wav(tmp_path / "a.wav", noise(30_000, channels), rate_hz)
    expected = to_pcm16(read_audio(path, sample_rate_hz=16_000))
    np.testing.assert_array_equal(joined(path), expected)


# --- folders, pipes, standard input --------------------------------------------------------------


def test_a_folder_is_its_sound_files_in_order(exported, tmp_path, write_wav, classify, capsys):
    for name in ("b/2.wav", "b/1.WAV", "a.wav", ".hidden/3.wav", "b/.4.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, noise(16_000))
    (tmp_path / "b" / "notes.txt").write_text("no sound")
    assert classify(tmp_path, "--model", exported.folder, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [str(tmp_path / name) for name in ("a.wav", "b/1.WAV", "b/2.wav")]
    assert [line["file"] for line in lines] == names


def test_a_folder_without_sounds_says_so(exported, tmp_path, classify, capsys):
    assert classify(tmp_path, "--model", exported.folder) == 2
    assert f"error: {tmp_path}: has no sound file (WAV, FLAC" in capsys.readouterr().err


@pytest.mark.parametrize("rate_hz", [16_000, 22_050])
def test_a_wav_comes_from_a_pipe(tmp_path, write_wav, pipe, rate_hz):
    path = write_wav(tmp_path / "a.wav", noise(30_000, 2), rate_hz)
    expected = to_pcm16(read_audio(path, sample_rate_hz=16_000))
    np.testing.assert_array_equal(joined(pipe(path.read_bytes())), expected)


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_other_formats_come_from_a_pipe_by_a_copy(tmp_path, pipe, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(30_000) / 32768, 16_000, "PCM_24")
    expected = to_pcm16(read_audio(path, sample_rate_hz=16_000))
    np.testing.assert_array_equal(joined(pipe(path.read_bytes())), expected)


def test_a_pipe_is_heard_while_it_lasts(tmp_path, write_wav):
    """Live sound: the first samples arrive long before the end."""
    data = write_wav(tmp_path / "a.wav", noise(16_000)).read_bytes()
    read_end, write_end = os.pipe()
    os.write(write_end, data[: 44 + 3200])
    pieces = pcm_chunks(Path(f"/dev/fd/{read_end}"), 16_000)
    np.testing.assert_array_equal(next(pieces), noise(16_000)[:1600])
    os.close(write_end)
    with pytest.raises(DataError, match="is truncated"):
        list(pieces)
    os.close(read_end)


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x80000000, 0x7FFFFF00, 0x7FFFF000])
def test_a_wav_of_unknown_length_is_heard_to_its_end(tmp_path, write_wav, pipe, promised):
    """As ffmpeg, arecord and sox write it to a pipe."""
    data = bytearray(write_wav(tmp_path / "a.wav", noise(5000)).read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", promised)
    np.testing.assert_array_equal(joined(pipe(bytes(data))), noise(5000))


def test_standard_input(exported, vectors, tmp_path, write_wav, standard_input, classify, capsys):
    path = write_wav(tmp_path / "a.wav", vectors[0][0])
    assert classify(path, "--model", exported.folder) == 0
    standard_input(path.read_bytes())
    assert classify("-", "--model", exported.folder) == 0
    of_file, of_input = capsys.readouterr().out.splitlines()
    assert of_input == of_file.replace(str(path), "-")


def test_what_standard_input_cannot_be(
    exported, standard_input, classify, capsys, monkeypatch, standard_library_alone
):
    standard_input(b"no sound")
    assert classify("-", "--model", exported.folder) == 2
    assert "error: standard input: cannot be decoded" in capsys.readouterr().err
    standard_library_alone()
    standard_input(b"no sound")
    assert classify("-", "--model", exported.folder) == 2
    assert (
        "error: standard input: is not a complete, uncompressed WAV file" in capsys.readouterr().err
    )
    monkeypatch.setattr(sys, "stdin", None)
    assert classify("-", "--model", exported.folder) == 2
    assert "pipe a sound file into the command" in capsys.readouterr().err


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--stream"]])
def test_it_goes_on_after_a_bad_file(exported, tmp_path, write_wav, classify, capsys, words):
    good = write_wav(tmp_path / "good.wav", noise(16_000))
    (tmp_path / "bad.wav").write_text("no sound")
    files = [tmp_path / "bad.wav", good, tmp_path / "absent.wav", good]
    assert classify(*files, *words, "--model", exported.folder) == 2
    caught = capsys.readouterr()
    bad, missing = caught.err.splitlines()
    assert bad.startswith(f"error: {tmp_path / 'bad.wav'}: cannot be decoded")
    assert missing.startswith(f"error: {tmp_path / 'absent.wav'}: does not exist")
    if not words:
        assert [line.partition(":")[0] for line in caught.out.splitlines()] == [str(good)] * 2


def test_no_advice_to_delete_a_file_of_the_users_own(tmp_path, write_wav):
    path = tmp_path / "a.wav"
    whole = write_wav(path, noise(1000)).read_bytes()
    for spoilt in (b"", b"no sound", whole[:-100], whole[:20], write_wav(path, noise(0))):
        if isinstance(spoilt, bytes):
            path.write_bytes(spoilt)
        with pytest.raises(DataError) as caught:
            joined(path)
        assert "delete it" not in str(caught.value) and "fetch" not in str(caught.value)


@pytest.mark.parametrize("bare", [False, True])
def test_a_rate_that_no_recording_has_is_refused(
    tmp_path, write_wav, pipe, standard_library_alone, bare
):
    """At 1 Hz these 32 kB would become a gigabyte."""
    path = write_wav(tmp_path / "a.wav", noise(16_000))
    data = bytearray(path.read_bytes())
    for rate_hz in (1, 999, 768_001):
        data[24:28] = struct.pack("<I", rate_hz)
        path.write_bytes(data)
        with refuses(DataError, rate_hz):
            joined(path)
        with refuses(DataError, rate_hz):
            read_audio(path, sample_rate_hz=16_000)
    if bare:
        standard_library_alone()
    with pytest.raises(DataError, match="is given as|16000 Hz is needed"):
        joined(pipe(bytes(data)))


def test_weights_are_checked_by_their_hash(exported, tmp_path):
    data = bytearray((exported.folder / "model.tflite").read_bytes())
    data[len(exported.tflite) // 2] ^= 1
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with refuses(ModelError, "model.tflite", "SHA-256"):
        read_metadata(path)


def test_ctrl_c_is_130(exported, tmp_path, write_wav, classify, monkeypatch, capsys):
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    path = write_wav(tmp_path / "a.wav", noise(1000))
    monkeypatch.setattr("m3net_tf.runtime.sound.pcm_chunks", interrupted)
    assert classify(path, "--model", exported.folder) == 130
    assert capsys.readouterr().err.startswith("stopped; to continue: m3net classify ")


_READER_GONE = """
import os, sys
read_end, write_end = os.pipe()
os.close(read_end)
os.dup2(write_end, 1)
from m3net_tf.system.terminal import run_command
sys.exit(run_command(lambda: print("a line")))
"""


def test_a_closed_pipe_is_quiet():
    done = subprocess.run([sys.executable, "-c", _READER_GONE], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_name_that_is_not_utf_8_is_printed_as_it_is(exported, tmp_path, write_wav):
    name = os.fsdecode(b"caf\xe9.wav")
    write_wav(tmp_path / name, noise(1000))
    command = [sys.executable, "-m", "m3net_tf", "classify", str(tmp_path)]
    done = subprocess.run(
        [*command, "--model", str(exported.folder)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(os.fsencode(tmp_path / name) + b": ")
