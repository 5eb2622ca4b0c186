# SPDX-License-Identifier: Apache-2.0
"""``m3net classify``, the only command that needs neither TensorFlow nor Typer."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from m3net_tf.runtime.classifier import Classifier, Pcm
from m3net_tf.runtime.desktop import ENGINES, LITERT
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.runtime.recognizer import event_time_s
from m3net_tf.runtime.sound import microphone_chunks, pcm_chunks, sound_files
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import fitted
from m3net_tf.system.terminal import Status, print_error, printable, run_command


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as the errors of all commands are."""

    def error(self, message: str) -> NoReturn:
        print_error(f"{message} (see {self.prog} --help)")
        sys.exit(Status.USER_ERROR)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments and options."""
    parser = _Parser(
        prog="m3net classify",
        description="Classify sounds with an exported network; needs no TensorFlow.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="SOUND",
        help="sound file, folder, pipe, or - for standard input",
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        help="exported .tflite, folder of export or run, or name of a trained network (model list)",
    )
    parser.add_argument(
        "--recipe",
        help="front end of a .tflite from elsewhere: a recipe, or a name like mcu",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="class names of a .tflite from elsewhere: a text file, one a line",
    )
    parser.add_argument("--stream", action="store_true", help="live detection: print events")
    parser.add_argument(
        "--microphone", action="store_true", help="live detection of the microphone, until Ctrl-C"
    )
    parser.add_argument(
        "--windows", action="store_true", help="also print each window of a long file"
    )
    parser.add_argument("--top", type=int, default=3, help="classes to print (default: 3)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="what runs the network, with the same bytes: TFLite, TFLite Micro, or the network "
        "compiled to C, which needs a C compiler (default: litert; with --stream and --microphone "
        "compiled, where it runs)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="XNNPACK in TFLite: faster, but not the device's bytes",
    )
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run the command; an unreadable sound is reported in one line, and the others are read.

    Returns:
        Exit status: 2 if a sound could not be read.

    Raises:
        M3NetError: the model or the microphone cannot be used.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if bool(options.files) == options.microphone:
        parser.error("name sound files, or --microphone")
    if options.top < 1:
        parser.error("--top is the number of classes to print: 1 or more")
    # Compiling takes longer than a short sound; a later call finds the library in the cache.
    is_long = options.stream or options.microphone
    classifier = Classifier(
        options.model,
        recipe=options.recipe,
        labels=options.labels,
        engine=options.engine or (None if is_long else LITERT),
        fast=options.fast,
    )
    rate_hz = classifier.metadata.frontend.sample_rate_hz
    if options.microphone:
        _stream(classifier, "microphone", microphone_chunks(rate_hz), options.json)
    faults = 0

    def report(error: DataError) -> None:
        nonlocal faults
        faults += 1
        print_error(str(error))

    for path in options.files:
        for file in sound_files(path, report):
            try:
                chunks = pcm_chunks(file, rate_hz)
                if options.stream:
                    _stream(classifier, str(file), chunks, options.json)
                else:
                    _classify(classifier, str(file), chunks, options)
            except DataError as error:
                report(error)
    return Status.USER_ERROR if faults else Status.SUCCESS


def _print(line: str) -> None:
    print(fitted(printable(line), sys.stdout), flush=True)


def _classify(
    classifier: Classifier, name: str, chunks: Iterable[Pcm], options: argparse.Namespace
) -> None:
    labels = classifier.labels
    result = classifier.classify_chunks(chunks, name)
    windows = list(zip(result.starts_s.tolist(), result.window_scores, strict=True))
    if options.json:
        values: dict[str, object] = {
            "file": name,
            "label": labels[result.label],
            "scores": dict(zip(labels, result.scores.tolist(), strict=True)),
        }
        if options.windows:
            values["windows"] = [
                {"start_s": start_s, "scores": scores.tolist()} for start_s, scores in windows
            ]
        print(json.dumps(values), flush=True)
        return
    _print(f"{name}: {_best(labels, result.scores, options.top)}")
    if options.windows:
        for start_s, scores in windows:
            _print(f"  {start_s:8.2f} s: {_best(labels, scores, options.top)}")


def _best(labels: Sequence[str], scores: Any, top: int) -> str:
    order = (-scores).argsort(kind="stable")[:top]
    return ", ".join(f"{labels[i]} {100 * scores[i]:.1f} %" for i in order)


def _stream(classifier: Classifier, name: str, chunks: Iterable[Pcm], as_json: bool) -> None:
    recognizer = classifier.recognizer()
    for chunk in chunks:
        for event in recognizer.push(chunk):
            time_s = event_time_s(classifier.metadata.frontend, event.column)
            label, score = classifier.labels[event.label], event.score / FULL_SCALE
            if as_json:
                values = {"source": name, "time_s": time_s, "label": label, "score": score}
                print(json.dumps(values), flush=True)
            else:
                _print(f"{name}: {time_s:8.2f} s: {label} {100 * score:.1f} %")


def main(arguments: Sequence[str]) -> int:
    """:func:`run`, with one line and status 2 for errors that the user can fix."""
    return run_command(lambda: run(arguments))
