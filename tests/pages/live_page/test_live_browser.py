# SPDX-License-Identifier: Apache-2.0
"""The live page of an emulated board in Chromium."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import Page
from firmware_helpers import skip_or_fail
from live_rig import TOKEN, Served

from m3net_tf.audio.datasets.captured import CapturedClips
from m3net_tf.boards.emulation.starting import why_no_emulation

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("private_cache")]
ROOT = Path(__file__).parents[3]
BOARD = "mps2_an386"
SLIDERS = "[...document.querySelectorAll('#classes input')]"
SCORES = "[...document.querySelectorAll('#classes meter')].map((meter) => meter.value)"
THRESHOLDS = "[...document.querySelectorAll('#classes td:last-child output')]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def address(exported_run: Path, private_cache: Path, folder: Path) -> Iterator[str]:
    """Address of the page of a board that hears noise and silence."""
    run = folder / "run"
    shutil.copytree(exported_run, run)
    environment = {key: value for key, value in os.environ.items() if key != "M3NET_CACHE"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("M3NET_CACHE")
        if reason := why_no_emulation(BOARD):
            skip_or_fail(reason)
    noise = 0.3 * np.random.default_rng(0).standard_normal(24_000) * (np.arange(24_000) < 12_000)
    soundfile.write(folder / "sound.wav", noise, 16_000)
    words = ["monitor", f"qemu:{BOARD}", "--run", run, "--play", folder / "sound.wav"]
    words += ["--capture", folder / "captured"]
    process = subprocess.Popen(
        [sys.executable, "-m", "m3net_tf", *words, "--web", "--web-port", "0"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    match = None
    while not match:
        line = process.stdout.readline()
        assert line, "the command ended"
        match = re.match(r"(http://\S+) shows", line)
    yield match[1]
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert " s of sound, " in said and process.returncode == 0


@pytest.fixture(scope="module")
def live(tab: Page, address: str) -> Page:
    tab.load(address, 1280)
    tab.wait("document.querySelectorAll('#classes tr').length === 10")
    return tab


def strongest(page: Page) -> tuple[int, float]:
    """The class with the highest score, and that score, while the sound repeats."""
    page.wait("Number(document.querySelector('#runs').textContent) > 5")  # the mean is full
    seen = []
    for _ in range(25):
        seen.append(page.evaluate(SCORES))
        time.sleep(0.1)
    highest = np.max(seen, axis=0)
    return int(highest.argmax()), float(highest.max())


def slide(page: Page, label: int, share: float) -> float:
    """Move a slider; returns the threshold that the board then says."""
    page.evaluate(
        f"(() => {{const slider = {SLIDERS}[{label}]; slider.value = {100 * share};"
        "slider.dispatchEvent(new Event('input'));})()"
    )
    value = page.evaluate(f"{SLIDERS}[{label}].value")
    page.wait(f"{THRESHOLDS}[{label}].dataset.board === '{float(value):.1f}'")
    return float(value) / 100


def test_the_spectrogram_moves(live: Page):
    picture = "document.querySelector('.features').toDataURL()"
    live.wait("/until \\d/.test(document.querySelector('.features').ariaLabel)")
    first = live.evaluate(picture)
    live.wait(f"{picture} !== {first!r}")
    live.wait("document.querySelector('#cpu').textContent.endsWith('%')")
    clock = "document.querySelector('#cpu').previousElementSibling"
    said = live.evaluate(f"getComputedStyle({clock}, '::after').content")
    assert "emulator's clock" in said  # its times are no chip's
    assert BOARD in live.evaluate("document.querySelector('#speed').textContent")
    live.wait("document.querySelector('#state').textContent === 'listening'")


def test_a_slider_changes_the_board_and_near_misses_have_reasons(live: Page):
    label, score = strongest(live)
    slide(live, label, min(1.5 * score, 1.0))
    row = "document.querySelector('#near-misses tr')"
    live.wait(f"{row} !== null")
    reason = live.evaluate(f"{row}.lastChild.textContent")
    assert "threshold" in reason or "mean over" in reason or "suppressed" in reason
    slide(live, label, max(0.5 * score, 0.01))
    live.wait("document.querySelector('#events tr') !== null")


def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key)


def labels_of(folder: Path) -> list[str | None]:
    return sorted(clip.label for clip in CapturedClips(folder / "captured"))


def test_sounds_are_labelled_by_keyboard(live: Page, folder: Path):
    """A near miss of the test above, and a recording of the browser."""
    live.wait("document.querySelectorAll('#sounds li').length > 0")
    live.evaluate("document.querySelector('#record').click()")
    live.wait("[...document.querySelectorAll('.kind')].some((k) => k.textContent === 'recording')")
    live.evaluate("document.querySelector('#sounds').focus()")
    press(live, " ")
    for key, count in (("2", 1), ("x", 2)):
        press(live, key)
        live.wait(f"document.querySelectorAll('#sounds .labelled').length === {count}")
    classes = live.evaluate("[...document.querySelectorAll('#classes th')].map((n) => n.innerText)")
    assert labels_of(folder) == sorted([classes[1].strip(), "false_alarm"])
    live.evaluate("document.querySelector('#sounds .labelled .discard').click()")
    live.wait("document.querySelector('#saved').textContent === '1 clip saved.'")
    assert len(labels_of(folder)) == 1


def test_a_board_without_flash_offers_no_saving(live: Page):
    live.wait("document.querySelector('#saved-thresholds').textContent.includes('no flash')")
    for button in ("save", "forget"):
        assert live.evaluate(f"document.querySelector('#{button}').offsetWidth") == 0
    live.evaluate("document.querySelector('#reset').click()")
    live.wait(f"{THRESHOLDS}.every((output) => output.dataset.board === '60.0')")


def test_it_fits_narrow_pages_and_asks_for_nothing(live: Page, address: str):
    """It looks at all that has happened to the page in the tests above."""
    for width, dark in ((1280, True), (400, True), (400, False)):
        live.resize(width, dark=dark)
        assert live.evaluate("document.documentElement.scrollWidth") <= width
    requests = [url for url in live.requests() if not url.startswith("blob:")]
    assert requests == [address]
    # It is deprecated, but its successor needs a policy that is less strict.
    assert [text for text in live.problems() if "ScriptProcessorNode" not in text] == []


def test_a_board_with_flash_keeps_and_forgets(tab: Page):
    served = Served(saved=False)
    try:
        tab.load(f"http://127.0.0.1:{served.port}/{TOKEN}/", 1280)
        says = "document.querySelector('#saved-thresholds').textContent.includes('{}')"
        forget = "document.querySelector('#forget')"
        tab.wait(says.format("No thresholds are saved"))
        assert tab.evaluate(f"{forget}.offsetWidth") == 0
        tab.evaluate("document.querySelector('#save').click()")
        tab.wait(says.format("starts with saved thresholds"))
        tab.wait("document.querySelector('#notice').textContent.includes('keeps these')")
        assert tab.evaluate(f"{forget}.offsetWidth") > 0
        tab.evaluate(f"{forget}.click()")
        tab.wait(says.format("No thresholds are saved"))
        asked = [request for request in served.rig.device.requests if request != "stat"]
        assert asked == ["save", "save clear", "threshold"]
    finally:
        served.rig.board.stop()
        served.thread.join(10)
