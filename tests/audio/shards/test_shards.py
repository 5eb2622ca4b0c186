# SPDX-License-Identifier: Apache-2.0
"""Shards: written, resumed, damaged, read in order, here and at a URL."""

import dataclasses
import json

import fsspec
import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.shards import files, load_sharded_dataset, open_shards, require_section
from m3net_tf.audio.shards.index import INDEX
from m3net_tf.audio.shards.stream import clip_stream
from m3net_tf.audio.shards.writing import write_shards
from m3net_tf.system.artifacts import cache_folder, sha256_of
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training.clips.features import compute_features, labelled_clips, with_lengths
from m3net_tf.training.loop.batches import TrainingClips, occurrences, sharded_batches

pytestmark = pytest.mark.usefixtures("private_cache")
SECTION = {
    "name": "synth",
    "protocol": None,
    "fold": None,
    "seed": 0,
    "options": {"clips_per_class": 6},
}
CLIPS = 40
SAMPLES = 16_000


@pytest.fixture(scope="module")
def sounds():
    """60 clips, one of which is background noise too, and shorter than they are delivered."""
    dataset = load_dataset("synth", clips_per_class=6)
    return dataclasses.replace(dataset, noise=(dataset.split("train")[3],))


@pytest.fixture(scope="module")
def folder(sounds, tmp_path_factory):
    """Folder of shards; do not write into it."""
    path = tmp_path_factory.mktemp("data") / "shards"
    write_shards(sounds, SECTION, str(path), 15)
    return path


@pytest.fixture
def own(folder, tmp_path):
    """A copy of the shards to write into."""
    files._verified.clear()
    copy = tmp_path / "shards"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def order_of(shards, take, counts=None, **options):
    counts = np.ones(CLIPS, np.int64) if counts is None else counts
    stream = clip_stream(shards, SAMPLES, counts, seed=options.pop("seed", [0, 0]), **options)
    return [int(index) for _, index in stream.take(take)]


def test_the_data_set_comes_back(folder, sounds):
    shards = open_shards(str(folder))
    back = load_sharded_dataset(shards)
    assert [shard.clips for shard in shards.of_split("train")] == [15, 15, 10]
    assert (back.clip_list_hash(), back.counts()) == (sounds.clip_list_hash(), sounds.counts())
    # The registry knows nothing of this copy's options; all else is equal.
    assert back.info == dataclasses.replace(sounds.info, notes=back.info.notes)
    originals = {clip.clip_id: clip for clip in sounds.clips}
    for clip in back.clips[::7]:
        original = originals[clip.clip_id]
        assert (clip.group, clip.labels, clip.synthetic) == (
            original.group,
            original.labels,
            original.synthetic,
        )
        assert np.array_equal(back.load(clip), sounds.load(original))
    assert len(back.noise) == 1


def test_batches_have_the_features_of_the_files(folder, sounds, tiny_recipe):
    recipe = tiny_recipe(augmentation={"copies": 0}, training={"batch_size": 8})
    shards = open_shards(str(folder))
    dataset = load_sharded_dataset(shards)
    clips = TrainingClips(labelled_clips(dataset, "train"))
    batches = list(sharded_batches(clips, dataset, shards, recipe, epoch=0, steps=5))
    assert [len(batch["labels"]) for batch in batches] == [8] * 5
    features = compute_features(sounds, "train", recipe.frontend)
    maps = {
        clip.clip_id: (features.features[0, i], features.labels[i])
        for i, clip in enumerate(features.clips)
    }
    streamed = [
        (features, label)
        for batch in batches
        for features, label in zip(batch["features"].numpy(), batch["labels"].numpy(), strict=True)
    ]
    found = sorted((label, content.tobytes()) for content, label in streamed)
    assert found == sorted((label, content.tobytes()) for content, label in maps.values())


def test_lengths_before_padding_are_kept(sounds, tmp_path, tiny_recipe):
    read = sounds.synthesise
    short = sounds.split("train")[0].clip_id
    cut = dataclasses.replace(
        sounds,
        info=dataclasses.replace(sounds.info, fit="pad"),
        synthesise=lambda clip: read(clip)[: 8000 if clip.clip_id == short else None],
    )
    back = load_sharded_dataset(write_shards(cut, SECTION, str(tmp_path / "s"), 100))
    clips = with_lengths(labelled_clips(back, "train"), back, tiny_recipe().frontend)
    names = [clip.clip_id for clip in clips.clips]
    assert clips.lengths[0].argmin() == names.index(short) and len(set(clips.lengths[0])) == 2


def test_the_order_depends_on_the_seed_alone(folder):
    shards = open_shards(str(folder))
    first = order_of(shards, CLIPS)
    assert first == order_of(shards, CLIPS) != order_of(shards, CLIPS, seed=[0, 1])
    assert sorted(first) == list(range(CLIPS))
    twice = order_of(shards, 2 * CLIPS)
    assert twice[:CLIPS] == first and sorted(twice[CLIPS:]) == sorted(first)
    assert twice[CLIPS:] != first


def test_each_worker_has_its_own_shards(folder):
    shards = open_shards(str(folder))
    shares = [order_of(shards, size, worker=k, workers=2) for k, size in enumerate((25, 15))]
    assert sorted(shares[0] + shares[1]) == list(range(CLIPS))
    with refuses(ConfigError, "4 workers", "3 training shards"):
        order_of(shards, 1, workers=4)


def test_balanced_sampling_draws_with_replacement(folder):
    shards = open_shards(str(folder))
    clips = labelled_clips(load_sharded_dataset(shards), "train")
    counts = occurrences(clips, "balanced", np.random.default_rng(1))
    assert counts.sum() == CLIPS and counts.max() > 1
    assert np.bincount(order_of(shards, CLIPS, counts), minlength=CLIPS).tolist() == list(counts)


def test_finished_shards_are_kept(own, sounds, monkeypatch):
    before = contents(own)
    changed = own / "train-00001-of-00003.tfrecord"
    changed.write_bytes(changed.read_bytes()[:-1])
    (own / "validation-00000-of-00001.tfrecord").unlink()
    (own / "test-00000-of-00001.tfrecord.json").write_text("{")
    (own / INDEX).unlink()
    read = []
    counted = dataclasses.replace(
        sounds, synthesise=lambda clip: read.append(clip) or sounds.synthesise(clip)
    )
    write_shards(counted, SECTION, str(own), 15)
    assert contents(own) == before and len(read) == 15 + 10 + 10


def test_shards_of_others_are_refused(own, sounds):
    with pytest.raises(ConfigError, match=r"has shards of another data set, protocol or size: ch"):
        write_shards(sounds, SECTION, str(own), 14)
    with pytest.raises(ConfigError, match=r"has shards of another data set"):
        write_shards(sounds, {**SECTION, "seed": 1}, str(own), 15)
    with refuses(ConfigError, "clips per shard"):
        write_shards(sounds, SECTION, str(own), 0)


def test_a_recipe_of_another_protocol_is_refused(folder):
    shards = open_shards(str(folder))
    require_section(shards, {**SECTION, "protocol": "generated-split"})  # the default's name
    with refuses(ConfigError, "dataset.seed", "0", "3"):
        require_section(shards, {**SECTION, "seed": 3})


def test_a_damaged_shard_is_named(own, tiny_recipe):
    shards = open_shards(str(own))
    recipe = tiny_recipe(augmentation={"copies": 0})
    dataset = load_sharded_dataset(shards)
    clips = TrainingClips(labelled_clips(dataset, "train"))
    shard = own / "train-00002-of-00003.tfrecord"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(sharded_batches(clips, dataset, shards, recipe, 0, 3))
    assert str(caught.value) == (
        f"{shard} is damaged: its SHA-256 is not the index's; delete it and run m3net data shard "
        "again, which writes only what is missing"
    )
    shard.unlink()
    with refuses(DataError, "train-00002-of-00003.tfrecord", "m3net"):
        files.local_shard(shards.url, shards.sha256, shards.of_split("train")[2])


def test_a_damaged_index_or_list_is_named(own):
    path = own / "test-00000-of-00001.tfrecord.json"
    path.write_text("{}")
    with refuses(DataError, "tfrecord.json"):
        load_sharded_dataset(open_shards(str(own)))
    values = json.loads((own / INDEX).read_text())
    for change, message in (
        ({"format": 2}, r"has format 2, this m3net_tf reads 1: write the shards again"),
        ({"shards": [{**values["shards"][0], "file": "../x"}]}, r"index\.json is damaged"),
        ({"shards": []}, r"index\.json is damaged \(ValueError\): delete it and run m3net data"),
    ):
        (own / INDEX).write_text(json.dumps({**values, **change}))
        with pytest.raises(DataError, match=message):
            open_shards(str(own))
    (own / INDEX).unlink()
    with refuses(DataError, "index.json", "m3net data"):
        open_shards(str(own))


def test_shards_at_a_url_are_copied_once(sounds, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path))
    url = "memory://bucket/synth"
    memory = fsspec.filesystem("memory")
    written = write_shards(sounds, SECTION, url, 15)
    assert written.sha256 == open_shards(str(folder)).sha256
    memory.rm("/bucket/synth/test-00000-of-00001.tfrecord")
    assert write_shards(sounds, SECTION, url + "/", 15) == written  # writes the missing one
    files._verified.clear()
    assert sorted(order_of(written, 25, workers=2)) == sorted(
        order_of(open_shards(str(folder)), 25, workers=2)
    )
    copies = cache_folder() / "shards" / written.sha256[:16]
    names = sorted(path.name for path in copies.iterdir())
    assert names == [f"train-0000{k}-of-00003.tfrecord" for k in (0, 2)]  # this worker's alone
    files._verified.clear()
    (copies / names[0]).write_bytes(b"")  # of a copy that is damaged a new one is made
    dataset = load_sharded_dataset(written)
    assert len(dataset.load(dataset.split("train")[0])) == SAMPLES
    assert sha256_of((copies / names[0]).read_bytes()) == written.files[0].sha256
    memory.rm("/bucket/synth/train-00001-of-00003.tfrecord")
    with refuses(DataError, "memory://bucket/synth", "FileNotFoundError"):
        dataset.load(dataset.split("train")[15])


def test_a_full_disk_is_one_line(sounds, tmp_path, monkeypatch):
    from m3net_tf.audio.shards import writing

    class Full:
        def __init__(self, path):
            raise writing.tf.errors.ResourceExhaustedError(
                None, None, f"{path}; No space left on device"
            )

    monkeypatch.setattr(writing.tf.io, "TFRecordWriter", Full)
    with refuses(DataError, "tfrecord", "No space left"):
        write_shards(sounds, SECTION, str(tmp_path / "full"), 15)
    assert not list((tmp_path / "full").glob("*.tfrecord"))


def test_windows_of_a_longer_clip_still_count_as_one(tmp_path):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 12_000)
    for label in "ab":
        for number in range(4):
            path = tmp_path / "sounds" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, 8000)
    options = {"sample_rate_hz": 8000, "clip_s": 1.0, "long_clips": "windows"}
    dataset = load_dataset("folder", tmp_path / "sounds", **options)
    section = {**SECTION, "name": "folder", "options": options}
    write_shards(dataset, section, str(tmp_path / "shards"))
    back = load_sharded_dataset(open_shards(str(tmp_path / "shards")))
    places = {(clip.clip_id, clip.whole, clip.start_s, clip.duration_s) for clip in back.clips}
    assert places == {(c.clip_id, c.whole, c.start_s, c.duration_s) for c in dataset.clips}
