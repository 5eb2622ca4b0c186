# SPDX-License-Identifier: Apache-2.0
"""Output of native libraries to standard error."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from m3net_tf.system.native import native_stderr


def test_threads_capture_only_their_own_output(capfd):
    def capture(number: int) -> bytes:
        with native_stderr() as captured:
            os.write(2, b"%d" % number)
            time.sleep(0.01)
            os.write(2, b"%d" % number)
            captured.seek(0)
            return captured.read()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(capture, range(4))) == [b"00", b"11", b"22", b"33"]
    os.write(2, b"restored")
    assert capfd.readouterr().err == "restored"
