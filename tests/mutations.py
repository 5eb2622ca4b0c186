# SPDX-License-Identifier: Apache-2.0
"""Deliberate breakages, each of which a named test must catch (``make mutations``).

``python tests/mutations.py [NAME ...]`` copies the tree into a temporary folder, checks that
the tests pass there, then applies one breakage at a time and checks that its test fails.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("m3net_tf", "firmware", "tests", "setup.cfg", "pyproject.toml")
_FAILED = 1  # pytest's status when tests ran and some failed


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One breakage.

    Attributes:
        name: short name, for the command line and ``docs/design/testing.md``.
        meaning: the fault that it causes.
        file: file that changes.
        old: text there, which must occur once.
        new: its replacement.
        test: the test that fails then.
    """

    name: str
    meaning: str
    file: str
    old: str
    new: str
    test: str


_HOST = "tests/firmware/host/test_firmware_host.py::"
_APP = "tests/firmware/host/test_faults_host.py::"
_BUNDLE = "tests/firmware/test_mutations_bundle.py::"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "window", "the device uses a Hamming window, the network was trained with Hann",
        "m3net_tf/audio/frontend/ctables.py",
        '_floats("window", window)',
        '_floats("window", 0.08 + 0.92 * window)',
        f"{_HOST}test_front_end_follows_the_reference[default]",
    ),
    Mutation(
        "hop", "each hop moves the samples on by one too few",
        "firmware/core/frontend.c",
        "&frontend->samples[HOP], frontend->filled",
        "&frontend->samples[HOP - 1], frontend->filled",
        f"{_HOST}test_front_end_follows_the_reference[default]",
    ),
    Mutation(
        "labels", "the C side has the labels in another order than the network",
        "m3net_tf/export/c_files.py",
        "map(string_literal, self.labels)",
        "map(string_literal, sorted(self.labels))",
        f"{_BUNDLE}test_the_c_side_has_the_networks_bytes_and_labels",
    ),
    Mutation(
        "scale", "the scores get the scale of the input",
        "m3net_tf/export/c_files.py",
        '"OUTPUT_SCALE": f"{self.output_quantization[0]',
        '"OUTPUT_SCALE": f"{self.input_quantization[0]',
        f"{_BUNDLE}test_the_header_has_each_scale_in_its_place",
    ),
    Mutation(
        "weights", "the last bytes of the network are missing from the C array",
        "m3net_tf/export/c_files.py",
        '(f"0x{byte:02x}" for byte in data)',
        '(f"0x{byte:02x}" for byte in data[:-16])',
        f"{_BUNDLE}test_the_c_side_has_the_networks_bytes_and_labels",
    ),
    Mutation(
        "resolver", "average pooling runs the kernel of maximum pooling",
        "firmware/core/inference.cc",
        "M3NET_KERNEL(AVERAGE_POOL_2D)",
        "M3NET_KERNEL(MAX_POOL_2D)",
        f"{_APP}test_same_bytes_as_the_desktop",
    ),
    Mutation(
        "float-abi", "the firmware passes floats in other registers than its library",
        "firmware/CMakeLists.txt",
        "target_compile_options(m3net_firmware PRIVATE -O2 ",
        "target_compile_options(m3net_firmware PRIVATE -O2 -mfloat-abi=softfp ",
        f"{_BUNDLE}test_a_firmware_links_with_its_library",
    ),
    Mutation(
        "arena", "the application gives away the last 16 bytes of its arena",
        "firmware/app/main.c",
        "m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes))",
        "m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes) - 16)",
        f"{_APP}test_an_arena_16_bytes_too_small_is_refused",
    ),
    Mutation(
        "uart", "each 256th byte that comes is dropped and not counted",
        "firmware/drivers/byte_ring.h",
        "ring->head = head + 1u;",
        "ring->head = head + (head % 256u != 255u);",
        "tests/firmware/host/test_pdm.py::test_byte_ring_keeps_order_and_counts_what_it_loses",
    ),
    Mutation(
        "endianness", "the header of a job is read with its bytes the other way round",
        "firmware/app/job.c",
        "return at[0] | ((uint32_t)at[1] << 8);",
        "return at[1] | ((uint32_t)at[0] << 8);",
        f"{_HOST}test_random_and_mutated_job_images",
    ),
    Mutation(
        "kept-line", "a stream moves all kept lines of a tensor on but the newest",
        "m3net_tf/compiler/streaming/push.py",
        "[view, view.block.size, dropped]",
        "[view, view.block.size - dropped, dropped]",
        "tests/compiler/test_streaming.py::test_a_state_for_each_phase_decides_more_often",
    ),
)  # fmt: skip


def apply(mutation: Mutation, root: Path) -> str:
    """Break the tree at ``root``; returns the file's text of before.

    Raises:
        ValueError: the text to be changed is not there, or not once.
    """
    path = root / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"mutation {mutation.name}: {mutation.file} has {mutation.old!r} "
            f"{text.count(mutation.old)} times; bring tests/mutations.py up to date"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return text


def _run(root: Path, tests: Sequence[str]) -> tuple[int, float, str]:
    """Run tests in the tree at ``root``: status, seconds and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", *tests]
    start_s = time.monotonic()
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    return done.returncode, time.monotonic() - start_s, done.stdout + done.stderr


def check(chosen: Sequence[Mutation]) -> bool:
    """Print a line a mutation; returns whether each was caught by its test, and only so."""
    with tempfile.TemporaryDirectory(prefix="m3net-mutations-") as folder:
        root = Path(folder)
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / name, root / name)
        tests = list(dict.fromkeys(mutation.test for mutation in chosen))
        status, seconds, output = _run(root, tests)
        passed = status == 0 and "skipped" not in output
        print(f"{'unbroken':12}{'passes' if passed else 'FAILS':8}{seconds:6.0f} s", flush=True)
        if not passed:
            print(output[-4000:])
            return False
        all_caught = True
        for mutation in chosen:
            before = apply(mutation, root)
            status, seconds, output = _run(root, [mutation.test])
            (root / mutation.file).write_text(before, encoding="utf-8")
            caught = status == _FAILED and mutation.test.rpartition("::")[2] in output
            all_caught &= caught
            word = "caught" if caught else "MISSED"
            print(f"{mutation.name:12}{word:8}{seconds:6.0f} s  {mutation.test}", flush=True)
            if not caught:
                print(output[-2000:])
    return all_caught


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [mutation.name for mutation in MUTATIONS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or of {', '.join(names)}")
    requested = parser.parse_args().names
    if unknown := [name for name in requested if name not in names]:
        parser.error(f"no such mutation: {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [item for item in MUTATIONS if not requested or item.name in requested]
    return 0 if check(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
