# SPDX-License-Identifier: Apache-2.0
"""Cost of compiled networks on an emulated core: ``python tests/compiler/measure.py cortex-m4``.

The networks are presets with random weights, as cost depends only on their structure. The figures
of TFLite Micro with CMSIS-NN are those of the core's board in ``firmware/cost_baselines.json``.
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
    board_costs = baselines.get(MACHINES[core].name.replace("-", "_"), {})
    print("| network | instructions | TFLite Micro | ratio | arena | TFLite Micro | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, preset in NETWORKS:
        network = compile_network(converted(name, preset))
        clip = noise(network.graph.inputs[0].shape, 1, seed=5)[0]
        with tempfile.TemporaryDirectory() as folder:
            (outcome,) = run_cases([Case("network", network, [clip])], Path(folder), core)
        cells = [f"{name} `{preset}`"]
        interpreted = board_costs.get(name, {})
        for compiled, key in (
            (outcome.instructions, "instructions"),
            (network.plan.arena_bytes, "arena_used_bytes"),
        ):
            reference = interpreted.get(key)
            cells += [f"{compiled:,}".replace(",", " ")]
            if reference:
                cells += [f"{reference:,}".replace(",", " "), f"{compiled / reference:.2f}"]
            else:
                cells += ["", ""]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
