# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets in Python: each takes bytes and raises only for a defect.

A target turns the errors that a user can fix into success, after checking that they are one line.
"""

import atexit
import collections
import contextlib
import dataclasses
import io
import json
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from m3net_tf.system.errors import DAMAGED, M3NetError

Take = Callable[[bytes], None]
TESTS = Path(__file__).parents[1]
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclasses.dataclass(frozen=True)
class Target:
    """A fuzz target.

    Attributes:
        prepare: imports what it needs, and returns the function that takes an input.
        seeds: valid inputs from which the fuzzer starts.
        longest: most bytes of an input.
    """

    prepare: Callable[[], Take]
    seeds: Callable[[], Sequence[bytes]]
    longest: int = 4096


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Accept an error of the user, which must be one line."""
    try:
        yield
    except M3NetError as error:
        assert str(error) and "\n" not in str(error), repr(error)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="m3net-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sound() -> Take:
    from m3net_tf.audio.datasets.audio import read_audio
    from m3net_tf.runtime import sound

    path = _folder() / "sound"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with refusing():
            samples = sum(len(chunk) for chunk in sound.pcm_chunks(path, 16_000))
            assert samples > 0
        with refusing():
            assert np.isfinite(read_audio(path, sample_rate_hz=16_000)).all()
        with refusing():
            for chunk in sound._chunks_of_stream(io.BytesIO(data), "a pipe", 16_000):
                assert chunk.dtype == np.int16

    return take


def _sounds() -> list[bytes]:
    import soundfile

    wave = (0.5 * np.sin(np.arange(200))).astype(np.float32)
    forms = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("FLAC", "PCM_16")]
    forms += [("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("WAV", "ALAW"), ("AU", "PCM_16")]
    made = []
    for kind, subtype in forms:
        for channels in (1, 2):
            stream = io.BytesIO()
            samples = np.stack([wave] * channels, axis=1)
            soundfile.write(stream, samples, 16_000 * channels, format=kind, subtype=subtype)
            made.append(stream.getvalue())
    return made


def _yaml() -> Take:
    """A file as a recipe, as settings of detection and as a grid; it is parsed once."""
    from m3net_tf.runtime.detector_config import DetectorConfig
    from m3net_tf.system.yaml_files import read_yaml
    from m3net_tf.training.recipe import Recipe

    try:
        from m3net_tf.lab.studies import grid_file
    except ModuleNotFoundError:  # the lab is left out
        grid_file = None
    path = _folder() / "grid.yaml"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        values = None
        with refusing():
            values = read_yaml(path)
        if not isinstance(values, dict):
            return
        for make in (Recipe.from_dict, DetectorConfig.from_dict):
            with refusing():
                make(values)

        def read(name: Path) -> Any:
            return values if name == path else read_yaml(name)

        if grid_file:
            with refusing(), mock.patch.object(grid_file, "read_yaml", read):
                grid_file.load_grid(path, "tiny")

    return take


_GRID = b"""\
title: T
paper: P
table: 1
base: {dataset: {name: synth}, model: {name: m3net}, seeds: [0, 1]}
axes:
  A: {x: {training: {epochs: 1}}, y: {distillation: {run: {step: s}}}}
  B: {z: [{folds: [1]}, {metric: map}], w: {quoted: true, paper_protocol: p}}
exceptions: [{where: {A: x, B: [z]}, patch: {model: {preset: mcu}}}]
averages: {A: mean}
expected: {x: {z: 0.5, w: [0.5, 0.1]}, mean: {z: 1}}
reference: {A: x}
skip: [{A: y, B: w}]
steps: {s: {training: {epochs: 2}}}
scales: {tiny: {patch: {training: {epochs: 1}}, axes: {B: {z: {}}}, steps: {s: {}}, only: {B: z}}}
"""


def _yamls() -> list[bytes]:
    grids = [path for path in (TESTS.parent / "experiments").rglob("*.yaml")]
    texts = [path.read_bytes() for path in sorted(grids)]
    return [text for text in texts if len(text) < 500] + [
        _GRID,
        b"threshold: 0.5\nsmoothing_s: 0.3\n",
        b"a: &a [1, 2]\nb: [*a, *a]\n",
        b"x: {<<: {a: 1}, a: 2}\n",
        b"- !!python/object/apply:os.system ['true']\n",
        b"? [1]\n: 2012-02-31\n",
    ]


def _tflite() -> Take:
    from m3net_tf.compiler.network import compile_network

    def take(data: bytes) -> None:
        with refusing():
            compile_network(data)

    return take


def _tflites() -> list[bytes]:
    sys.path.append(str(TESTS / "compiler"))
    from single_operators import MAKERS

    rng = np.random.default_rng(0)
    return sorted((make(rng) for make in MAKERS.values()), key=len)[:25]


def _metadata_values() -> dict[str, Any]:
    from m3net_tf.audio.frontend import FrontendConfig
    from m3net_tf.runtime.detector_config import DetectorConfig

    labels = ("a", "b")
    return {
        "dataset": {"name": "synth"},
        "detector": DetectorConfig.default(FrontendConfig(), 49, labels).to_dict(),
        "frontend": FrontendConfig().to_dict(),
        "labels": list(labels),
        "licence": "Apache-2.0",
        "model": {
            "name": "m3net-mcu",
            "sha256": "",
            "input_shape": [40, 49, 1],
            "input_quantization": [1 / 128, 0],
        },
        "format": 1,
    }


def _metadata() -> Take:
    """The file, or (first byte 0) the text of its metadata with the network's hash corrected."""
    from m3net_tf.runtime.metadata import read_metadata, stored_archive
    from m3net_tf.system.artifacts import sha256_of

    path = _folder() / "model.tflite"
    network = b"network"

    def take(data: bytes) -> None:
        if data[:1] == b"\0":
            text = data[1:]
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                values = json.loads(text)
                values["model"]["sha256"] = sha256_of(network)
                text = json.dumps(values).encode()
            data = stored_archive({"m3net.json": text}, network)
        path.write_bytes(data)
        with refusing():
            read_metadata(path)

    return take


def _metadatas() -> list[bytes]:
    from m3net_tf.runtime.metadata import attach_metadata

    values = _metadata_values()
    return [attach_metadata(b"network", values), b"\0" + json.dumps(values).encode()]


def _manifest() -> Take:
    """The text of ``manifest.json``, ``metrics.json`` and other JSON that users copy around."""
    from m3net_tf.export.manifest import Manifest
    from m3net_tf.training.run.metrics import RunMetrics

    path = _folder() / "metrics.json"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with refusing():
            RunMetrics.read(path)
        with contextlib.suppress(ValueError, RecursionError), refusing():
            Manifest.from_dict(json.loads(data))

    return take


def _manifests() -> list[bytes]:
    metrics = {
        "dataset": {"name": "synth", "labels": ["a"], "clip_list_sha256": {}},
        **{"parameters": 1, "macs": 2, "validation": {}, "test": {"accuracy": 0.5}},
    }
    return [json.dumps(values).encode() for values in (metrics, _metadata_values())]


def _keras() -> Take:
    """A saved network, or (first byte 0) the text of its configuration."""
    from m3net_tf.training.run.archive import KERAS_MODULES, check_archive

    path = _folder() / "model.keras"

    def take(data: bytes) -> None:
        if data[:1] == b"\0":
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w") as archive:
                archive.writestr("config.json", data[1:])
                archive.writestr("model.weights.h5", "weights")
            data = stream.getvalue()
        path.write_bytes(data)
        try:
            with refusing():
                config, _ = check_archive(path)
                _require_own(config, KERAS_MODULES)
        except DAMAGED:
            pass  # Run.load_model says so in one line

    return take


def _require_own(value: Any, modules: set[str]) -> None:
    if isinstance(value, dict):
        if "class_name" in value:
            module = str(value.get("module"))
            assert module in modules or module.startswith("m3net_tf."), value
            assert value["class_name"] != "function" or module in modules, value
        for entry in value.values():
            _require_own(entry, modules)
    elif isinstance(value, list):
        for entry in value:
            _require_own(entry, modules)


def _kerases() -> list[bytes]:
    layer = {"class_name": "Conv2D", "module": "keras.layers", "config": {"filters": 2}}
    own = {
        "class_name": "Mirror",
        "module": "m3net_tf.networks.layers",
        "registered_name": "m3net_tf>Mirror",
    }
    lambdas = {
        "class_name": "Lambda",
        "module": "keras.layers",
        "config": {"function": {"class_name": "__lambda__", "config": {"value": "4wEA"}}},
    }
    config = {"class_name": "Functional", "module": "tf_keras.src.engine.functional"}
    texts = [
        json.dumps({**config, "config": {"layers": layers}}).encode()
        for layers in ([layer], [layer, own], [lambdas])
    ]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", texts[0])
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", "weights")
    return [stream.getvalue(), *(b"\0" + text for text in texts)]


def _archive() -> Take:
    from m3net_tf.audio.datasets.unpack import Limits, unpack

    place = _folder()
    kinds = ("zip", "tar", "tar.gz", "tar.xz")

    def take(data: bytes) -> None:
        if not data:
            return
        archive = place / f"set.{kinds[data[0] % len(kinds)]}"
        into = place / "into"
        archive.write_bytes(data[1:])
        into.mkdir()
        limits = Limits(slack_bytes=1 << 16, ratio=10.0, max_files=50)
        try:
            with refusing():
                folder = unpack(archive, into, limits=limits)
                assert folder.parent == into
                paths = list(folder.rglob("*"))
                assert not any(path.is_symlink() for path in paths)
                size = sum(path.stat().st_size for path in paths if path.is_file())
                assert size <= limits.allowed(len(data)), size
            assert sorted(place.iterdir()) == sorted([archive, into])
        finally:
            shutil.rmtree(into)
            archive.unlink()

    return take


def _archives() -> list[bytes]:
    content = b"sound " * 10
    made = []
    for name in ("top/a", "../a", "/a", "top/../../a"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        made.append(b"\0" + stream.getvalue())
        for number, mode in ((1, "w"), (2, "w:gz"), (3, "w:xz")):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
                entry = tarfile.TarInfo("top/link")
                entry.type = tarfile.SYMTYPE
                entry.linkname = "/etc/passwd"
                if number == 1:
                    tar.addfile(entry)
            made.append(bytes([number]) + stream.getvalue())
    return made


def _table() -> Take:
    from m3net_tf.audio.datasets import load_dataset
    from m3net_tf.system.text_tables import read_table

    place = _folder()
    (place / "meta").mkdir()
    (place / "audio").mkdir()
    path = place / "meta/esc50.csv"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with refusing():
            for row in read_table(path, ("filename", "fold")):
                assert isinstance(row["filename"], str) and isinstance(row["fold"], str)
        with refusing():
            load_dataset("esc50", place)

    return take


def _tables() -> list[bytes]:
    head = b"filename,fold,target,category,esc10,src_file,take\n"
    return [head + b"1-100032-A-0.wav,1,0,dog,True,100032,A\n", head + b'"a\nb",x,"y""z",,,,\n']


class Replay:
    """A port whose board has already said all that it says; 0xFF separates what arrives at once.

    An empty piece is silence, and so is the time after the last one: reading waits in vain.
    """

    name = "/dev/fuzz"
    physical = False

    def __init__(self, data: bytes) -> None:
        self._pieces = collections.deque(data.split(b"\xff"))
        self.waited_s = 0.0

    def read(self, timeout_s: float) -> bytes:
        if piece := self._pieces.popleft() if self._pieces else b"":
            return piece
        self.waited_s += timeout_s
        return b""

    def write(self, data: bytes) -> None: ...

    def set_baud(self, baud: int) -> None: ...

    def close(self) -> None: ...


class _Clock:
    """Time that passes when somebody looks at it, and at once when a port has nothing to read."""

    def __init__(self) -> None:
        self.port = Replay(b"")
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return self.port.waited_s + 0.001 * self._looks


def _uart() -> Take:
    from m3net_tf.boards.device import client
    from m3net_tf.boards.emulation.qemu import UartLog

    clock = _Clock()
    orders: tuple[Callable[[client.Device], object], ...] = (
        lambda device: device.connect(),
        lambda device: device.info(),
        lambda device: device.infer(2),
        lambda device: device.read(0, 300),
        lambda device: device.request("memory").numbers(),
        lambda device: device.record(100),
        lambda device: device.send(bytes(300)),
        lambda device: device.stream(1.0),
    )

    def take(data: bytes) -> None:
        log = UartLog()
        with refusing():
            for piece in data.split(b"\xff"):
                log.feed(piece)
        log.tail()
        if not data:
            return
        clock.port = Replay(data[1:])
        device = client.Device(clock.port)  # type: ignore[arg-type]
        with mock.patch.object(client, "time", clock):
            for number in range(len(orders)):  # the first byte says where the conversation starts
                with refusing():
                    orders[(data[0] + number) % len(orders)](device)
        assert len(device._bytes) <= len(data)

    return take


def _uarts() -> list[bytes]:
    made = [
        b"m3net ok stream\nm3net ok version protocol=1 board=host core=m4 clock_hz=1000 audio=1\n",
        b"m3net ok version protocol=1 board=host\nm3net model name=a sha256=b bytes=3\n"
        b"m3net frontend rate_hz=16000 bins=40\nm3net label 0 dog\n"
        b"m3net ok info block_bytes=256 buffer_bytes=32000\n",
        b"m3net ok infer label=0 out=00ff crc=0x7f9a2b41 us=5 model_cost=1 "
        b"frontend_cost=0 frames=0\n",
        b"m3net data bytes=4 crc=0xed82cd11\nabcd\nm3net ok read\n",
        b"m3net ok memory stack=12 arena=99\n",
        b"m3net error no_audio this board has no microphone\n",
        b"m3net ok block next=256\nm3net ok block next=300\n",
        b"m3net event label=0 score=0.5\nm3net column 00ff\nm3net overrun lost=1\n",
    ]
    log = (
        b"m3net boot board=mps2 core=m4\r\nm3net memory arena=10 stack=20\r\n"
        b"m3net clip 0 label=1 out=0011 frames=49 feat=00 frontend_instr=5 model_instr=6\r\n"
        b"m3net error job_crc damaged\r\nm3net done clips=1 crc=0x0\r\n"
    )
    whole = b"\1" + b"\xff".join([made[1], *made[2:4], made[4], made[6], made[2]]) + made[7]
    synced = b"\0\xff" + made[0].replace(b"\n", b"\n\xff\xff", 1) + whole[1:]
    starts = [bytes([number]) + text for number, text in enumerate(made)]
    return [log, *starts, whole, synced]


class _Tags(HTMLParser):
    """The elements of a page with the names of their attributes, without places for a break."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.tags.append((tag, tuple(name for name, _ in attrs)))


def _markup(html: str) -> tuple[int, ...]:
    """How many signs of markup a page has; those that quote only outside of its scripts.

    Text that adds none of them leaves the page's elements and attributes as they are.
    """
    html = html.replace("<wbr>", "")
    outside = re.sub("(<script[^>]*>).*?</script>", r"\1", html, flags=re.DOTALL)
    return tuple(map(html.count, "<>")) + tuple(map(outside.count, "\"'"))


def _labels() -> Take:
    """A label on the page, in a table of Markdown and in C: it must not change the structure.

    Parsing takes longest, so one page in 16 is parsed; of all, the signs of markup are counted.
    """
    from m3net_tf.pages.report import content, origin, page
    from m3net_tf.system.csource import string_literal
    from m3net_tf.system.markdown import markdown_table

    def shown(label: str) -> str:
        blocks = [
            content.Table([label, "n"], [[label, "1"]], label),
            content.Tiles([(label, "1", label)]),
            content.Note(label, label),
            content.Source(label, label),
            content.Gallery([content.ClipCard(*7 * [label])], (label, label, label)),
            content.Playlist(label, [(label, label, label)]),
            content.Trial(
                label, label, [label], [True], (label, label), False, [label], [(label, label)]
            ),
            content.Chart({"data": {"values": [{"label": label}]}}, label, label),
        ]
        part = content.Part(label, blocks)
        section = content.Section("classes", label, "", [part])
        dataset = types.SimpleNamespace(name=label)
        metrics = types.SimpleNamespace(dataset=dataset)
        model = types.SimpleNamespace(name=label, preset=label)
        run = types.SimpleNamespace(name=label, network=label, labels=[label], metrics=metrics)
        run.run = types.SimpleNamespace(recipe=lambda: types.SimpleNamespace(model=model))
        with (
            mock.patch.object(page, "_vega", str),  # 1 MB that no label reaches
            mock.patch.object(page, "shared_file", str),  # nor these styles and scripts
            mock.patch.object(page, "verdict", lambda run: run.name),  # of figures
            mock.patch.object(origin, "leak_warnings", lambda runs: [runs[0].name]),
        ):
            return page.render([run], [section])  # type: ignore[list-item]

    harmless = shown("dog")
    expected = _Tags(harmless).tags
    markup = _markup(harmless)
    assert len(expected) > 50

    def take(data: bytes) -> None:
        label = data.decode(errors="replace")
        if label:
            html = shown(label)
            assert _markup(html) == markup, label
            assert zlib.crc32(data) % 16 or _Tags(html).tags == expected, label
        literal = string_literal(label)
        assert literal.isascii() and literal.isprintable()
        body = literal[1:-1].replace("\\\\", "").replace('\\"', "")
        assert '"' not in body and literal[0] == literal[-1] == '"'
        if "\n" not in label:
            assert markdown_table(["a"], [[label]])[2].count("|") - label.count("|") == 2

    return take


def _labels_seeds() -> list[bytes]:
    return [
        b"dog",
        b"</script><script>alert(1)</script>",
        b'"><img src=x onerror=alert(1)>',
        b"&lt;b&gt; ' \\ | ` ]]> <!-- --> {{ 7*7 }} {% raw %}",
        "\u2028\u202e\x00".encode(),
    ]


def _state() -> Take:
    """``state.npz`` of an interrupted training."""
    from m3net_tf.training.loop.state import TrainingState

    path = _folder() / "state.npz"
    double = types.SimpleNamespace(as_numpy_dtype=np.float64)
    weight = types.SimpleNamespace(shape=(3,), dtype=double, assign=np.zeros(3).__add__)
    state: Any = types.SimpleNamespace(
        _FIGURES=TrainingState._FIGURES,
        _arrays=lambda: {"weights": [weight]},
        model=types.SimpleNamespace(weights=[weight]),
    )

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with refusing():
            TrainingState.load(state, path)

    return take


def _states() -> list[bytes]:
    figures = {"history": [], "plateau_factor": 1.0, "plateau_best": 1.0, "plateau_epochs": 0}
    stream = io.BytesIO()
    np.savez(stream, figures=json.dumps(figures), weights_0=np.zeros(3), best_0=np.ones(3))
    return [stream.getvalue()]


def _rows() -> Take:
    """A file of the feature cache."""
    from m3net_tf.audio.frontend import store

    path = _folder() / "rows.npy"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(store._DamagedError):
            store._read(path, (2, 3), np.dtype("int8"), {bytes(16)})

    return take


def _rows_seeds() -> list[bytes]:
    from m3net_tf.audio.frontend import store

    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 2, 3), np.int8))
    content = stream.getvalue() + bytes(32)
    return [content + store._FOOTER.pack(b"m3netrow", 2, zlib.crc32(content)), struct.pack("<Q", 1)]


def _small_network() -> dict[str, bytes]:
    """The parts of a saved network."""
    from m3net_tf.networks.layers.mirror import Mirror
    from m3net_tf.system.keras import keras
    from m3net_tf.training.run.archive import write_archive

    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, use_bias=False, padding="same")(inputs)
    x = Mirror(time=True)(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    path = _folder() / "model.keras"
    write_archive(keras.Model(inputs, keras.layers.Flatten()(x)), path)
    with zipfile.ZipFile(path) as whole:
        return {name: whole.read(name) for name in whole.namelist()}


def _network() -> Take:
    """A ``model.keras`` that Keras loads: an input is its description or its HDF5 file."""
    from m3net_tf.runtime.metadata import stored_archive
    from m3net_tf.training.run import load

    path = _folder() / "model.keras"
    parts = _small_network()

    def take(data: bytes) -> None:
        name = "config.json" if data[:1] == b"{" else "model.weights.h5"
        path.write_bytes(stored_archive({**parts, name: data}))
        with refusing():
            load(path)

    return take


def _networks() -> list[bytes]:
    parts = _small_network()
    return [parts["config.json"], parts["model.weights.h5"]]


@dataclasses.dataclass(frozen=True)
class Record:
    """A kind of record.

    Attributes:
        name: of the file in its folder.
        read: reads the record in a folder; it ends with an error of the user, or not at all.
        seed: valid content.
    """

    name: str
    read: Callable[[Path], object]
    seed: Any


def records() -> list[Record]:
    """The records of runs, data sets, exports, voices, boards and downloads; most are JSON."""
    from m3net_tf.audio import shards
    from m3net_tf.audio.datasets import captured, fetch
    from m3net_tf.audio.shards import index
    from m3net_tf.boards.builds import boards, sources
    from m3net_tf.boards.device import evaluate
    from m3net_tf.boards.measure import baselines
    from m3net_tf.compiler import wake_words
    from m3net_tf.export import writing
    from m3net_tf.lab import RESULTS
    from m3net_tf.lab.search import trials
    from m3net_tf.lab.studies import table_record, table_views
    from m3net_tf.networks import pretrained
    from m3net_tf.pages.report import card
    from m3net_tf.pages.report import records as page
    from m3net_tf.system import locks
    from m3net_tf.system.artifacts import read_json, sha256_of, write_json
    from m3net_tf.system.progress import silent
    from m3net_tf.training import cross_validation
    from m3net_tf.training.clips import added, source
    from m3net_tf.wake import sounds
    from m3net_tf.wake.voices import neural, speaking

    def table_of(columns: Sequence[str]) -> bytes:
        return ",".join(columns).encode() + b"\n1,2\n"

    def holder(folder: Path) -> None:
        with (folder / "lock").open("rb") as file:
            found = locks._read_holder(file.fileno())
            assert locks._describe(found) and locks._may_live(found) in (True, False)

    def shard_list(folder: Path) -> None:
        """A list whose checksum is right."""
        digest = sha256_of((folder / "a.tfrecord.json").read_bytes())
        listed = {**shard, "list_sha256": digest}
        write_json(folder / "index.json", {**shard_index, "shards": [listed]})
        shards.load_sharded_dataset(shards.open_shards(str(folder)))

    clip = {field.name: _example(field.type) for field in dataclasses.fields(speaking.SpokenClip)}
    voices = {"phonemes": {"a": "a"}, "speakers": 1, "variety": 0.5, "left_out": ["a: b"]}
    shard = {"file": "a.tfrecord", "split": "train", "clips": 1, "bytes": 9, "sha256": "0"}
    info = index.dataset_info("synth")
    shard_index = json.loads(
        json.dumps(
            index.index_of(
                {"name": "synth", "protocol": None, "fold": None},
                info,
                "0",
                [index.Shard(**shard, list_sha256="0")],  # type: ignore[arg-type]
            )
        )
    )
    row = {"id": "a", "labels": [info.labels[0]], "group": "g", "synthetic": False, "samples": 3}
    folds = dict.fromkeys(("accuracy", "accuracy_95_low", "accuracy_95_high"), 0.5)
    vectors = {name: {"dtype": "int8", "shape": [0]} for name in writing.VECTOR_FILES}
    who = {"pid": 1, "host": "a", "command": "m3net", "since": "2026-01-01 10:00"}
    table = json.loads((RESULTS / "mcu/streaming.small.json").read_text(encoding="utf-8"))
    table["cells"] = [{**cell, "runs": cell["runs"][:1]} for cell in table["cells"][:2]]
    memory = {"arena_bytes": 1, "ram_bytes": 2, "flash_bytes": 3}
    needs = {**memory, "board": "b", "cost": memory, "arena_estimate_bytes": None, "fits": True}
    profile = {
        **{"board": "b", "model_sha256": "0", "unit": "cycles", "total": 1, "macs": 1},
        "layers": [{"operator": "ADD", "output": [1, 2], "macs": 1, "cost": 1}],
    }
    loss = {
        **{"clips": 1, "drop_points": 0.5, "same_answer": 1.0},
        "accuracy": {"float": 0.5, "quantized": 0.5},
    }
    layer = {"layer": "a", "operator": "ADD"}
    quantized = {
        **{"method": "ptq", "validation": loss, "test": loss},
        "ranking": [{**layer, "divergence": 0.5, "accuracy_points": 0.5}],
        "tensors": [{**layer, "sqnr_db": None, "clipped_share": 0.0}],
    }
    digits = {"commit": 40, "tree": 40, "content": 64}
    hashes = "\n".join(f'{key} = "{count * "0"}"' for key, count in digits.items()).encode()
    cost = {
        field.name: _example(field.type) for field in dataclasses.fields(baselines.CostBaseline)
    }
    return [
        Record("data.json", source.recorded_data_folder, {"folder": "/"}),
        Record("data.json", source.recorded_shards, {"shards": "/nowhere"}),
        Record(
            cross_validation.RESULT,
            lambda folder: read_json(
                folder / cross_validation.RESULT, cross_validation.CrossValidation
            ),
            {
                **folds,
                **{"versions": {}, "git_commit": "", "protocol": "", "statement": ""},
                **{"clips": 1, "groups": 1, "recall": {"a": 1.0}, "fold_accuracy": [0.5]},
            },
        ),
        Record(
            speaking.RECORD_NAME,
            lambda folder: (speaking._remove_changed(folder, []), speaking._earlier(folder, {})),
            {**voices, "clips": [clip], "asked": {}, "complete": True},
        ),
        Record(
            sounds._RECORD,
            sounds.read_wake_sounds,
            {
                **{"clip_s": 1.5, "phrases": {"a": 1}, "near": {}, "words": 1, "hours": {"a": 0.5}},
                **{"phonemes": {}, "speakers": 1, "variety": 0.5},
            },
        ),
        Record(
            fetch.RECORD,
            lambda folder: fetch.FetchRecord(folder / fetch.RECORD).unpacked("a"),
            {"archives": {"a": {"url": "u", "bytes": 1, "folder": "f"}}},
        ),
        Record("index.json", lambda folder: shards.open_shards(str(folder)), shard_index),
        Record(
            "index.json",
            lambda folder: shards.load_sharded_dataset(shards.open_shards(str(folder))),
            shard_index,
        ),
        Record(
            "a.tfrecord.json",
            shard_list,
            {"key": "k", "bytes": 9, "sha256": "0", "clips": [row]},
        ),
        Record("vectors.json", writing._check_vectors, vectors),
        Record(
            pretrained.CARD,
            lambda folder: pretrained.packed_tflite(folder, "0"),
            {"files": {"model.keras": "0"}},
        ),
        Record(
            card.ABOUT,
            lambda folder: card._about(folder / card.ABOUT),
            {"summary": "a", "intended_use": ["a"], "limits": ["a"], "licence": ["a"]},
        ),
        Record(
            "results.json",
            lambda folder: evaluate._finished(
                folder / "results.json",
                {"board": "b"},  # type: ignore[typeddict-item]
                silent,
            ),
            {"identity": {"board": "b"}, "results": []},
        ),
        Record(
            "baselines.json",
            lambda folder: baselines.read_baselines(folder / "baselines.json"),
            {"board": {"engine": {"network": cost}}},
        ),
        Record("lock", holder, who),
        Record(
            "voice.json",
            lambda folder: neural._settings(folder / "voice"),
            {"espeak": {"voice": "en"}},
        ),
        Record(
            captured.TABLE,
            lambda folder: list(captured.CapturedClips(folder)),
            ",".join(captured.COLUMNS).encode() + b"\n1,2\n",
        ),
        Record(
            f"{added._FOLDER}/{added._TABLE}",
            added.read_added,
            ",".join(added._fields()).encode() + b"\n1,2\n",
        ),
        Record("board.toml", lambda folder: boards._read_toml(folder / "board.toml"), b"a = [1]\n"),
        Record(
            "third_party.lock",
            lambda folder: sources.read_lock(folder / "third_party.lock"),
            b'[[source]]\nname = "a"\nurl = "u"\n%s\n' % hashes,
        ),
        Record(
            "table.json",
            lambda folder: table_views.table_latex(
                table_record.read_table(folder / "table.json"), list(table["axes"])
            ),
            table,
        ),
        Record(
            "trials/0000.json",
            lambda folder: trials.TrialFolder(folder).read(),
            {"number": 0, "choices": {"a": "b"}, "state": "new", "recipe": {}, "recipe_sha256": "0"}
            | {"work": {"macs": 1}, "cost": None, "scores": [0.5], "seconds": 1.5},
        ),
        *(
            Record(name, lambda folder, name=name, kind=kind: read_json(folder / name, kind), seed)
            for name, kind, seed in (
                ("summary.json", page.Summary, {"accuracy": {"emulated": 0.5}, "board": "b"}),
                ("footprint.json", page.Footprint, {"boards": [needs], "model_sha256": "0"}),
                ("profile.json", page.Profile, profile),
                ("report.json", page.QuantizationReport, quantized),
            )
        ),
        Record(
            "word.json",
            lambda folder: wake_words.read_wake_word(folder / "word.json"),
            {
                "type": "micro",
                "version": 2,
                "wake_word": "a",
                "model": "a.tflite",
                "micro": {
                    "probability_cutoff": 0.5,
                    "sliding_window_size": 5,
                    "feature_step_size": 10,
                },
            },
        ),
    ]


def _example(kind: object) -> object:
    """A value of a field's type."""
    text = str(kind)
    return 0 if "int" in text else 0.5 if "float" in text else "a"


def _records() -> Take:
    """The first byte chooses the record, the rest is its content."""
    kinds = records()
    place = _folder()

    def take(data: bytes) -> None:
        if not data:
            return
        kind = kinds[data[0] % len(kinds)]
        path = place / str(data[0] % len(kinds)) / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[1:])
        with refusing():
            kind.read(place / str(data[0] % len(kinds)))

    return take


def _records_seeds() -> list[bytes]:
    seeds = (record.seed for record in records())
    texts = (seed if isinstance(seed, bytes) else json.dumps(seed).encode() for seed in seeds)
    return [bytes([number]) + text for number, text in enumerate(texts)]


TARGETS = {
    "sound": Target(_sound, _sounds, 8192),
    "yaml": Target(_yaml, _yamls, 1024),
    "tflite": Target(_tflite, _tflites),
    "metadata": Target(_metadata, _metadatas),
    "manifest": Target(_manifest, _manifests),
    "keras": Target(_keras, _kerases),
    "network": Target(_network, _networks, 16_384),
    "records": Target(_records, _records_seeds),
    "archive": Target(_archive, _archives, 16_384),
    "table": Target(_table, _tables),
    "uart": Target(_uart, _uarts),
    "labels": Target(_labels, _labels_seeds, 256),
    "state": Target(_state, _states),
    "rows": Target(_rows, _rows_seeds),
}
