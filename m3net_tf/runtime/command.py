# SPDX-License-Identifier: Apache-2.0
"""``m3net classify``: the one command that starts without TensorFlow, and without Typer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.errors import M3NetError
from m3net_tf.runtime.classifier import Classifier, Pcm
from m3net_tf.runtime.sound import hear_microphone, read_pcm
from m3net_tf.streaming import event_time_s

_PIECES_A_SECOND = 10
_FULL_SCALE = 65_536


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="m3net classify",
        description="Say what sounds are, with an exported network; needs no TensorFlow.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="sound files")
    parser.add_argument(
        "--model", type=Path, required=True, help="exported .tflite, or folder of export or run"
    )
    parser.add_argument("--stream", action="store_true", help="live detection: print events")
    parser.add_argument(
        "--microphone", action="store_true", help="events of the microphone, until Ctrl-C"
    )
    parser.add_argument("--windows", action="store_true", help="also each window of a long file")
    parser.add_argument("--top", type=int, default=3, help="classes to print (default: 3)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON each")
    parser.add_argument(
        "--fast", action="store_true", help="XNNPACK: faster, other bytes than the device's"
    )
    return parser


def run(arguments: Sequence[str]) -> None:
    """Do what the words ask for.

    Raises:
        M3NetError: model or sound cannot be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.files) == options.microphone:
        parser.error("name sound files, or --microphone")
    if options.top < 1:
        parser.error("--top is the number of classes to print: 1 or more")
    classifier = Classifier(options.model, fast=options.fast)
    rate_hz = classifier.metadata.frontend.sample_rate_hz
    piece = rate_hz // _PIECES_A_SECOND
    if options.microphone:
        _stream(classifier, "microphone", hear_microphone(rate_hz, piece), options.json)
    for path in options.files:
        pcm = read_pcm(path, rate_hz)
        if options.stream:
            pieces = (pcm[start : start + piece] for start in range(0, len(pcm), piece))
            _stream(classifier, str(path), pieces, options.json)
        else:
            _classify(classifier, str(path), pcm, options)


def _say(line: str) -> None:
    print(line, flush=True)


def _classify(classifier: Classifier, name: str, pcm: Pcm, options: argparse.Namespace) -> None:
    labels = classifier.labels
    found = classifier.classify(pcm)
    windows = list(zip(found.starts_s.tolist(), found.window_scores, strict=True))
    if options.json:
        values: dict[str, Any] = {
            "file": name,
            "label": labels[found.label],
            "scores": dict(zip(labels, found.scores.tolist(), strict=True)),
        }
        if options.windows:
            values["windows"] = [
                {"start_s": start_s, "scores": scores.tolist()} for start_s, scores in windows
            ]
        _say(json.dumps(values))
        return
    _say(f"{name}: {_best(labels, found.scores, options.top)}")
    if options.windows:
        for start_s, scores in windows:
            _say(f"  {start_s:8.2f} s: {_best(labels, scores, options.top)}")


def _best(labels: Sequence[str], scores: Any, top: int) -> str:
    order = (-scores).argsort(kind="stable")[:top]
    return ", ".join(f"{labels[i]} {100 * scores[i]:.1f} %" for i in order)


def _stream(classifier: Classifier, name: str, pieces: Iterable[Pcm], as_json: bool) -> None:
    recognizer = classifier.recognizer()
    for piece in pieces:
        for event in recognizer.push(piece):
            time_s = event_time_s(classifier.metadata.frontend, event.column)
            label, score = classifier.labels[event.label], event.score / _FULL_SCALE
            if as_json:
                values = {"source": name, "time_s": time_s, "label": label, "score": score}
                _say(json.dumps(values))
            else:
                _say(f"{name}: {time_s:8.2f} s: {label} {100 * score:.1f} %")


def main(arguments: Sequence[str]) -> int:
    """:func:`run` with one line and status 2 for what the user can mend."""
    try:
        run(arguments)
    except M3NetError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the way in which hearing a microphone ends
        return 0
    return 0
