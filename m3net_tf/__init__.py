# SPDX-License-Identifier: Apache-2.0
"""Sound recognition, from a paper to a microcontroller; ``docs/python.md`` describes the names."""

import importlib

__version__ = "0.1.0"

# Imported when first used: most of them need TensorFlow, which takes seconds. The stub has the same
# names for type checkers.
_ROOMS = {
    "Classification": "runtime.classifier",
    "Classifier": "runtime.classifier",
    "FrontendConfig": "frontend",
    "M3NetError": "errors",
    "Run": "training.run",
    "build_model": "models",
    "diffres": "models.diffres.network",
    "frontend_preset": "frontend",
    "log_mel": "frontend",
}

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
