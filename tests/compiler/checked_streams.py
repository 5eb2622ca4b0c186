# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on this machine under the sanitizers of addresses and undefined behaviour."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.compiler.network import CompiledNetwork

_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print(const int8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    printf("%02x", (unsigned)(unsigned char)bytes[i]);
  }
}

int main(void) {
"""
# Arena and frames are blocks of memory of their own, so that reading behind them is found.
_CASE = """  {{
    int8_t* arena = malloc({prefix}_ARENA_BYTES);
    memset(arena, 0x5a, {prefix}_ARENA_BYTES);
    {name}_reset(arena);
    for (int push = 0; push < {pushes}; ++push) {{
      int8_t* frames = malloc({prefix}_INPUT_0_BYTES);
      memcpy(frames, {name}_series + push * {prefix}_INPUT_0_BYTES, {prefix}_INPUT_0_BYTES);
      if ({name}_push(arena, frames)) {{
        print(arena + {prefix}_OUTPUT_0_OFFSET, {prefix}_OUTPUT_0_BYTES);
      }}
      free(frames);
    }}
    free(arena);
    printf("\\n");
  }}
"""


def run_checked_streams(
    networks: Mapping[str, CompiledNetwork], pushes: Mapping[str, np.ndarray], folder: Path
) -> list[bytes]:
    """The first output of all pushes of each network, from the first whole window on.

    Args:
        networks: by their names in C.
        pushes: by the same names, shape (pushes, *shape of the first input).
        folder: for sources and program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    cases = []
    for name, network in networks.items():
        emit(network, name).write(folder, name)
        values = np.ascontiguousarray(pushes[name]).reshape(-1).view(np.int8)
        lines.append(f'#include "{name}.c"')
        lines.append(f"static const int8_t {name}_series[] = {{{','.join(map(str, values))}}};")
        cases.append(_CASE.format(name=name, prefix=name.upper(), pushes=len(pushes[name])))
    program = folder / "checked"
    source = folder / "checked.c"
    source.write_text("\n".join([*lines, _PROGRAM, *cases, "  return 0;\n}\n"]))
    command = ["gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined", *WARNINGS]
    command += ["-fno-sanitize-recover=all", f"-I{engine_folder()}", f"-I{folder}", str(source)]
    command += [*map(str, engine_sources()), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return [bytes.fromhex(line) for line in done.stdout.split("\n")[: len(networks)]]
