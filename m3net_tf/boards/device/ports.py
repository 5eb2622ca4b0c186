# SPDX-License-Identifier: Apache-2.0
"""Ports of a board: a serial device, a pty, ``tcp:HOST:PORT``, or ``qemu:BOARD``."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from m3net_tf.boards.builds.boards import Machine, find_machine
from m3net_tf.boards.emulation.qemu import SCRATCH, console_command, stream_image
from m3net_tf.system.artifacts import naming
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import scratch_folder

DEFAULT_BAUD = 115_200
_CONNECT_TIMEOUT_S = 30.0
_CHUNK_BYTES = 65_536


class Port:
    """Bytes to and from a board.

    Attributes:
        name: name that the user gave, for messages.
        physical: whether it is a serial line, which has a speed.
    """

    physical = False

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, timeout_s: float) -> bytes:
        """Received bytes; waits up to ``timeout_s`` for the first, empty if none comes.

        Raises:
            FirmwareError: the connection broke.
        """
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            FirmwareError: the connection broke.
        """
        raise NotImplementedError

    def set_baud(self, baud: int) -> None:
        """Change the speed of a serial line after all data is sent; other ports ignore it."""

    def close(self) -> None:
        """Close the port."""
        raise NotImplementedError

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FirmwareError(
                f"{self.name}: the connection broke ({error}); connect again"
            ) from None


class _SerialPort(Port):
    """A serial device or a pty."""

    physical = True

    def __init__(self, path: str, baud: int) -> None:
        super().__init__(path)
        import serial

        try:
            self._serial: Any = serial.Serial(path, baud, timeout=0, exclusive=True)
        except (serial.SerialException, ValueError) as error:
            raise FirmwareError(_why_no_serial(path, str(error))) from None

    def read(self, timeout_s: float) -> bytes:
        with self._connected():
            ready, _, _ = select.select([self._serial.fileno()], [], [], max(0.0, timeout_s))
            return self._serial.read(_CHUNK_BYTES) if ready else b""

    def write(self, data: bytes) -> None:
        with self._connected():
            self._serial.write(data)

    def set_baud(self, baud: int) -> None:
        with self._connected():
            self._serial.flush()
            self._serial.baudrate = baud

    def close(self) -> None:
        self._serial.close()


class _SocketPort(Port):
    """A connected socket, with a function to call when it closes."""

    def __init__(
        self, name: str, connection: socket.socket, on_close: Callable[[], None] | None = None
    ) -> None:
        super().__init__(name)
        connection.settimeout(_CONNECT_TIMEOUT_S)
        self._socket = connection
        self._on_close = on_close

    def read(self, timeout_s: float) -> bytes:
        with self._connected():
            ready, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
            data = self._socket.recv(_CHUNK_BYTES) if ready else b""
            if ready and not data:
                raise ConnectionResetError("the other side closed it")
            return data

    def write(self, data: bytes) -> None:
        with self._connected():
            self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()
        if self._on_close:
            self._on_close()


def is_emulated(name: str) -> bool:
    """Whether a port is the console of an emulator that :func:`open_port` starts."""
    return name.startswith("qemu:")


def require_emulated(name: str) -> None:
    """Refuse a port without an emulator, whose microphone cannot play a file.

    Raises:
        FirmwareError: the board is not emulated.
    """
    if not is_emulated(name):
        raise FirmwareError(f"{name}: only an emulated board (qemu:BOARD) can record a sound file")


def open_port(
    name: str,
    *,
    baud: int = DEFAULT_BAUD,
    firmware: Callable[[str], Path] | None = None,
    sound: bytes | None = None,
    emulator_arguments: tuple[str, ...] | None = None,
) -> Port:
    """Open a port by its name.

    Args:
        name: path of a serial device or pty, ``tcp:HOST:PORT``, or ``qemu:BOARD``.
        firmware: returns the ELF for a board, for ``qemu:``.
        sound: int16 samples of the emulated board's microphone, as bytes.
        emulator_arguments: replace the machine's own arguments, for ``qemu:``.

    Raises:
        FirmwareError: there is no such port, or it cannot be opened.
    """
    kind, _, rest = name.partition(":")
    if kind == "qemu" and rest:
        if firmware is None:
            raise FirmwareError(f"{name}: no firmware to emulate; name its run by --run RUN")
        machine = find_machine(rest)  # before the build: a board may have no emulator
        return _open_emulator(name, machine, firmware(rest), sound, emulator_arguments)
    if sound is not None:
        require_emulated(name)
    if kind == "tcp":
        return _open_tcp(name, rest)
    return _SerialPort(name, baud)


def _why_no_serial(path: str, text: str) -> str:
    if not Path(path).exists():
        devices = sorted(str(port) for port in Path("/dev").glob("tty[AU][CS][MB]*"))
        hint = f"serial devices here: {', '.join(devices)}" if devices else "no board is plugged in"
        return f"{path}: no such port ({hint}); give a serial device, tcp:HOST:PORT or qemu:BOARD"
    if "ermission" in text:
        return f"{path}: no permission; add yourself to the group that owns it (often dialout)"
    return f"{path}: cannot be opened as a serial port ({' '.join(text.split())[:120]})"


def _open_tcp(name: str, address: str) -> Port:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise FirmwareError(
            f"{name}: not an address; give tcp:HOST:PORT, such as tcp:localhost:3456"
        )
    try:
        connection = socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S)
    except OSError as error:
        raise FirmwareError(f"{name}: no listener there ({error}); start the emulator") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _SocketPort(name, connection)


def _open_emulator(
    name: str, machine: Machine, elf: Path, sound: bytes | None, arguments: tuple[str, ...] | None
) -> Port:
    """Start QEMU with its console at a pair of sockets, which no other process can reach."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch_folder(SCRATCH))
        image = None
        if sound is not None:
            image = folder / "sound.bin"
            with naming(image):
                image.write_bytes(stream_image(sound, machine.job_bytes))
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        with theirs, (folder / "errors").open("wb") as errors:
            command = console_command(
                elf, machine, "chardev:console", image=image, arguments=arguments
            )
            command += ["-chardev", f"socket,id=console,fd={theirs.fileno()}"]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[theirs.fileno()],
            )
        stack.callback(_stop, process)
        # The firmware greets when it starts, and the socket ends with the emulator.
        started, _, _ = select.select([ours], [], [], _CONNECT_TIMEOUT_S)
        if not started or not ours.recv(1, socket.MSG_PEEK):
            reason = " ".join((folder / "errors").read_text(errors="replace").split())
            raise FirmwareError(f"{name}: the emulator did not start ({reason or 'no message'})")
        return _SocketPort(name, ours, stack.pop_all().close)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
