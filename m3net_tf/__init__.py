# SPDX-License-Identifier: Apache-2.0
"""Sound recognition, from a paper to a microcontroller; ``docs/guide/python.md`` has the names."""

import importlib

__version__ = "0.1.0"

# Imported when first used: most of them need TensorFlow, which takes seconds. The stub has the same
# names for type checkers.
_MODULES = {
    "frontend": "audio.frontend",
    "layers": "networks.layers",
    "models": "networks.models",
}
_HOMES = {
    "Classification": "runtime.classifier",
    "Classifier": "runtime.classifier",
    "M3NetError": "system.errors",
    "Run": "training.run",
    "keras": "system.keras",
    "load": "training.run",
    "make_wake_word": "wake.making",
}

__all__ = ["__version__", *_MODULES, *_HOMES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
