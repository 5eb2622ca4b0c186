# SPDX-License-Identifier: Apache-2.0
"""The computer that a result comes from, and the instruction set that it computes with."""

import functools
import os
import platform
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NotRequired, TypedDict

from m3net_tf.system.errors import ConfigError

SETTINGS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS")
"""Environment variables that decide how TensorFlow rounds sums."""

_LIMITS = SETTINGS[:2]  # DNNL is the former name of oneDNN, which reads both
_X86 = ("x86_64", "AMD64")
_INSTRUCTION_SETS = {  # as oneDNN names them -> the last flag of Linux that it needs
    "SSE41": "sse4_1",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX2_VNNI": "avx_vnni",
    "AVX512_CORE": "avx512vl",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_fp16",
    "AVX512_CORE_AMX": "amx_tile",
}


class Computer(TypedDict):
    """A computer, as results depend on it; texts that are not known are empty.

    Older results have its processor, cores and accelerators alone.

    Attributes:
        processor: its model in words.
        family: its maker, family and model in numbers.
        cores: number of its cores.
        accelerators: accelerators that TensorFlow finds.
        instruction_set: the largest that oneDNN uses, by oneDNN's names; the architecture where it
            is not x86-64.
        settings: the members of :data:`SETTINGS` that are set.
    """

    processor: str
    family: NotRequired[str]
    cores: int | None
    accelerators: list[str]
    instruction_set: NotRequired[str]
    settings: NotRequired[dict[str, str]]


UNKNOWN: Computer = {
    "processor": "unknown computer",
    "family": "",
    "cores": None,
    "accelerators": [],
    "instruction_set": "unknown",
    "settings": {},
}
"""Stands for a computer that left no record."""


def machine() -> Computer:
    """This computer, as this process uses it."""
    from m3net_tf.system.keras import tf

    facts = _cpuinfo()
    accelerators = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "family": _family(facts),
        "cores": os.cpu_count(),
        "accelerators": accelerators,
        "instruction_set": _used_instruction_set(facts),
        "settings": settings(),
    }


def in_words(computer: Computer) -> str:
    """A computer in one line."""
    family = f" ({computer['family']})" if computer.get("family") else ""
    used = computer.get("instruction_set")
    parts = (
        f"{computer['processor']}{family}",
        f"instruction set {used}" if used else "",
        *(f"{name}={value}" for name, value in computer.get("settings", {}).items()),
        *computer["accelerators"],
    )
    return ", ".join(filter(None, parts))


def arithmetic(computers: Iterable[Computer]) -> str:
    """The accelerators or instruction sets that have computed a result; ``unknown`` without any."""
    names = [
        name
        for computer in computers
        for name in computer["accelerators"] or [computer.get("instruction_set", "")]
    ]
    return ", ".join(dict.fromkeys(filter(None, names))) or "unknown"


def limit_instruction_set() -> None:
    """Limit oneDNN and XLA to AVX2 on x86-64, each unless the user has set a limit.

    oneDNN computes TensorFlow's convolutions and matrix products. Both order sums by the width of
    the processor's vectors. The order determines how the sums are rounded, and so trained weights.
    Both read their limit once, when TensorFlow first needs them. The import of this package sets
    none, because with it half precision fails on processors with AVX-512.
    """
    if platform.machine() not in _X86:
        return
    if not os.environ.get("DNNL_MAX_CPU_ISA"):
        os.environ["ONEDNN_MAX_CPU_ISA"] = os.environ.get("ONEDNN_MAX_CPU_ISA") or "AVX2"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_max_isa" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_max_isa=AVX2".strip()


def use_instruction_set(*, half_precision: bool) -> None:
    """Limit the instruction set of a training, or lift the limit for half precision.

    Nothing changes if TensorFlow has computed in this process.

    Raises:
        ConfigError: it computes with AVX2, for which oneDNN has no half precision.
    """
    from m3net_tf.system.keras import tf, use_threads

    limited = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
    count = tf.config.threading.get_intra_op_parallelism_threads()
    try:
        use_threads(count + 1)
        use_threads(count)
    except ConfigError:
        if half_precision and limited:
            raise ConfigError(
                "training.mixed_precision is true, but TensorFlow already computes with AVX2 in "
                "this process, which has no half precision: start a new one (m3net table: --jobs 2)"
            ) from None
        return
    if not half_precision:
        limit_instruction_set()
    elif limited:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "ALL"


def settings() -> dict[str, str]:
    """The members of :data:`SETTINGS` that are set."""
    return {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core; nothing on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _family(facts: dict[str, str]) -> str:
    """Maker, family and model; on Arm implementer and part."""
    keys = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    return ", ".join(f"{key} {facts[key]}" for key in keys if key in facts)


def _used_instruction_set(facts: dict[str, str]) -> str:
    if platform.machine() not in _X86:
        return platform.machine()
    limit = next(filter(None, map(os.environ.get, _LIMITS)), "")
    return instruction_set(facts.get("flags", "").split(), limit)


def instruction_set(flags: Collection[str], limit: str = "") -> str:
    """The largest instruction set of x86-64 that a processor has and oneDNN's limit allows.

    Args:
        flags: the processor's features, as Linux names them.
        limit: name of an instruction set in any case; '' and oneDNN's other words set no limit.

    Returns:
        oneDNN's name of the instruction set; '' if the features are not known.
    """
    names = list(_INSTRUCTION_SETS)
    allowed = names[: names.index(limit.upper()) + 1] if limit.upper() in names else names
    return next((name for name in reversed(allowed) if _INSTRUCTION_SETS[name] in flags), "")
