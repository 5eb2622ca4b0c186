# SPDX-License-Identifier: Apache-2.0
"""The page's network to try: features, scores and events of Python, to the byte, in Chromium."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import Page

from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.audio.frontend import fixed_features_int8
from m3net_tf.compiler import wasm
from m3net_tf.export import Bundle, export_run
from m3net_tf.pages.report import trial
from m3net_tf.pages.report.content import Note, Trial
from m3net_tf.pages.report.gather import RunData, gather
from m3net_tf.pages.report.page import render
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.runtime import Detector, DetectorConfig
from m3net_tf.runtime.detector_config import save_detector
from m3net_tf.runtime.recognizer import event_time_s
from m3net_tf.system.errors import ModelError
from m3net_tf.training.run import Run

pytestmark = pytest.mark.usefixtures("private_cache")

CLIPS = 3
STRIDE = 8  # of the network in time
SILENT = (0, 2, 4)  # classes that make no events
TRIAL = "document.querySelector('.trial')"
HEARD = f"new Promise((heard) => {TRIAL}.addEventListener('heard', (e) => heard(e.detail)))"


@pytest.fixture(scope="module")
def run(exported_run: Path, private_cache: Path, tmp_path_factory) -> RunData:
    """A run whose export streams and makes events, although the network has hardly learned."""
    folder = tmp_path_factory.mktemp("runs") / "tried"
    shutil.copytree(exported_run, folder)
    trained = Run(folder)
    config = trained.recipe().frontend
    frames = config.frame_count(16_000)
    detector = DetectorConfig.default(config, frames, trained.metrics().dataset.labels)
    changes = {"threshold": 0.1, "release": 0.09, "hits": 1, "suppression_columns": 10}
    classes = tuple(
        dataclasses.replace(settings, event=place not in SILENT, **changes)
        for place, settings in enumerate(detector.classes)
    )
    detector = dataclasses.replace(detector, classes=classes, run_columns=STRIDE)
    save_detector(detector, folder / "detector.yaml")
    assert export_run(trained, None, stream=True).manifest.push_columns == STRIDE
    return gather([folder])[0]


@pytest.fixture(scope="module")
def opened(run: RunData, tab: Page, tmp_path_factory) -> Page:
    """The page with nothing but its network to try, and a name that looks like a script."""
    if reason := wasm.wasm_unavailable_reason():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "CLIPS", CLIPS)
        section = trial.try_it([run])
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render([run], [section]))
    tab.open(path, 1280)
    return tab


def expected(bundle: Bundle, pcm: np.ndarray) -> dict:
    """What the desktop computes from samples."""
    columns = fixed_features_int8(bundle.frontend, pcm)
    detector = Detector(bundle.detector)
    runs = []
    events = []
    frames = bundle.manifest.frames
    for place, column in enumerate(columns.T):
        if detector.wants_inference(column):
            window = columns[:, place + 1 - frames : place + 1]
            runs.append(bundle.run_reference(window[None, ..., None])[0].tolist())
            if event := detector.step(runs[-1]):
                events.append([event.column, event.label, event.score])
    scores = bundle.run_reference(columns[None, :, -frames:, None])[0].tolist()
    return {"columns": columns.T.tolist(), "runs": runs, "events": events, "scores": scores}


def choose(tab: Page, clip: int) -> dict:
    change = f"list.value = '{clip}'; list.dispatchEvent(new Event('change'));"
    return tab.evaluate(
        f"(() => {{const list = {TRIAL}.querySelector('select'); const heard = {HEARD};"
        f"{change} return heard;}})()"
    )


def give(tab: Page, path: Path) -> dict:
    tab.evaluate(f"void (window.heard = {HEARD})")
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    place = tab.call("DOM.querySelector", nodeId=root, selector=".trial input")["nodeId"]
    tab.call("DOM.setFileInputFiles", files=[str(path)], nodeId=place)
    return tab.evaluate("window.heard")


def state(tab: Page) -> str:
    return tab.evaluate(f"{TRIAL}.querySelector('.state').textContent")


def test_a_test_clip_is_heard_as_on_the_desktop(opened, run):
    bundle = Bundle.load(run.run.folder / "export")
    features = run.clips.features
    index = spread_over_classes(features.labels, CLIPS)[1]
    pcm = to_pcm16(run.clips.dataset.load(features.clips[index]))
    figures = expected(bundle, pcm)
    assert choose(opened, 1) == figures
    assert features.clips[index].clip_id in state(opened)
    highest = np.max([*figures["runs"], figures["scores"]], axis=0)
    order = sorted(range(len(highest)), key=lambda label: (label in SILENT, -highest[label]))
    names = opened.evaluate(f"[...{TRIAL}.querySelectorAll('.scores th')].map((n) => n.innerText)")
    assert names == [run.labels[label] for label in order[:8]]


def test_a_file_is_heard_as_on_the_desktop(opened, run, sounds, tmp_path):
    pcm = to_pcm16(np.concatenate(sounds[[0, 4, 2, 7]]))
    soundfile.write(tmp_path / "sound.wav", pcm, 16_000, subtype="PCM_16")
    figures = expected(Bundle.load(run.run.folder / "export"), pcm)
    assert give(opened, tmp_path / "sound.wav") == figures and len(figures["events"]) > 2
    listed = f"[...{TRIAL}.querySelectorAll('.events li')].map((line) => line.innerText)"
    lines = opened.evaluate(listed)
    assert len(lines) == len(figures["events"])
    column, label, score = figures["events"][0]
    end_s, _, words = lines[0].partition(" s: ")
    assert words == f"{run.labels[label]} ({score / 655.36:.1f} %)"
    assert abs(float(end_s) - event_time_s(run.run.recipe().frontend, column)) < 0.006


def test_other_files_are_resampled_and_padded(opened, tmp_path):
    rng = np.random.default_rng(0)
    stereo = rng.uniform(-0.5, 0.5, (72_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "stereo.flac", stereo, 48_000)
    assert len(give(opened, tmp_path / "stereo.flac")["columns"]) == 74  # of 1.5 s
    soundfile.write(tmp_path / "short.wav", stereo[:4_000, 0], 16_000)
    assert len(give(opened, tmp_path / "short.wav")["columns"]) == 49
    assert "was padded with silence" in state(opened)


def test_a_file_without_sound_is_refused(opened):
    opened.evaluate(
        "(() => {const data = new DataTransfer(); data.items.add(new File(['no sound'], 'a.txt'));"
        f"{TRIAL}.dispatchEvent(new DragEvent('drop', {{dataTransfer: data, bubbles: true}}));}})()"
    )
    opened.wait(f"{TRIAL}.querySelector('.state').textContent.startsWith('a.txt cannot be read')")


def test_it_fits_narrow_pages_and_asks_for_nothing(opened):
    """It looks at all that has happened to the page in the tests above."""
    choose(opened, 0)
    for width, dark in ((1280, True), (400, True), (400, False)):
        opened.resize(width, dark=dark)
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        inside = "[...document.querySelectorAll('.trial > *, .result > *, .inputs *, .scores')]"
        right = f"Math.max(...{inside}.map(edge))"
        edges = f"((edge) => {right} <= edge({TRIAL}))((e) => e.getBoundingClientRect().right)"
        assert opened.evaluate(edges)
    described = "[...document.querySelectorAll('canvas')].map((one) => one.ariaLabel)"
    features, curves = opened.evaluate(described)
    assert features.startswith("Feature map of 49 columns of 40 values") and "%" in curves
    assert opened.problems() == []
    address = opened.evaluate("location.href")
    assert {url for url in opened.requests() if not url.startswith("data:")} == {address}


def test_the_microphone_is_heard_until_it_is_stopped(opened):
    button = f"{TRIAL}.querySelector('.microphone')"
    opened.evaluate(f"{button}.click()")
    opened.wait(f"{TRIAL}.querySelector('.state').textContent === 'Listening to the microphone.'")
    opened.wait(f"{TRIAL}.querySelectorAll('.scores tr').length > 0")
    assert opened.evaluate(f"{button}.getAttribute('aria-pressed')") == "true"
    opened.evaluate(f"{button}.click()")
    assert state(opened) == "The microphone is off."
    # It is deprecated, but its successor needs a policy that is less strict.
    assert [problem for problem in opened.problems() if "ScriptProcessorNode" not in problem] == []


def test_without_compiler_or_export_a_line_says_why(run, monkeypatch, tmp_path):
    def notes(data: RunData) -> list[Note]:
        (part,) = trial.try_it([data]).parts
        assert not any(isinstance(block, Trial) for block in part.blocks)
        return list(part.blocks)

    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        (note,) = notes(run)
    assert note.text.endswith("clang and wasm-ld not found.")
    assert note.command == "apt-get install clang lld"
    empty = dataclasses.replace(run, run=Run(tmp_path))
    assert [note.command for note in notes(empty)] == [f"m3net export {tmp_path}"]

    def refuse(*_: object) -> None:
        raise ModelError("operator CUSTOM is not supported")

    monkeypatch.setattr(trial, "missing_tools", dict)
    monkeypatch.setattr(trial, "compile_model", refuse)
    (note,) = notes(run)
    assert note.text.endswith("in a browser: operator CUSTOM is not supported")
