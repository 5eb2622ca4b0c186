# SPDX-License-Identifier: Apache-2.0
"""Exports of released versions can be read; unknown formats are refused by name."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from m3net_tf import __version__
from m3net_tf.audio.frontend import features_int8
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import FORMAT
from m3net_tf.export.reference import read_vectors
from m3net_tf.runtime import Classifier
from m3net_tf.system.errors import ModelError

ROOT = Path(__file__).parents[2]
EXPORTS = ROOT / "tests/data/exports"
KEPT = sorted(path.stem for path in EXPORTS.glob("*.zip"))


@pytest.fixture(params=KEPT)
def kept(request, tmp_path) -> Path:
    """The export of a version."""
    folder = tmp_path / request.param
    with zipfile.ZipFile(EXPORTS / f"{request.param}.zip") as archive:
        archive.extractall(folder)
    return folder


def test_each_released_version_has_an_export():
    """``make demo`` of the version made it; later versions keep it."""
    headings = re.findall(r"^## (\S+)(.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = {name for name, state in headings if "unreleased" not in state}
    assert released <= set(KEPT) <= {name for name, _ in headings}


def test_an_export_of_that_version_gives_its_bytes(kept):
    bundle = Bundle.load(kept)
    vectors = read_vectors(bundle)
    np.testing.assert_array_equal(bundle.run_reference(vectors.features), vectors.scores)
    for pcm, features in zip(vectors.pcm, vectors.features, strict=True):
        computed = features_int8(bundle.frontend, pcm / 32768.0)
        np.testing.assert_allclose(computed, features[..., 0], rtol=0, atol=1)  # FFTs may differ
    classifier = Classifier(kept)
    assert classifier.labels == bundle.labels
    assert classifier.classify(vectors.pcm[0]).scores.shape == (len(bundle.labels),)


def test_what_its_tables_lack_is_written_anew(kept):
    lines: list[str] = []
    folder = Bundle.load(kept).c_folder(lines.append)
    assert "m3net_frontend_fft_places[" in (folder / "frontend_tables.c").read_text()
    assert "M3NET_DETECTOR_EVENTS" in (folder / "detector_config.h").read_text()
    assert len(lines) == 1 and Bundle.load(kept).c_folder(lines.append) == kept
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (FORMAT + 1, "install a newer m3net_tf, or export again with this one"),
        (FORMAT - 1, "export again"),
        (None, "export again"),
    ],
)
def test_another_format_is_refused_by_name(kept, number, advice):
    path = kept / "manifest.json"
    values = json.loads(path.read_text())
    values["a key of another release"] = values.pop("format")
    if number is not None:
        values["format"] = number
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError) as refused:
        Bundle.load(kept)
    assert str(refused.value) == (
        f"{path}: the export has format {number or 1}, and m3net_tf {__version__} reads format "
        f"{FORMAT}: {advice}"
    )
