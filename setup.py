# SPDX-License-Identifier: Apache-2.0
"""Adds examples/, experiments/ and firmware/ to the wheel; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSources(build_py):
    """Copies the folders that commands read into the package, as ``m3net_tf/sources``."""

    def run(self) -> None:
        """Build the package, then add the folders."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "m3net_tf" / "sources"
        shutil.rmtree(target, ignore_errors=True)
        for name in ("examples", "experiments", "firmware"):
            shutil.copytree(
                name, target / name, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.png")
            )
        shutil.copy("LICENSE", target)  # exported libraries contain it


setup(cmdclass={"build_py": BuildWithSources})
