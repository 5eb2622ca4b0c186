# SPDX-License-Identifier: Apache-2.0
"""The detector's settings: YAML and back, refused where wrong, and as a C header."""

import dataclasses

import pytest
import yaml
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.runtime import (
    DetectorConfig,
    load_detector,
    save_detector,
)
from m3net_tf.system.errors import ConfigError

LABELS = ("_silence_", "_unknown_", "yes", "Noise", "noisy", "ünïcode")
CONFIG = DetectorConfig.default(FrontendConfig(), 49, LABELS)


def test_default_listens_for_all_but_silence_and_unknown():
    assert CONFIG.labels == LABELS
    events = [settings.event for settings in CONFIG.classes]
    assert events == [False, False, True, False, True, True]
    assert CONFIG.gate_bins == 40 and CONFIG.gate_level is None
    assert CONFIG.gate_sum == -128 * 40  # open for every column
    cepstra = FrontendConfig(mfcc_coefficients=13, feature_min=-60.0, feature_max=40.0)
    assert DetectorConfig.default(cepstra, 49, LABELS).gate_bins == 1


def test_yaml_reads_back_to_the_same_settings(tmp_path):
    config = dataclasses.replace(CONFIG, gate_level=-70, run_columns=10)
    save_detector(config, tmp_path / "detector.yaml")
    assert load_detector(tmp_path / "detector.yaml") == config
    assert DetectorConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key 'colour' in section 'detector': known keys are window_col"),
        ({"run_columns": 0}, "detector.run_columns is 0: give a whole number"),
        ({"run_columns": 2.5}, r"detector.run_columns is 2\.5"),
        ({"gate_level": -129}, "detector.gate_level is -129"),
        ({"gate_hold_columns": True}, "detector.gate_hold_columns is True"),
        ({"classes": []}, "give each class once"),
        ({"classes": "all"}, "detector.classes is 'all': give a list"),
        ({"classes": [{"label": "a"}, {"label": "a"}]}, "give each class once"),
        (
            {"classes": [{"threshold": 0.5}]},
            r"key 'label' is missing in section 'detector.classes\[0\]'",
        ),
        ({"classes": [{"label": "a", "size": 1}]}, "unknown key 'size'"),
        ({"classes": [{"label": "a", "threshold": 0}]}, r"classes\[0\].threshold is 0"),
        ({"classes": [{"label": "a", "threshold": 1.1}]}, r"classes\[0\].threshold is 1.1"),
        ({"classes": [{"label": "a", "threshold": "high"}]}, r"classes\[0\].threshold is 'high'"),
        ({"classes": [{"label": "a", "release": 0.9}]}, r"a.release is 0\.9: give at most thresh"),
        ({"classes": [{"label": "a", "window_runs": 0}]}, r"classes\[0\].window_runs is 0"),
        ({"classes": [{"label": "a", "window_runs": 256}]}, r"classes\[0\].window_runs is 256"),
        ({"classes": [{"label": "a", "hits": 0}]}, r"classes\[0\].hits is 0"),
        ({"classes": [{"label": "a", "suppression_columns": -1}]}, "suppression_columns is -1"),
        ({"classes": [{"label": "a", "event": "yes"}]}, r"classes\[0\].event is 'yes'"),
    ],
)
def test_wrong_settings_are_named_in_one_line(tmp_path, change, message):
    path = tmp_path / "detector.yaml"
    path.write_text(yaml.safe_dump({**CONFIG.to_dict(), **change}))
    with pytest.raises(ConfigError, match=message) as caught:
        load_detector(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "", "\x00", "- 1"])
def test_what_is_no_settings_file(tmp_path, text):
    path = tmp_path / "detector.yaml"
    path.write_text(text)
    with refuses(ConfigError, "detector.yaml") as caught:
        load_detector(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_detector(tmp_path / "absent.yaml")


def test_settings_of_another_network_are_refused():
    frontend = FrontendConfig()
    CONFIG.check_fits(frontend, 49, LABELS)
    with refuses(ConfigError, "no", "yes"):
        CONFIG.check_fits(frontend, 49, ("yes", "no"))
    with refuses(ConfigError, "window_columns", "49", "98"):
        CONFIG.check_fits(frontend, 98, LABELS)
    raw = FrontendConfig(kind="waveform")
    DetectorConfig.default(raw, 50, LABELS).check_fits(raw, 50, LABELS)
    assert DetectorConfig.default(raw, 50, LABELS).gate_bins == raw.hop_samples
    with refuses(ConfigError, "gate_bins", "40", "20"):
        CONFIG.check_fits(FrontendConfig(mel_bins=20), 49, LABELS)
