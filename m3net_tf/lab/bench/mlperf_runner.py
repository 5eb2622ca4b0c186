# SPDX-License-Identifier: Apache-2.0
"""Starts MLPerf Tiny's own runner with a port that it would not find.

``python mlperf_runner.py RUNNER PORT ...`` runs ``main.py`` of the folder RUNNER, unchanged, with
the further arguments. The runner looks for USB devices; here it finds one, PORT, with the ids of
:data:`USB_IDS`. Without PyUSB, which it needs for energy meters alone, it finds no meter.
"""

import importlib.util
import runpy
import sys
import types
from pathlib import Path

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

USB_IDS = (0x1209, 0x0001)
"""Vendor and product of https://pid.codes/1209/0001/, which is for tests."""


def main() -> None:
    """Run the runner."""
    runner, port, *arguments = sys.argv[1:]
    device = ListPortInfo(port)
    device.vid, device.pid = USB_IDS
    # The runner takes the function from its module at each call.
    list_ports.comports = lambda include_links=False: [device]
    if importlib.util.find_spec("usb") is None:
        usb, core = types.ModuleType("usb"), types.ModuleType("usb.core")
        core.find = lambda **_: []  # type: ignore[attr-defined]
        usb.core = core  # type: ignore[attr-defined]
        sys.modules |= {"usb": usb, "usb.core": core}
    sys.path.insert(0, runner)
    sys.argv = ["main.py", *arguments]
    runpy.run_path(str(Path(runner) / "main.py"), run_name="__main__")


if __name__ == "__main__":
    main()
