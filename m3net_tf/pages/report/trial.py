# SPDX-License-Identifier: Apache-2.0
"""Section in which the reader tries the network on sounds, with the C of the boards."""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.compiler.wasm import build_module, missing_tools
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import compile_model
from m3net_tf.pages import feature_colours
from m3net_tf.pages.report.clips import frequency_range
from m3net_tf.pages.report.content import Block, Note, Section, Trial, side_by_side
from m3net_tf.pages.report.gather import HeldOutClips, RunData
from m3net_tf.pages.report.projection import spread_over_classes
from m3net_tf.pages.report.sounds import wave_uri
from m3net_tf.system.errors import M3NetError

CLIPS = 12
_CLIPS_S = 30.0  # of sound; uncompressed, it takes 43 kB a second at 16 kHz


def try_it(runs: Sequence[RunData]) -> Section:
    """Front end, network and detector of each run as a WebAssembly module, with test clips."""
    return Section(
        "try",
        "Try it in the browser",
        "Front end, network and detector of the export, in the C that a board runs, compiled to "
        "WebAssembly. Choose a test clip, open or drop a sound file, or use the microphone. "
        "Nothing leaves this page.",
        side_by_side(runs, _trial_of),
    )


def _trial_of(run: RunData) -> list[Block]:
    try:
        bundle = run.bundle()
        if bundle is None:
            return [Note("There is no export to try.", f"m3net export {run.path}")]
        if missing := missing_tools():
            text = f"The module for browsers cannot be built: {' and '.join(missing)} not found."
            return [Note(text, f"apt-get install {' '.join(missing.values())}")]
        module = _module(bundle)
    except M3NetError as error:
        return [Note(f"The export cannot be tried in a browser: {error}")]
    config = bundle.frontend
    return [
        Trial(
            name=run.name,
            module=base64.b64encode(module).decode(),
            labels=bundle.labels,
            events=[each.event for each in bundle.detector.classes],
            frequencies=frequency_range(config),
            samples_as_features=config.kind == "waveform",
            colours=feature_colours(),
            clips=_sounds(run.clips, config.sample_rate_hz) if run.clips else (),
        )
    ]


def _module(bundle: Bundle) -> bytes:
    networks = compile_model(bundle.c_model, "the other sections are complete")
    with tempfile.TemporaryDirectory(prefix="m3net-") as folder:
        path = Path(folder) / "m3net.wasm"
        build_module(networks, bundle.c_folder(), path)
        return path.read_bytes()


def _sounds(clips: HeldOutClips, rate_hz: int) -> list[tuple[str, str]]:
    """Description and sound of test clips of all classes, with the data set's samples."""
    count = max(1, min(CLIPS, int(_CLIPS_S / clips.dataset.info.clip_s)))
    chosen = [
        clips.features.clips[index] for index in spread_over_classes(clips.features.labels, count)
    ]
    return [
        (
            f"{', '.join(clip.all_labels)}: {clip.clip_id}",
            wave_uri(to_pcm16(clips.dataset.load(clip)), rate_hz),
        )
        for clip in chosen
    ]
