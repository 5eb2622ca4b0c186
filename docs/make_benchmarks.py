# SPDX-License-Identifier: Apache-2.0
"""Measures both engines on MLPerf Tiny's networks and our own, for docs/evidence/benchmarks.csv.

``python docs/make_benchmarks.py TINY WORDS`` takes checkouts of https://github.com/mlcommons/tiny
and https://github.com/esphome/micro-wake-word-models. It builds the firmware of each network for
each emulated core with both engines, compares the output bytes, and replaces the tables of the
page. Cycles are modelled (``m3net bench engine --cycles``).
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.emulation.cycles import TIMINGS
from m3net_tf.compiler.engines import ENGINES
from m3net_tf.lab.bench.engine import SUBJECTS, EngineComparison, run_bench_engine

TABLE = Path(__file__).parent / "evidence" / "benchmarks.csv"
BOARDS = ("mps2_an386", "mps2_an500", "mps2_an505", "mps2_an385", "mps3_an547")
#: Networks of MLPerf Tiny, below benchmark/training.
TINY = {
    "DS-CNN": "keyword_spotting/trained_models/kws_ref_model.tflite",
    "ResNet-8": "image_classification/trained_models/pretrainedResnet_quant.tflite",
    "MobileNetV1 0.25": "visual_wake_words/trained_models/vww_96_int8.tflite",
    "autoencoder": "anomaly_detection/trained_models/ad01_int8.tflite",
    "streaming wake word": "streaming_wakeword/trained_models/str_ww_ref_model.tflite",
}
#: Networks of microWakeWord; one run takes three frames.
WORDS = {
    "microWakeWord okay_nabu": "models/v2/okay_nabu.tflite",
    "microWakeWord hey_jarvis": "models/v2/hey_jarvis.tflite",
}
INPUTS = 10
SETTINGS = list(dict.fromkeys(name for timings in TIMINGS.values() for name in timings))
COLUMNS = (
    *("core", "network", "engine", "instructions"),
    *(f"modelled cycles, {name}" for name in SETTINGS),
    *("flash reads", "arena bytes", "flash bytes", "stack bytes"),
)


def main() -> None:
    """Measure, and write the file."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tiny, words = (Path(argument).resolve() for argument in sys.argv[1:])
    networks = {str(tiny / "benchmark/training" / path): name for name, path in TINY.items()}
    networks |= {str(words / path): name for name, path in WORDS.items()}
    networks |= {subject.label: subject.label for subject in SUBJECTS}
    rows: list[tuple[str, ...]] = []
    for board in BOARDS:
        facts = load_board(board)
        modelled = facts.core in TIMINGS
        result = run_bench_engine([board], list(networks), INPUTS, print, cycles=modelled)
        for label, comparison in result["boards"][board].items():
            if not comparison["bytes_equal"]:
                sys.exit(f"{label} on {board}: other bytes than TensorFlow Lite Micro")
            rows += rows_of(facts.core, networks[label], comparison)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    TABLE.write_text(text.getvalue(), encoding="utf-8")


def rows_of(core: str, name: str, comparison: EngineComparison) -> Iterator[tuple[str, ...]]:
    """A row for each engine that runs the network."""
    for engine in filter(comparison["engines"].get, ENGINES):
        cost = comparison["engines"][engine]
        modelled = cost.get("modelled")
        counts = modelled["cycles"] if modelled else {}
        cycles = [counts.get(name, "") for name in SETTINGS]
        reads = modelled["flash_reads"] if modelled else ""
        sizes = (cost["arena_bytes"], cost["flash_bytes"], cost["stack_bytes"])
        yield (core, name, engine, *map(str, (cost["instructions"], *cycles, reads, *sizes)))


if __name__ == "__main__":
    main()
