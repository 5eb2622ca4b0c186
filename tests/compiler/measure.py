# SPDX-License-Identifier: Apache-2.0
"""What compiled networks cost on an emulated core: ``python tests/compiler/measure.py cortex-m4``.

The networks are presets with random weights: cost depends on their form alone. The other figures
are those of TFLite Micro with CMSIS-NN in ``firmware/cost_baselines.json``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from emulated import MACHINES, Case, run_cases
from test_compiled_networks import converted, noise

from m3net_tf.checkout import find_sources
from m3net_tf.compiler.network import compile_network

NETWORKS = (("ds_cnn", "mcu"), ("m3net", "s"), ("spectromasknet", "s"), ("bilateral", "s"))


def main(core: str) -> None:
    """Print a table, one network a row."""
    baselines = json.loads((find_sources("firmware") / "cost_baselines.json").read_text())
    measured = baselines.get(MACHINES[core].name.replace("-", "_"), {})
    print("| network | instructions | TFLite Micro | ratio | arena | TFLite Micro | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, preset in NETWORKS:
        network = compile_network(converted(name, preset))
        clip = noise(network.graph.inputs[0].shape, 1, seed=5)[0]
        with tempfile.TemporaryDirectory() as folder:
            (outcome,) = run_cases([Case("network", network, [clip])], Path(folder), core)
        cells = [f"{name} `{preset}`"]
        theirs = measured.get(name, {})
        for mine, key in (
            (outcome.instructions, "instructions"),
            (network.plan.arena_bytes, "arena_used_bytes"),
        ):
            other = theirs.get(key)
            cells += [f"{mine:,}".replace(",", " ")]
            cells += [f"{other:,}".replace(",", " "), f"{mine / other:.2f}"] if other else ["", ""]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
