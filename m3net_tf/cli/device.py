# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net monitor`` and ``m3net device …``: a board on a port."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app, device_app
from m3net_tf.cli.options import AsJson, DataDir, EngineOfExport, complete_runs
from m3net_tf.cli.output import (
    console,
    print_lines,
    print_result,
    progress_beside,
    say,
    say_exactly,
    say_json,
)

PortName = Annotated[str, typer.Argument(help="Serial device, pty, tcp:HOST:PORT, or qemu:BOARD.")]
DeviceRun = Annotated[
    Path,
    typer.Option(
        "--run", envvar="RUN", autocompletion=complete_runs, help="Run of the board's model."
    ),
]
Baud = Annotated[int, typer.Option(help="Speed of a serial device.")]
DEFAULT_RUN = Path("runs/demo")
DEFAULT_BAUD = 115_200
DEFAULT_WEB_PORT = 8765


@app.command()
def monitor(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    play: Annotated[Path | None, typer.Option(help="Sound file instead of the microphone.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write <RECORD>.csv and, from a microphone, <RECORD>.wav.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this much audio.")] = None,
    baud: Baud = DEFAULT_BAUD,
    web: Annotated[
        bool, typer.Option("--web", help="Serve all this as a page with sliders on 127.0.0.1.")
    ] = False,
    web_port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port of the page; 0: any free one.")
    ] = DEFAULT_WEB_PORT,
    capture: Annotated[
        Path | None, typer.Option(help="With --web: folder of the sounds labelled on the page.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print each event as a line of JSON, without the picture."),
    ] = False,
) -> None:
    """Show live detection on a board: scores, spectrogram, events. Ctrl-C ends it."""
    if web and as_json:
        raise typer.BadParameter("give either --web or --json")
    if web:
        from m3net_tf.pages.live_page.command import run_live_page

        run_live_page(
            port, run, play=play, record=record, capture=capture, seconds=seconds, baud=baud,
            web_port=web_port, log=say,
        )  # fmt: skip
        return
    if capture is not None:
        raise typer.BadParameter("--capture needs --web: the page is where sounds get labels")
    import dataclasses
    import json

    from m3net_tf.boards.device.monitor import run_monitor

    run_monitor(
        port,
        run,
        console,
        play=play,
        record=record,
        seconds=seconds,
        baud=baud,
        log=progress_beside(as_json),
        on_event=(
            (lambda event: say_exactly(json.dumps(dataclasses.asdict(event)))) if as_json else None
        ),
    )


@device_app.command("info")
def device_info(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Show board, model, memory and statistics."""
    from m3net_tf.boards.device.facts import device_facts, facts_table
    from m3net_tf.boards.device.session import connect

    with connect(port, run, baud=baud, log=progress_beside(as_json)) as device:
        facts = device_facts(device)
    print_result(facts, as_json, facts_table)


@device_app.command("evaluate")
def device_evaluate(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    data_dir: DataDir = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Held-out clips; default: all.")] = None,
    source: Annotated[
        str, typer.Option("--input", help="features, or pcm for the board's own front end.")
    ] = "features",
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Measure the accuracy of the test set on the board; skips finished clips."""
    from m3net_tf.boards.device.evaluate import evaluate_port, evaluation_table

    summary = evaluate_port(
        port,
        run,
        data_dir,
        clips,
        source,
        baud=baud,
        log=progress_beside(as_json),
    )
    print_result(summary, as_json, evaluation_table)


@device_app.command("profile")
def device_profile(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    engine: EngineOfExport = None,
    as_json: AsJson = False,
) -> None:
    """Show the cost of each operator or compiled call on the board, with its MACs."""
    from m3net_tf.boards.device.session import connect
    from m3net_tf.boards.measure.layers import profile, profile_table, save_profile
    from m3net_tf.export import Bundle

    bundle = Bundle.load(run / "export")
    with connect(port, run, baud=baud, log=progress_beside(as_json), engine=engine) as device:
        device.require_model(bundle.manifest.model.sha256, str(run))
        measured = profile(device, *bundle.network.parts)
    path = save_profile(measured, bundle.manifest.model.sha256, run)
    if as_json:
        say_json(measured)
    else:
        console.print(profile_table(measured))
        say(f"{path}: the same figures, for m3net report")


@device_app.command("capture")
def device_capture(
    port: PortName,
    label: Annotated[str, typer.Option(help="Class of the clips.")],
    folder: Annotated[Path, typer.Option(help="Folder data set that gets the clips.")],
    count: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 1.0,
    play: Annotated[
        Path | None,
        typer.Option(help="Sound file that an emulated board records, clip after clip."),
    ] = None,
    ask: Annotated[
        bool, typer.Option(help="Wait for Enter before each clip, unless a file is played.")
    ] = True,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Record labelled clips with the board's microphone, for training with the folder data set."""
    from m3net_tf.boards.device.capture import capture_port

    def wait(index: int) -> None:
        if ask:
            typer.prompt(
                f"clip {index}: Enter, then {label}", default="", show_default=False, err=as_json
            )

    log = progress_beside(as_json)
    paths = capture_port(
        port, run, folder, label, count, seconds, baud=baud, play=play, log=log, before_each=wait
    )
    if as_json:
        say_json({"label": label, "files": [str(path) for path in paths]})


@device_app.command("update")
def device_update(
    port: PortName,
    image: Annotated[
        Path | None,
        typer.Option(help="File of m3net model image; default: the run's export as it is now."),
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Return to the former model instead.")
    ] = False,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Exchange the board's model without a new firmware; it restarts with the new one.

    The board's firmware is of an export with --updatable, and of the same network and settings.
    """
    from m3net_tf.boards.device.session import connect
    from m3net_tf.boards.device.updating import image_for, return_to_former, update

    log = progress_beside(as_json)
    with connect(port, run, baud=baud, log=log) as device:
        if back:
            slots = return_to_former(device)
        else:
            slots = update(device, image_for(device, run, image), log)
        facts = {**slots, "sha256": device.info().model.get("sha256", "")}
    print_lines(
        facts,
        as_json,
        lambda _: [f"the board runs model {facts['sha256'][:12]} (slot {facts['active']})"],
    )


Word = Annotated[str, typer.Argument(help="The word or sound, a name of at most 15 bytes.")]


@device_app.command("enrol")
def device_enrol(
    port: PortName,
    word: Word,
    files: Annotated[list[Path], typer.Argument(help="Recordings of it, 3 to 10.")],
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Learn whole recordings, of sounds that last longer."),
    ] = False,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Teach the board a word or sound from recordings, without training; its flash keeps it."""
    from m3net_tf.boards.device.enrolment import enrol, keep_words
    from m3net_tf.boards.device.session import connect
    from m3net_tf.export import Bundle

    log = progress_beside(as_json)
    with connect(port, run, baud=baud, log=log) as device:
        bundle = Bundle.load(run / "export")
        device.require_model(bundle.manifest.model.sha256, str(run))
        words = enrol(device, word, files, bundle.prototypes(), bundle.detector, log, whole=whole)
        keep_words(device, run / "export")
    _say_words(words, as_json)


@device_app.command("forget")
def device_forget(
    port: PortName,
    word: Word,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Delete an enrolled word or sound from the board."""
    from m3net_tf.boards.device.enrolment import forget, keep_words
    from m3net_tf.boards.device.session import connect

    log = progress_beside(as_json)
    with connect(port, run, baud=baud, log=log) as device:
        words = forget(device, word, log)
        keep_words(device, run / "export")
    _say_words(words, as_json)


@device_app.command("words")
def device_words(
    port: PortName,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """List the words and sounds that the board was taught."""
    from m3net_tf.boards.device.enrolment import enrolled, keep_words
    from m3net_tf.boards.device.session import connect

    with connect(port, run, baud=baud, log=progress_beside(as_json)) as device:
        words = enrolled(device)
        keep_words(device, run / "export")
    _say_words(words, as_json)


@device_app.command("calibrate")
def device_calibrate(
    port: PortName,
    hours: Annotated[float, typer.Option(min=0, help="Hours of normal sound.")] = 1.0,
    play: Annotated[Path | None, typer.Option(help="Sound file instead of the microphone.")] = None,
    run: DeviceRun = DEFAULT_RUN,
    baud: Baud = DEFAULT_BAUD,
    as_json: AsJson = False,
) -> None:
    """Raise the threshold of m3net normal above the normal sound around the board, and save it."""
    import dataclasses

    from m3net_tf.boards.device.calibration import calibrate_port

    log = progress_beside(as_json)
    found = calibrate_port(port, run, hours, play=play, baud=baud, log=log)
    print_lines(
        dataclasses.asdict(found),
        as_json,
        lambda _: [
            f"{found.hours:.2f} hours of normal sound reach {found.highest:.3f}: the threshold is "
            f"{found.threshold:.3f}; at most {found.most_per_day:.0f} false alarms a day (95 %)"
        ],
    )


def _say_words(words: Mapping[str, int], as_json: bool) -> None:
    listed = ", ".join(f"{name} ({examples} examples)" for name, examples in words.items())
    print_lines(words, as_json, lambda _: [f"the board knows {listed or 'nothing yet'}"])
