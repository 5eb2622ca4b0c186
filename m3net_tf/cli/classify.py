# SPDX-License-Identifier: Apache-2.0
"""``m3net classify``: sounds from files or a microphone, scored by an exported network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from m3net_tf.audio.annotations.writing import EventFormat, event_table, require_fitting
from m3net_tf.cli.app import app
from m3net_tf.cli.options import LabelsOfFile, RecipeOfFile, complete_runs
from m3net_tf.cli.output import say, say_exactly, say_progress
from m3net_tf.system.errors import DataError
from m3net_tf.system.terminal import Status, print_error

if TYPE_CHECKING:  # reading the package's NumPy and interpreter takes a moment
    from m3net_tf.audio.annotations.events import SoundEvent
    from m3net_tf.runtime.classifier import Classifier, Pcm

_WARN_EVERY_S = 10


@app.command()
def classify(
    model: Annotated[
        str,
        typer.Option(
            autocompletion=complete_runs,
            help="Exported .tflite, folder of an export or a run, or a trained network's name.",
        ),
    ],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOUND", help="Sound file, folder, pipe, or - for standard input."),
    ] = None,
    recipe: RecipeOfFile = None,
    labels: LabelsOfFile = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Detect live, and print the events.")
    ] = False,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Detect live from the microphone, until Ctrl-C.")
    ] = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="Print each window of a long file, too.")
    ] = False,
    events: Annotated[
        EventFormat | None,
        typer.Option(
            show_default=False,
            help="Detect as --stream does, and print when each sound begins and ends, as a table "
            "for Audacity or Raven (one sound), or as CSV.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print.")] = 3,
    engine: Annotated[
        Literal["litert", "tflm", "compiled"] | None,
        typer.Option(
            show_default=False,
            help="Run the network by TFLite, by TFLite Micro, or as compiled C, with the same "
            "bytes.  [default: litert; live compiled, where there is a C compiler]",
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Use XNNPACK in TFLite: faster, but not the device's bytes."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each sound or event.")
    ] = False,
) -> None:
    """Classify sounds from files or the microphone; needs no TensorFlow.

    A sound that cannot be read is reported in one line, and the others are classified.
    """
    if bool(files) == microphone:
        raise typer.BadParameter("name sound files, or --microphone")
    if events and (stream or microphone or windows or as_json):
        raise typer.BadParameter("--events prints tables of sound files: give no other form")
    from m3net_tf.runtime.classifier import Classifier
    from m3net_tf.runtime.desktop import LITERT
    from m3net_tf.runtime.sound import microphone_chunks, pcm_chunks, sound_files

    # Compiling takes longer than a short sound; a later call finds the library in the cache.
    is_long = stream or microphone or events is not None
    classifier = Classifier(
        model,
        recipe=recipe,
        labels=labels,
        engine=engine or (None if is_long else LITERT),
        fast=fast,
    )
    rate_hz = classifier.metadata.frontend.sample_rate_hz
    if microphone:
        _stream(classifier, "microphone", _metered(classifier, microphone_chunks(rate_hz)), as_json)
    faults = 0

    def report(error: DataError) -> None:
        nonlocal faults
        faults += 1
        print_error(str(error))

    sounds = [file for path in files or () for file in sound_files(path, report)]
    if events:
        require_fitting(events, len(sounds))
    detected: list[tuple[str, list[SoundEvent]]] = []
    for file in sounds:
        try:
            chunks = pcm_chunks(file, rate_hz)
            if events:
                detected.append((file.name, classifier.sound_events(chunks)))
            elif stream:
                _stream(classifier, str(file), chunks, as_json)
            elif as_json:
                _classify_as_json(classifier, str(file), chunks, windows)
            else:
                _classify(classifier, str(file), chunks, windows, top)
        except DataError as error:
            report(error)
    if events:
        say_exactly(event_table(detected, events, rate_hz), end="")
    if faults:
        raise typer.Exit(Status.USER_ERROR)


def _classify(
    classifier: Classifier, name: str, chunks: Iterable[Pcm], windows: bool, top: int
) -> None:
    result = classifier.classify_chunks(chunks, name)
    say(f"{name}: {_answer(classifier, result.scores, top)}")
    if windows:
        for start_s, scores in zip(result.starts_s, result.window_scores, strict=True):
            say(f"  {start_s:8.2f} s: {_answer(classifier, scores, top)}")


def _classify_as_json(
    classifier: Classifier, name: str, chunks: Iterable[Pcm], windows: bool
) -> None:
    labels = classifier.labels
    result = classifier.classify_chunks(chunks, name)
    values: dict[str, object] = {
        "file": name,
        "label": labels[result.label],
        "scores": dict(zip(labels, result.scores.tolist(), strict=True)),
    }
    if classifier.metadata.detector.several_labels:
        values["labels"] = [labels[i] for i in classifier.reached(result.scores)]
    if windows:
        values["windows"] = [
            {"start_s": start_s, "scores": scores.tolist()}
            for start_s, scores in zip(result.starts_s.tolist(), result.window_scores, strict=True)
        ]
    say_exactly(json.dumps(values))


def _answer(classifier: Classifier, scores: Any, top: int) -> str:
    """The best classes; of several labels all that reach their thresholds, then the next best."""
    order = (-scores).argsort(kind="stable").tolist()
    if not classifier.metadata.detector.several_labels:
        return _scored(classifier.labels, scores, order[:top])
    reached = classifier.reached(scores)
    others = [label for label in order if label not in reached][: max(0, top - len(reached))]
    words = _scored(classifier.labels, scores, reached) or "no class"
    if others:
        words += f"; below the threshold: {_scored(classifier.labels, scores, others)}"
    return words


def _scored(labels: Sequence[str], scores: Any, chosen: Sequence[int]) -> str:
    return ", ".join(f"{labels[i]} {100 * scores[i]:.1f} %" for i in chosen)


def _metered(classifier: Classifier, chunks: Iterable[Pcm]) -> Iterator[Pcm]:
    """The chunks; their level goes to standard error once, and later what is wrong with it."""
    from m3net_tf.audio.frontend.level import Microphone

    settings = classifier.metadata
    microphone = Microphone(settings.frontend, settings.detector.gain)
    next_s = 1
    for chunk in chunks:
        microphone.push(chunk)
        reading = microphone.reading
        if microphone.seconds >= next_s and (reading.warning or next_s == 1):
            next_s = microphone.seconds + _WARN_EVERY_S
            words = filter(None, (reading.meter, reading.warning))
            say_progress(f"microphone: {', '.join(words)}")
        yield chunk


def _stream(classifier: Classifier, name: str, chunks: Iterable[Pcm], as_json: bool) -> None:
    from m3net_tf.runtime.detector_config import FULL_SCALE
    from m3net_tf.runtime.recognizer import event_time_s

    recognizer = classifier.recognizer()
    for chunk in chunks:
        for event in recognizer.push(chunk):
            time_s = event_time_s(classifier.metadata.frontend, event.column)
            label = classifier.labels[event.label]
            score = event.score / FULL_SCALE
            if as_json:
                values = {"source": name, "time_s": time_s, "label": label, "score": score}
                say_exactly(json.dumps(values))
            else:
                say(f"{name}: {time_s:8.2f} s: {label} {100 * score:.1f} %")
