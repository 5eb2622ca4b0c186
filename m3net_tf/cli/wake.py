# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net wake``: from a phrase to firmware that wakes up at it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import DEFAULT_BOARD, AsJson, complete_boards
from m3net_tf.cli.output import progress_beside, say, say_json, say_next
from m3net_tf.system.extras import require_modules


@app.command()
def wake(
    phrases: Annotated[list[str], typer.Argument(help="Wake word or phrase, one or several.")],
    board: Annotated[
        str | None,
        typer.Option(
            envvar="BOARD",
            autocompletion=complete_boards,
            help=f"Board: name of a folder in firmware/boards.  [default: {DEFAULT_BOARD}]",
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the voices, as en or en-us.  [default: en]")
    ] = None,
    voice_count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="Clips of each phrase.  [default: 1500]"),
    ] = None,
    near_count: Annotated[
        int | None, typer.Option(min=1, help="Clips of other speech.  [default: 3000]")
    ] = None,
    say_as: Annotated[
        list[str] | None,
        typer.Option(
            "--say",
            metavar="[PHRASE=]RESPELLING",
            help="How a phrase is pronounced, as kom-PYOO-ter; repeatable.",
        ),
    ] = None,
    voices: Annotated[
        list[Path] | None,
        typer.Option("--voice", metavar="FILE", help="Voice in a file; repeatable."),
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Folder of sounds without the phrase; repeatable."),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Recordings of other words, in a folder for each word.  "
            "[default: Speech Commands, if it is fetched]",
        ),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(help="Folder of own recordings; with several phrases one folder for each."),
    ] = None,
    target_false_accepts_per_hour: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="False accepts per hour that the threshold allows on the validation hours.  "
            "[default: 0.5]",
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            help="Length of the scenes with the phrase, beside the other hours.  [default: 0.5]"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the voices, sounds and scenes.  [default: 0]")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Teachers to train at once; more than one needs Ray.  [default: the processor's "
            "cores, if Ray is installed]",
        ),
    ] = None,
    micro_wake_word: Annotated[
        bool,
        typer.Option(
            "--micro-wake-word",
            help="Also train a network for ESPHome's micro_wake_word, and write its JSON file.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the project; default: <first phrase>_wake.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a wake word from a phrase: voices, training, threshold, export and emulation.

    A second call continues after the last finished step with the project's settings, so that it
    needs the phrase only. recipe.yaml may be changed in between.
    """
    require_modules("m3net wake", "train", "m3net_tf.system.keras", "librosa")
    if micro_wake_word and add is not None:
        raise typer.BadParameter(
            "--micro-wake-word learns from the voices, not from own recordings: leave --add out"
        )
    if micro_wake_word:  # what is missing is said before the voices speak for minutes
        require_modules("--micro-wake-word", "microwakeword", "pymicro_features")
    from m3net_tf.wake.making import make_wake_word
    from m3net_tf.wake.micro_wake_word import make_micro_wake_words
    from m3net_tf.wake.rendering import micro_wake_word_lines, wake_lines

    project = out or Path(f"{'_'.join(phrases[0].lower().split())}_wake")
    log = progress_beside(as_json)
    made = make_wake_word(
        phrases,
        project,
        board=board,
        language=language,
        count=voice_count,
        near_count=near_count,
        say=_respellings(phrases, say_as or []),
        voices=voices or (),
        negatives=negatives or (),
        words=words,
        add=add,
        target_false_accepts_per_hour=target_false_accepts_per_hour,
        hours=hours,
        seed=seed,
        jobs=jobs,
        log=log,
    )
    micro = make_micro_wake_words(project, jobs=jobs, log=log) if micro_wake_word else None
    if as_json:
        say_json(made.to_dict() | ({"micro_wake_word": micro} if micro else {}))
        return
    for line in (*wake_lines(made), *(micro_wake_word_lines(micro) if micro else ())):
        say(line)
    say_next("m3net", "flash", made.run.folder, "--board", made.settings.board)


def _respellings(phrases: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """The pronunciations of ``--say`` by phrase."""
    said: dict[str, str] = {}
    for text in given:
        phrase, equals, respelling = text.partition("=")
        if not equals:
            phrase = phrases[0]
            respelling = text
        if phrase not in phrases or not respelling:
            raise typer.BadParameter(
                f"--say {text!r}: give PHRASE=RESPELLING with one of {', '.join(phrases)}"
            )
        said[phrase] = respelling
    return said
