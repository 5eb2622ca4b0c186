# SPDX-License-Identifier: Apache-2.0
"""The detector in C compared with the one in Python: the same decision at every step."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, FRAMES, compile_for_host, run_tool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3net_tf.audio.datasets import load_dataset, to_pcm16
from m3net_tf.audio.frontend import FrontendConfig, features_int8, write_c_tables
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.runtime import (
    ClassSettings,
    Detector,
    DetectorConfig,
    Event,
    Tape,
    detect,
    write_c_header,
)
from m3net_tf.runtime.detector import due_columns, gate_open
from m3net_tf.runtime.detector_config import LEAST_HISTORY_RUNS
from m3net_tf.runtime.interpreter import run_reference

CORE = FIRMWARE_DIR / "core"
BINS, CLASSES, WINDOW = 3, 4, 7
OK, ERROR_CONFIG = 0, 3
CONFIG = DetectorConfig(
    window_columns=WINDOW,
    gate_bins=2,
    gate_level=-5,
    run_columns=3,
    gate_hold_columns=4,
    classes=(
        ClassSettings("silence", event=False, threshold=0.3, release=0.2),
        ClassSettings("yes", threshold=0.55, release=0.5, window_runs=1, hits=1),
        ClassSettings("no", threshold=0.5, release=0.3, suppression_columns=20, window_runs=16),
        ClassSettings("go", threshold=1.0, release=1.0, hits=255),
    ),
)
Change = tuple[int, int, ClassSettings]


@dataclasses.dataclass(frozen=True)
class Response:
    """A detector's response: a trace of every step, or only its events."""

    trace: bytes
    status: int
    columns: int
    runs: int
    skipped_runs: int
    events: int
    memory_kib: int

    @property
    def counters(self) -> tuple[int, int, int, int]:
        return self.columns, self.runs, self.skipped_runs, self.events


def pack_class(settings: ClassSettings) -> bytes:
    return struct.pack(
        "<HHHBB",
        settings.threshold_units,
        settings.release_units,
        settings.suppression_columns,
        settings.window_runs,
        settings.hits if settings.event else 0,
    )


def pack_config(config: DetectorConfig) -> bytes:
    head = struct.pack(
        "<HHHHi",
        config.window_columns,
        config.run_columns,
        config.gate_bins,
        config.gate_hold_columns,
        config.gate_sum,
    )
    return head + b"".join(map(pack_class, config.classes))


def pack_event(event: Event) -> bytes:
    return struct.pack("<IHH", event.column, event.label, event.score)


def compile_driver(
    folder: Path, frontend: FrontendConfig, config: DetectorConfig, *options: str
) -> Path:
    folder.mkdir(exist_ok=True)
    write_c_tables(frontend, folder, frames=config.window_columns)
    write_c_header(config, folder)
    sources = (CORE / "detector.c", APPS / "detector_host" / "main.c")
    return compile_for_host(folder / "driver", sources, (CORE, folder), *options)


class Driver:
    """The compiled detector, fed with records."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1
        )

    def hear(
        self,
        config: DetectorConfig,
        columns: np.ndarray,
        scores: np.ndarray,
        *,
        counted: int = 0,
        full: bool = True,
        changes: tuple[Change, ...] = (),
        packed: bytes | None = None,
        reset: bool = False,
    ) -> Response:
        """Features (columns, bins) and, for each column, the scores of a run at it.

        ``reset``: resets and reuses the detector of the previous call; its settings stay.
        """
        process = self._process
        rest = sorted(changes, key=lambda change: change[0])
        record = [
            struct.pack("<BIII", full | reset << 1, counted, len(columns), len(rest)),
            packed or pack_config(config),
        ]
        if rest:
            record.append(struct.pack("<I", rest[0][0]))
        rows = np.concatenate([columns, scores], axis=1).astype(np.int8)
        at = 0
        for i, (index, label, new_settings) in enumerate(rest):
            record += [rows[at:index].tobytes(), struct.pack("<I", label), pack_class(new_settings)]
            if i + 1 < len(rest):
                record.append(struct.pack("<I", rest[i + 1][0]))
            at = index
        record.append(rows[at:].tobytes())
        assert process.stdin and process.stdout
        process.stdin.write(b"".join(record))
        process.stdin.flush()
        head = process.stdout.read(4)
        assert head, f"the detector stopped with status {process.wait()}"
        answer = process.stdout.read(struct.unpack("<I", head)[0])
        return Response(answer[:-21], *struct.unpack("<BIIIII", answer[-21:]))

    def close(self) -> None:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.close()
        process.stdout.close()
        assert process.wait() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="module")
def driver(folder) -> Iterator[Driver]:
    made = Driver(compile_driver(folder / "small", FrontendConfig(mel_bins=BINS), CONFIG))
    yield made
    made.close()


@pytest.fixture(scope="module")
def several_driver(folder) -> Iterator[Driver]:
    """For classes that may sound at once."""
    config = dataclasses.replace(CONFIG, several_labels=True)
    made = Driver(compile_driver(folder / "several", FrontendConfig(mel_bins=BINS), config))
    yield made
    made.close()


def trace_in_python(
    config: DetectorConfig,
    columns: np.ndarray,
    scores: np.ndarray,
    counted: int = 0,
    changes: tuple[Change, ...] = (),
    exported: DetectorConfig = CONFIG,
) -> tuple[Detector, bytes]:
    """The detector after the columns, and the trace of a board that has ``exported``."""
    detector = Detector(config)
    detector.columns = detector.runs = detector.skipped_runs = detector.events = counted
    trace = []
    for index, (column, row) in enumerate(zip(columns, scores, strict=True)):
        for at, label, new_settings in changes:
            if at == index:
                detector.set_class(label, new_settings)
        due = detector.wants_inference(column)
        event = detector.step(row) if due else None
        trace.append(bytes([due | (event is not None) << 1]))
        smoothed = [
            detector.score(label) if row.event else 0 for label, row in enumerate(exported.classes)
        ]
        trace.append(struct.pack(f"<{len(smoothed)}H", *smoothed))
        if event:
            trace.append(pack_event(event))
    return detector, b"".join(trace)


def counters(detector: Detector) -> tuple[int, int, int, int]:
    return detector.columns, detector.runs, detector.skipped_runs, detector.events


@st.composite
def class_settings(draw: st.DrawFn, label: int) -> ClassSettings:
    """Settings of a class, with events only if the exported one has events."""
    release, threshold = sorted(draw(st.lists(st.floats(0.01, 1), min_size=2, max_size=2)))
    return ClassSettings(
        f"class{label}",
        CONFIG.classes[label].event and draw(st.sampled_from([True, True, True, False])),
        threshold,
        release,
        draw(st.integers(0, 40)),
        draw(st.integers(1, LEAST_HISTORY_RUNS)),
        draw(st.integers(1, 4)),
    )


@st.composite
def configs(draw: st.DrawFn) -> DetectorConfig:
    return DetectorConfig(
        window_columns=draw(st.integers(1, 12)),
        gate_bins=draw(st.integers(1, BINS)),
        classes=tuple(draw(class_settings(k)) for k in range(CLASSES)),
        run_columns=draw(st.integers(1, 6)),
        gate_level=draw(st.none() | st.integers(-128, 127)),
        gate_hold_columns=draw(st.integers(0, 30)),
    )


def random_sound(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores that stay at low and high values, so that events are frequent."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.integers(0, 2, count // 7 + 1), 7)[:count, None]
    columns = np.where(loud, rng.integers(-60, 128, (count, BINS)), rng.integers(-128, -40))
    place = np.repeat(rng.integers(-128, 128, (count // 9 + 1, CLASSES)), 9, axis=0)[:count]
    scores = np.clip(place + rng.integers(-30, 31, (count, CLASSES)), -128, 127)
    return columns.astype(np.int8), scores.astype(np.int8)


@pytest.mark.parametrize("several", [False, pytest.param(True, marks=pytest.mark.slow)])
@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    config=configs(),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 150),
    counted=st.integers(0, 2**32 - 1) | st.integers(2**32 - 20, 2**32 - 1),
    data=st.data(),
)
def test_every_step_is_the_same_in_c_and_python(
    driver, several_driver, several, config, seed, count, counted, data
):
    config = dataclasses.replace(config, several_labels=several)
    columns, scores = random_sound(seed, count)
    changes: tuple[Change, ...] = ()
    if count and data.draw(st.booleans()):
        label = data.draw(st.integers(0, CLASSES - 1))
        replacement = data.draw(class_settings(label))
        changes = ((data.draw(st.integers(0, count - 1)), label, replacement),)
    asked = several_driver if several else driver
    result = asked.hear(config, columns, scores, counted=counted, changes=changes)
    detector, trace = trace_in_python(config, columns, scores, counted, changes)
    assert result.status == OK
    assert result.trace == trace
    assert result.counters == counters(detector)


def test_much_happens_in_these_sequences():
    """Or the test above would compare empty lists."""
    rng = np.random.default_rng(0)
    events = skipped = 0
    for seed in rng.integers(0, 2**32, 20):
        sound = random_sound(int(seed), 150)
        detector, _ = trace_in_python(CONFIG, *sound)
        events += detector.events
        skipped += detector.skipped_runs
    assert events > 40 and skipped > 40


def test_classes_that_sound_at_once_have_an_event_each(driver, several_driver):
    """Two classes reach their thresholds in one run only, and one with the higher score.

    With several labels the other one follows in the next run, with the score that it had.
    """
    classes = [
        dataclasses.replace(each, threshold=0.5, release=0.4, window_runs=1, hits=1)
        for each in CONFIG.classes
    ]
    config = dataclasses.replace(CONFIG, classes=tuple(classes), gate_level=None)
    columns = np.zeros((5 * WINDOW, BINS), np.int8)
    scores = np.full((len(columns), CLASSES), -128, np.int8)
    due = due_columns(config, len(columns))
    scores[due[2], 1:3] = 100, 110
    expected = {
        False: [Event(int(due[2]), 2, 256 * 238)],
        True: [Event(int(due[2]), 2, 256 * 238), Event(int(due[3]), 1, 256 * 228)],
    }
    for asked, several in ((driver, False), (several_driver, True)):
        each = dataclasses.replace(config, several_labels=several)
        result = asked.hear(each, columns, scores, full=False)
        assert result.trace == b"".join(map(pack_event, expected[several]))
        assert detect(each, Tape(columns[:, 0].astype(np.int32), scores[due])) == expected[several]


def test_after_a_reset_all_is_as_at_the_start(driver):
    columns, scores = random_sound(1, 300)
    change = (10, 1, dataclasses.replace(CONFIG.classes[1], threshold=0.9))
    first = driver.hear(CONFIG, columns, scores, changes=(change,))
    detector, _ = trace_in_python(CONFIG, columns, scores, changes=(change,))
    assert min(first.counters) > 0
    again = driver.hear(CONFIG, columns, scores, reset=True)
    detector.reset()
    fresh, trace = trace_in_python(detector.config, columns, scores)
    assert again.trace == trace
    assert again.counters == counters(fresh)


def test_counters_wrap_and_nothing_else_does(driver):
    columns, scores = random_sound(1, 3000)
    near = 2**32 - 40
    from_zero = driver.hear(CONFIG, columns, scores, full=False)
    from_near = driver.hear(CONFIG, columns, scores, full=False, counted=near)
    assert min(from_zero.counters) > 40  # each counter wraps
    assert from_near.counters == tuple((near + n) % 2**32 for n in from_zero.counters)
    first, second = (
        np.frombuffer(result.trace, "<u4,<u2,<u2") for result in (from_zero, from_near)
    )
    np.testing.assert_array_equal((first["f0"] + np.uint32(near)), second["f0"])
    for name in ("f1", "f2"):
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, struct.pack("<H", 0)),  # no columns before the first run
        (2, struct.pack("<H", 0)),  # none between runs
        (4, struct.pack("<H", BINS + 1)),  # more gate bins than features
        (12 + 2, struct.pack("<H", 0)),  # a release of 0 never releases
        (12 + 8, struct.pack("<HH", 10, 11)),  # release above threshold
        (12 + 6, b"\0"),  # no window
        (12 + 7, b"\1"),  # events of a class without
        (12 + 3 * 8 + 6, b"\x11"),  # a window longer than the history
    ],
)
def test_settings_out_of_range_are_refused(driver, at, value):
    packed = bytearray(pack_config(CONFIG))
    packed[at : at + len(value)] = value
    nothing = np.zeros((0, BINS), np.int8), np.zeros((0, CLASSES), np.int8)
    assert driver.hear(CONFIG, *nothing, packed=bytes(packed)).status == ERROR_CONFIG
    assert driver.hear(CONFIG, *nothing).status == OK


def test_the_generated_header_is_the_config(driver):
    assert run_tool(driver.program, "defaults") == pack_config(CONFIG)


def test_a_day_without_drift_or_growth(folder):
    """24 hours of columns: the events of a whole-day computation, in constant memory."""
    config = dataclasses.replace(
        CONFIG,
        window_columns=FRAMES,
        run_columns=5,
        classes=tuple(
            dataclasses.replace(settings, threshold=0.8, release=0.5, hits=2)
            for settings in CONFIG.classes
        ),
    )
    frontend = FrontendConfig(mel_bins=BINS)
    program = compile_driver(folder / "day", frontend, config, "-fno-sanitize=all")
    day = 24 * 3600 * 50
    hour = 3600 * 50
    rng = np.random.default_rng(24)
    loud = np.repeat(rng.random(day // 100) < 0.5, 100)[:, None]
    columns = np.where(loud, 100, -100).astype(np.int8).repeat(BINS, axis=1)
    scores = np.repeat(rng.integers(-128, 128, (day // 20, CLASSES)).astype(np.int8), 20, axis=0)
    driver = Driver(program)
    first = driver.hear(config, columns[:hour], scores[:hour], full=False)
    result = driver.hear(config, columns, scores, full=False)
    driver.close()
    due = due_columns(config, day)
    levels = columns[:, : config.gate_bins].sum(1, dtype=np.int32)
    expected = detect(config, Tape(levels, scores[due]))
    assert len(expected) > 10_000
    assert result.trace == b"".join(map(pack_event, expected))
    ran = int(gate_open(config, levels)[due].sum())
    assert result.counters == (day, ran, len(due) - ran, len(expected))
    assert first.counters[0] == hour
    # Only the driver's list of events grew, 8 bytes each.
    assert result.memory_kib - first.memory_kib < 2048


def test_no_memory_is_allocated(folder):
    write_c_tables(FrontendConfig(mel_bins=BINS), folder, frames=WINDOW)
    write_c_header(CONFIG, folder)
    made = folder / "detector.o"
    run_tool("gcc", "-c", "-O1", f"-I{CORE}", f"-I{folder}", CORE / "detector.c", "-o", made)
    symbols = run_tool("nm", "-u", made).decode()
    needed = {line.split()[-1] for line in symbols.splitlines()}
    assert needed <= {"memset", "memcpy", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}


def lively_network(columns: np.ndarray) -> bytes:
    """An untrained int8 network whose scores move, for windows of these columns."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((columns.shape[1], FRAMES, 1))
    x = layers.Conv2D(8, (10, 4), strides=(5, 4), padding="same", activation="relu")(inputs)
    x = layers.AveragePooling2D((8, 13))(x)
    x = layers.Flatten()(
        layers.Conv2D(6, 1, kernel_initializer=keras.initializers.RandomNormal(0, 30))(x)
    )
    network = keras.Model(inputs, layers.Softmax()(x))
    starts = np.arange(0, len(columns) - FRAMES, 7)
    return quantize_int8(network, np.stack([columns[i : i + FRAMES].T for i in starts])[..., None])


def test_events_on_real_sound_through_a_network(folder):
    """Sound through front end and int8 network, then both detectors on the same scores."""
    frontend = FrontendConfig()
    dataset = load_dataset("synth", clips_per_class=6)
    pcm = np.concatenate([to_pcm16(dataset.load(clip)) for clip in dataset.split("test")])
    columns = features_int8(frontend, pcm / 32768.0).T
    labels = tuple(f"label{k}" for k in range(6))
    default = DetectorConfig.default(frontend, FRAMES, labels)
    config = dataclasses.replace(
        default,
        gate_level=int(np.percentile(columns.mean(1), 40)),
        gate_hold_columns=5,
        classes=tuple(
            ClassSettings(label, True, 0.5, 0.3, suppression_columns=20, window_runs=2, hits=1)
            for label in labels
        ),
    )
    due = due_columns(config, len(columns))
    windows = np.stack([columns[i - FRAMES + 1 : i + 1].T for i in due])[..., None]
    outputs = run_reference(lively_network(columns), windows)
    scores = np.full((len(columns), 6), -128, np.int8)
    scores[due] = outputs
    driver = Driver(compile_driver(folder / "real", frontend, config))
    result = driver.hear(config, columns, scores)
    driver.close()
    detector, trace = trace_in_python(config, columns, scores, exported=config)
    assert detector.events >= 5 and detector.skipped_runs > 0
    assert result.trace == trace
    events = detect(config, Tape(columns.sum(1, dtype=np.int32), outputs))
    assert len(events) == detector.events
