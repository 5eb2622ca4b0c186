# SPDX-License-Identifier: Apache-2.0
"""Writes a solution's folder for BioDCASE-Tiny 2026 from an exported run.

    python examples/biodcase/make_submission.py runs/m3net_biodcase2026 submission/YOU_task3_1

docs/reference/biodcase.md says what is left to do by hand.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import yaml

from m3net_tf.audio.frontend import mel_filterbank
from m3net_tf.audio.frontend.reference import window
from m3net_tf.boards.builds.layouts import write_layout
from m3net_tf.export import Bundle
from m3net_tf.export.reference import read_vectors
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Run

HERE = Path(__file__).parent
MODELS, CODE = "your_submission_model", "your_generated_code"  # names that the task gives


def make_submission(run: Run, folder: Path) -> None:
    """Write the folder of a solution.

    Raises:
        ConfigError: the folder exists, or the front end is not a logarithm of mel powers alone.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: give a new folder, or remove it")
    bundle = Bundle.load(run.folder / "export")
    (folder / MODELS).mkdir(parents=True)
    shutil.copy(HERE / "m3net_submission.py", folder)
    (folder / MODELS / "m3net.tflite").write_bytes(bundle.tflite)
    write_yaml(
        folder / MODELS / "label_dict.yaml",
        {"label_dict": {label: index for index, label in enumerate(bundle.labels)}},
    )
    write_front_end(bundle, folder)
    write_yaml(folder / "config_submission.yaml", configuration(bundle, run))
    shutil.copytree(HERE / "firmware", folder / CODE / "src")
    write_layout(bundle, "esp-idf", folder / CODE / "src" / "components")


def write_yaml(path: Path, values: dict) -> None:
    """Write a mapping in its order."""
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def write_front_end(bundle: Bundle, folder: Path) -> None:
    """Write the front end's tables, and compare its features with the export's test vectors."""
    config = bundle.frontend
    tables = {
        "window": window(config),
        "hop": config.hop_samples,
        "fft": config.fft_samples,
        "mel": mel_filterbank(config),
        "floor": config.log_floor,
        "least": config.feature_min,
        "step": config.feature_step,
    }
    path = folder / MODELS / "front_end.npz"
    np.savez_compressed(path, **tables)
    from m3net_submission import Features  # needs ai_edge_litert, as the package does

    vectors = read_vectors(bundle)
    for pcm, expected in zip(vectors.pcm, vectors.features, strict=True):
        steps = Features(path).extract(pcm / 32768.0)[0] * 128
        if steps.shape != expected.shape or np.abs(steps - expected).max() > 1:
            raise ConfigError(
                f"{bundle.folder}: m3net_submission.py computes other features than its front "
                "end: use one of kind mel with log ln, and neither level, pre-emphasis nor cepstra"
            )


def configuration(bundle: Bundle, run: Run) -> dict:
    """What the task's pipeline reads; paths are from its folder ``submission``."""
    config = bundle.frontend
    metrics = run.metrics().values
    samples = bundle.frontend.sample_count(bundle.manifest.frames)
    return {
        "report_dir": "./reports",
        "test_file_dir": "./test_wav_files",
        "test_files_ext": ".wav",
        "inference_handler": {
            "add_python_paths": ["."],
            "target_sample_rate": config.sample_rate_hz,
            "target_wav_length_sec": -(-samples // config.sample_rate_hz),
            "model_dir": f"./{MODELS}",
            "saved_model_extension": ".tflite",
            "tflite_model_extension": ".tflite",
            "label_dict_yaml_path": f"./{MODELS}/label_dict.yaml",
            "feature_handler": {
                "module": "m3net_submission",
                "attr": "Features",
                "args": [],
                "kwargs": {
                    "path": f"./{MODELS}/front_end.npz",
                    "window_len": config.fft_samples,
                    "window_stride": config.hop_samples,
                    "window_scaling_bits": 12,
                    "mel_n_channels": config.mel_bins,
                    "mel_low_hz": config.mel_min_hz,
                    "mel_high_hz": config.mel_max_hz,
                    "mel_post_scaling_bits": 6,
                },
            },
            "model": {
                "module": "m3net_submission",
                "attr": "Network",
                "args": [],
                "kwargs": {"parameters": metrics["parameters"], "macs": metrics["macs"]},
            },
        },
        "generate_embedded_code": {
            "template_dir": "../biodcase_tiny/embedded/firmware",
            "gen_code_dir": f"./{CODE}",
            "gen_code_source_folder_name": "src",
            "serial_device": "/dev/ttyUSB0",
            "quantize": False,
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder with an export")
    parser.add_argument("folder", type=Path, help="folder of the solution, which is made")
    given = parser.parse_args()
    make_submission(Run(given.run), given.folder)
    print(f"{given.folder}: build {given.folder / CODE / 'src'} with idf.py build")
