# SPDX-License-Identifier: Apache-2.0
"""Small sounds for the tests, and real ones where they are available."""

import csv
import hashlib
import http.server
import io
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.audio.datasets.speech_commands import WORDS_35


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that data sets in the user's are not found."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("M3NET_CACHE", str(folder))
    return folder


@pytest.fixture
def write_wav() -> Callable[..., Path]:
    """Write int16 samples (noise by default) to a WAV file, making its folders."""

    def write(path: Path, pcm: np.ndarray | int = 16_000, rate_hz: int = 16_000) -> Path:
        if isinstance(pcm, int):
            pcm = np.random.default_rng(pcm).integers(-9000, 9000, pcm).astype(np.int16)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, pcm, rate_hz, subtype="PCM_16")
        return path

    return write


def _sound(samples: int = 400, rate_hz: int = 8000) -> bytes:
    """A WAV file of noise."""
    buffer = io.BytesIO()
    pcm = np.random.default_rng(samples).integers(-9000, 9000, samples).astype(np.int16)
    soundfile.write(buffer, pcm, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _put(sound: bytes, paths: Iterable[Path]) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound)


def _table(path: Path, *rows: tuple) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def _make_us8k(root: Path, folds: int = 10, takes: int = 2) -> None:
    """Per fold and class ``takes`` recordings of two slices."""
    rows: list[tuple] = [("slice_file_name", "fsID", "fold", "classID", "class")]
    labels = dataset_info("us8k").labels
    for fold, (number, label), take, cut in itertools.product(
        range(1, folds + 1), enumerate(labels), range(takes), range(2)
    ):
        recording = fold * 1000 + number * 10 + take
        rows.append((f"{recording}-{number}-0-{cut}.wav", recording, fold, number, label))
    _table(root / "UrbanSound8K/metadata/UrbanSound8K.csv", *rows)
    _put(_sound(), (root / f"UrbanSound8K/audio/fold{row[2]}/{row[0]}" for row in rows[1:]))


def _make_esc(root: Path, name: str) -> None:
    """Five folds, per class two recordings of two takes; ESC-50's table has all classes."""
    rows: list[tuple] = [("filename", "fold", "target", "category", "esc10", "src_file", "take")]
    ten = dataset_info("esc10").labels
    labels = [
        (i, n) for i, n in enumerate(dataset_info("esc50").labels) if name == "esc50" or n in ten
    ]
    for fold, (number, label), recording, take in itertools.product(
        range(1, 6), labels, range(2), "AB"
    ):
        source = fold * 1000 + number * 10 + recording
        name_ = f"{fold}-{source}-{take}-{number}.wav"
        rows.append((name_, fold, number, label, label in ten, source, take))
    _table(root / "ESC-50-master/meta/esc50.csv", *rows)
    _put(_sound(), (root / "ESC-50-master/audio" / row[0] for row in rows[1:]))


def _make_speech_commands(root: Path) -> None:
    """Ten speakers say each word once, the last four validate and test; two noise files."""
    folder = root / "speech_commands_v0.02"
    names = [f"{word}/{speaker:08x}_nohash_0.wav" for word in WORDS_35 for speaker in range(10)]
    _put(_sound(100, 16_000), (folder / name for name in names))
    for list_name, speakers in (("validation", "67"), ("testing", "89")):
        listed = [name for name in names if name.split("/")[1][7] in speakers]
        (folder / f"{list_name}_list.txt").write_text("".join(f"{name}\n" for name in listed))
    for i in range(2):
        noise = _sound(16_000 * (20 + i), 16_000)
        _put(noise, [folder / f"_background_noise_/noise_{i}.wav"])


def _make_ravdess(root: Path) -> None:
    """All actors and emotions, one sentence; and a song, which is not part of the data set."""
    folder = root / "Audio_Speech_Actors_01-24"
    actors = range(1, 25)
    emotions = range(1, 9)
    _put(
        _sound(2400, 48_000),
        (
            folder / f"Actor_{actor:02d}/03-{channel:02d}-{emotion:02d}-01-01-01-{actor:02d}.wav"
            for channel, actor, emotion in itertools.product((1, 2), actors, emotions)
        ),
    )


def _make_cremad(root: Path) -> None:
    """All actors and emotions, one sentence."""
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    names = [f"{1001 + i}_DFA_{emotion}_XX.wav" for i in range(91) for emotion in emotions]
    _put(_sound(), (root / "AudioWAV" / name for name in names))


def _make_nsynth(root: Path) -> None:
    """Two training instruments for each family; validation and test share another one."""
    families = dataset_info("nsynth").labels
    for part, takes in (("train", (0, 1)), ("valid", (2,)), ("test", (2,))):
        notes = {}
        for family, take in itertools.product(families, takes):
            if family == "synth_lead" and part != "train":
                continue
            instrument = f"{family}_acoustic_{take:03d}"
            for pitch in (60, 62) if part == "train" else (60, 61):
                notes[f"{instrument}-{part}-{pitch:03d}-050"] = {
                    "pitch": pitch,
                    "instrument_str": instrument,
                    "instrument_family_str": family,
                }
        folder = root / f"nsynth-{part}"
        _put(_sound(100, 16_000), (folder / "audio" / f"{name}.wav" for name in notes))
        (folder / "examples.json").write_text(json.dumps(notes))


def _make_fsd50k(root: Path) -> None:
    """Four classes, clips with one to three of them."""
    names = ("Bark", "Dog", "Rain", "Wind_and_storm")
    tables = root / "FSD50K.ground_truth"
    _table(tables / "vocabulary.csv", *((i, name, f"/m/{i}") for i, name in enumerate(names)))
    dev: list[tuple] = [("fname", "labels", "mids", "split")]
    evaluation: list[tuple] = [("fname", "labels", "mids")]
    for i in range(24):
        labels = ",".join(names[j] for j in range(4) if i % 4 == j or i % 3 == j)
        dev.append((100 + i, labels, "", "val" if i % 4 == 3 else "train"))
        evaluation.append((200 + i, labels, ""))
    _table(tables / "dev.csv", *dev)
    _table(tables / "eval.csv", *evaluation)
    sound = _sound(400, 44_100)
    _put(sound, (root / f"FSD50K.dev_audio/{row[0]}.wav" for row in dev[1:]))
    _put(sound, (root / f"FSD50K.eval_audio/{row[0]}.wav" for row in evaluation[1:]))


def _make_audioset(root: Path) -> None:
    """Three classes, 60 training and 10 evaluation videos, files named in all known ways."""
    rows = [(0, "/m/a", "Speech"), (1, "/m/b", "Dog"), (2, "/m/c", "Rain, light")]
    _table(root / "class_labels_indices.csv", ("index", "mid", "display_name"), *rows)
    styles = ("{}", "Y{}", "{}_30", "Y{}_30_40", "{}_30000_40000", "{}_30.000")
    for list_name, count in (("balanced_train", 60), ("eval", 10)):
        lines = ["# Segments csv", "# num_ytids=1", "# YTID, start_seconds, end_seconds, labels"]
        for i in range(count):
            video = f"{list_name[0]}-_{i:08d}"
            mids = ",".join(row[1] for row in rows if i % 3 == row[0] or i % 2 == row[0])
            lines.append(f'{video}, 30.000, 40.000, "{mids}"')
            _put(_sound(), [root / list_name / (styles[i % 6].format(video) + ".wav")])
        (root / f"{list_name}_segments.csv").write_text("\n".join(lines) + "\n")


def _make_biodcase2026(root: Path) -> None:
    """Ten clips of each class in Train and two in Validation, numbered through all classes."""
    for folder, part, count in (("Train", "TRAIN", 10), ("Validation", "VAL", 2)):
        for index, label in enumerate(dataset_info("biodcase2026").labels):
            for take in range(count):
                name = f"{part}_{index * count + take + 1:04d}_{label.replace(' ', '_')}.wav"
                parent = root / "BioDCASE2026_TinyML_Development_Dataset" / folder / label
                _put(_sound(72_000, 24_000), [parent / f"BioDCASE2026_TinyML_{name}"])


def _make_biodcase2025(root: Path) -> None:
    """Eight songs at three distances and two others, with as many negatives."""
    for folder, songs in (("Training_Set", range(1, 9)), ("Validation_Set", range(1, 3))):
        for song, distance in itertools.product(songs, "ADH"):
            number = 3 * song + ord(distance)
            kind = "Background" if song % 2 else "Bird"
            names = (
                f"Yellowhammer/YH_{song:03d}_forest_{distance}.wav",
                f"Negatives/{kind}_{number:04d}.wav",
            )
            _put(_sound(32_000, 16_000), (root / folder / name for name in names))


def _make_folder(root: Path) -> None:
    """Two classes, five speakers each with four takes."""
    for label, speaker, take in itertools.product(("clap", "snap"), range(5), range(4)):
        _put(_sound(), [root / label / f"speaker{speaker}_{take}.wav"])


def _make_normal_only(root: Path) -> None:
    for number in range(8):
        _put(_sound(), [root / f"pump/id_00/normal/{number:08}.wav"])
        _put(_sound(), [root / f"pump/id_00/abnormal/{number:08}.wav"])


@pytest.fixture
def make_layout(tmp_path: Path) -> Callable[..., Path]:
    """Make a small official layout of a data set in ``<parent>/<name>``; returns the folder."""
    makers = {
        "us8k": _make_us8k,
        "esc10": lambda root: _make_esc(root, "esc10"),
        "esc50": lambda root: _make_esc(root, "esc50"),
        "speech_commands": _make_speech_commands,
        "ravdess": _make_ravdess,
        "cremad": _make_cremad,
        "nsynth": _make_nsynth,
        "fsd50k": _make_fsd50k,
        "audioset": _make_audioset,
        "biodcase2025": _make_biodcase2025,
        "biodcase2026": _make_biodcase2026,
        "folder": _make_folder,
        "normal_only": _make_normal_only,
    }

    def make(name: str, parent: Path = tmp_path, **options: int) -> Path:
        root = parent / name
        root.mkdir(parents=True)
        makers[name](root, **options)
        return root

    return make


class Server:
    """An HTTP server of one folder, with configurable faults.

    Attributes:
        ranges: whether it supports the Range header.
        cut_after: bytes after which the next replies break off, one number a reply.
        pause_s: wait after each 4 KiB.
        length: Content-Length of the next replies instead of the true one; '' sends none.
        answers: status codes of the next replies instead of files.
        started: requests so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges = True
        self.pause_s = 0.0
        self.started = 0
        self.cut_after: list[int] = []
        self.length: str | None = None
        self.answers: list[int] = []
        self._under_way: set[object] = set()
        self._done: list[tuple[str, str | None, int]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._under_way.add(self)
                try:
                    server.reply(self)
                finally:
                    server._under_way.discard(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def asked(self) -> list[tuple[str, str | None, int]]:
        """(path, Range header, bytes sent) of each request since the last `forget`.

        A client can have the whole reply before its request is noted here, so this waits for
        requests under way, at most a minute.
        """
        deadline = time.monotonic() + 60
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.001)
        return list(self._done)

    def forget(self) -> None:
        """Empties `asked`."""
        del self._done[: len(self.asked)]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reply(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.started += 1
        asked = handler.headers.get("Range")
        path = self.folder / handler.path.lstrip("/")
        status = self.answers.pop(0) if self.answers else 200 if path.is_file() else 404
        if status != 200:
            self._done.append((handler.path, asked, 0))
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = path.read_bytes()
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        matching = handler.headers.get("If-Range", tag) == tag
        if asked and self.ranges and matching:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            status = 206 if start < len(data) else 416
        handler.send_response(status)
        handler.send_header("ETag", tag)
        span = "*" if status == 416 else f"{start}-{len(data) - 1}"
        if status != 200:
            handler.send_header("Content-Range", f"bytes {span}/{len(data)}")
        body = b"" if status == 416 else data[start:]
        length = str(len(body)) if self.length is None else self.length
        if length:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        stop = self.cut_after.pop(0) if self.cut_after else len(body)
        sent = 0
        try:
            for place in range(0, min(stop, len(body)), 4096):
                block = body[place : min(place + 4096, stop)]
                handler.wfile.write(block)
                sent += len(block)
                time.sleep(self.pause_s)
        except OSError:  # the client was killed
            pass
        self._done.append((handler.path, asked, sent))
        handler.close_connection = True

    def checksum(self, name: str) -> str:
        return f"md5:{hashlib.md5((self.folder / name).read_bytes()).hexdigest()}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    server = Server(tmp_path / "www")
    yield server
    server.close()
