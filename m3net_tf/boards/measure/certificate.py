# SPDX-License-Identifier: Apache-2.0
"""``certificate.json`` and ``certificate.md``: proof that Python and the compiled C agree."""

from pathlib import Path

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.boards.emulation.listening import LiveCost
from m3net_tf.boards.emulation.starting import prove_arena
from m3net_tf.boards.measure.comparison import FORMAT, Certificate, compare
from m3net_tf.boards.measure.cost import BoardCost, measure
from m3net_tf.boards.measure.figures import Figure, figures_markdown
from m3net_tf.export import Bundle
from m3net_tf.export.reference import read_vectors, with_engines
from m3net_tf.system.artifacts import read_json, write_json, write_text
from m3net_tf.system.errors import FirmwareError, M3NetError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent


@writes_into("folder", makes=True)
def certify_export(bundle: Bundle, board: str, folder: Path, log: Log = silent) -> Certificate:
    """Prove the arena and compare Python with the device's code over the export's test vectors.

    A certificate of the same firmware is kept.

    Returns:
        The certificate; without an emulator it says "host only" and gives the reason.

    Raises:
        FirmwareError: the firmware does not build or run, or its numbers drift from Python's.
    """
    find_machine(board)  # refuses a board without an emulator
    reference = read_vectors(bundle)
    try:
        image = prove_arena(bundle, board, folder, log)
    except MissingError as error:
        log(f"nothing is proven on a board, the certificate is of the host only: {error}")
        reference = with_engines(bundle, reference, log)
        certificate = compare(bundle, reference, None, str(error))
    else:
        if valid := valid_certificate(bundle, image):
            return valid
        reference = with_engines(bundle, reference, log)
        log(f"running {len(reference.pcm)} test vectors on the emulated {board}")
        measured = measure(bundle, image, reference, log, certified=True, hops=True)
        certificate = compare(bundle, reference, measured)
    write_certificate(bundle, certificate)
    require_parity(bundle, certificate)
    return certificate


def write_certificate(bundle: Bundle, certificate: Certificate) -> None:
    """Write both files into the bundle."""
    write_json(bundle.folder / "certificate.json", certificate)
    write_text(bundle.folder / "certificate.md", _markdown(certificate))


def valid_certificate(bundle: Bundle, image: FirmwareImage) -> Certificate | None:
    """The bundle's certificate, if it holds for this network and firmware; otherwise None."""
    try:
        certificate = read_json(bundle.folder / "certificate.json")
        same = (
            certificate["format"] == FORMAT
            and certificate["holds"]
            and certificate["network"]["sha256"] == bundle.manifest.model.sha256
            and certificate["engine"] == bundle.manifest.engine
            and certificate["frontend_sha256"] == bundle.frontend.fingerprint()
            and certificate["board"]["name"] == image.board
            and certificate["board"]["firmware_sha256"] == image.sha256
        )
    except (M3NetError, KeyError, TypeError):
        return None
    return certificate if same else None


def require_parity(bundle: Bundle, certificate: Certificate) -> None:
    """Refuse an export whose certificate does not hold.

    Raises:
        FirmwareError: the certificate does not hold; the message names the drift.
    """
    if certificate["drift"]:
        raise FirmwareError(
            f"{bundle.folder / 'certificate.md'}: {'; '.join(certificate['drift'])}: do not use "
            "this export; use the pinned compiler and sources, and export again"
        )


def _markdown(certificate: Certificate) -> str:
    network = certificate["network"]
    clips = certificate["clips"]
    outputs = certificate["outputs"]
    board = certificate.get("board")
    rows: list[Figure] = [
        ("network", f"{network['name']}, SHA-256 {network['sha256']}"),
        ("engine", certificate["engine"]),
        ("front end, SHA-256 of its settings", certificate["frontend_sha256"]),
        ("clips", f"{clips['count']}: {clips['source']}"),
        ("board", f"{board['name']}, {board['emulator']}" if board else certificate["missing"]),
    ]
    features = certificate["features"]
    same_label_share = certificate["labels_equal_share"]
    if features and same_label_share is not None:
        rows += [
            ("front end in C", features["arithmetic"]),
            ("features compared with Python's", features["values"]),
            ("equal", features["equal_share"]),
            ("within 1 LSB", features["within_1_lsb_share"]),
            ("largest difference, LSB", features["largest_lsb"]),
            ("same label from sound as on the desktop", same_label_share),
        ]
    rows += [
        ("output bytes compared with the desktop's", outputs["bytes"]),
        ("different in TFLite Micro on the host", outputs["different_in_tflm_on_the_host"]),
        (
            "different in the compiled engine on the host",
            outputs["different_in_compiled_on_the_host"],
        ),
        ("different on the board", outputs["different_on_the_board"]),
    ]
    if stream := certificate.get("stream"):
        rows += [
            ("hops on the board compared with the whole window", stream["hops"]),
            ("computed on the host by", ", ".join(stream["references"])),
            ("equal bytes in all of them", stream["bytes_equal"]),
            ("instructions per hop, streamed", stream["hop_instructions"]),
        ]
    arena = certificate["arena"]
    rows.append((f"tensor arena, bytes ({arena['source']})", arena["bytes"]))
    if board:
        if live := board["cost"].get("live"):
            rows += _live_rows(live)
        rows += _cost_rows(board["cost"])
    verdict = "holds" if certificate["holds"] else "DOES NOT HOLD"
    lines = [f"# Parity certificate: {verdict} ({certificate['scope']})", ""]
    if drift := certificate["drift"]:
        lines += [*(f"- DRIFT: {text}" for text in drift), ""]
    return "\n".join([*lines, *figures_markdown(rows)])


def _live_rows(live: LiveCost) -> list[Figure]:
    """Live detection of an export that streams."""
    return [
        ("runs of live detection on the board compared with whole windows", live["runs"]),
        ("computed on the host by", ", ".join(live["references"])),
        ("events", live["events"]),
        ("equal scores and events", live["equal"]),
        (f"instructions of a run, {live['push_columns']} new columns", live["instructions"]),
        ("of a run that begins a stream", live["start_instructions"]),
    ]


def _cost_rows(cost: BoardCost) -> list[Figure]:
    figures = {name: value for name, value in sorted(cost.items()) if isinstance(value, int)}
    sections = {f"section {name} bytes": size for name, size in cost.get("sections", {}).items()}
    return [(name.replace("_", " "), value) for name, value in {**figures, **sections}.items()]
