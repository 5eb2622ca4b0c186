# SPDX-License-Identifier: Apache-2.0
"""Run one fuzz target in Python under Atheris: ``fuzz_python.py TARGET [libFuzzer's options]``."""

import os
import sys
import time

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import atheris

# The readers of archives and arrays lead the fuzzer through these formats.
with atheris.instrument_imports(["csv", "numpy.lib.format", "tarfile", "zipfile"]):
    from python_targets import TARGETS

LONGEST_S = 1.0
"""Most seconds of this process for one input; a busy computer does not count."""


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    name = sys.argv[1]
    # YAML's scanner takes each character alone: with it a file would take four times as long.
    with atheris.instrument_imports(["m3net_tf", "yaml"], ["yaml.reader", "yaml.scanner"]):
        take = TARGETS[name].prepare()
    for seed in TARGETS[name].seeds():  # what is imported late, or computed once, is not timed
        take(seed)

    def timed(data: bytes) -> None:
        start = time.process_time()
        take(data)
        seconds = time.process_time() - start
        assert seconds < LONGEST_S, f"{len(data)} bytes took {seconds:.1f} s"

    atheris.Setup([sys.argv[0], *sys.argv[2:]], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
