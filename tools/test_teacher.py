"""Tests of make_pool.py, mixes.py, stems.py and genres.py in teacher/, with made-up sound and made-up answers of a teacher
(`tools/check_python.sh` runs them). The others need the teacher's weights, PyTorch, or MMA and SoundFonts, and are not tested here."""
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

TOOLS = pathlib.Path(__file__).resolve().parent / "teacher"
RATE = 16_000
GENRES = ["blues", "metal", "pop"]


def run(tool, *args):
    return subprocess.run([sys.executable, TOOLS / tool, *map(str, args)], capture_output=True, text=True)


def done(tool, *args):
    ran = run(tool, *args)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def read(path):
    return soundfile.read(path, dtype="float32")[0]


def tone(hertz, seconds, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def spectral_peak(samples):
    """Hz."""
    return np.fft.rfftfreq(len(samples), 1 / RATE)[np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax()]


@pytest.fixture
def songs(tmp_path):
    """A pool of labelled songs: 30 of each genre, two excerpts of each recording; training songs are tones of 500 Hz, the others of 3 kHz."""
    ids = [f"{genre}/{genre}.{number // 2:05}.{'az'[number % 2]}" for genre in GENRES for number in range(30)]
    split = {"train": [name for name in ids if int(name[-7:-2]) < 10], "validation": [name for name in ids if int(name[-7:-2]) >= 10]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    for name in ids:
        path = tmp_path / "songs" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(500 if name in split["train"] else 3000, 4), RATE)
    done("make_pool.py", "--songs", tmp_path / "songs", "--out", tmp_path / "songs-pool")
    return split


def heard(pool, names, classes, seed=0):
    """What a teacher would have heard: the genre, under noise that no two of them share."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(names), 70)).astype(np.float32)
    values[np.arange(len(names)), classes] += 6
    np.savez(pool / "heard.npz", songs=np.array(names), values=values)


def table(path):
    with safe_open(path, "np") as stored:
        return json.loads(stored.metadata()["songs"]), json.loads(stored.metadata()["columns"]), stored.get_tensor("targets")


def test_a_pool_has_what_is_long_and_loud_enough_and_pieces_of_it(tmp_path):
    mashups = tmp_path / "mashups" / "rock"
    mashups.mkdir(parents=True)
    for name, samples in {"long": tone(440, 12), "short": tone(440, 3), "silent": tone(440, 12, 1e-4)}.items():
        soundfile.write(mashups / f"{name}.wav", samples, RATE)
    soundfile.write(tmp_path / "music.flac", np.stack([tone(880, 60), 0 * tone(880, 60)], 1), RATE)
    pool = tmp_path / "pool"
    done("make_pool.py", "--mashups", tmp_path / "mashups", "--music", tmp_path, "--windows", 3, "--out", pool)
    kept = {path.parent.name: read(path) for path in pool.glob("genres_stems/*/*/other.wav")}
    assert sorted(kept) == ["long", "track.00000.14", "track.00000.25", "track.00000.36"]
    assert {len(samples) for samples in kept.values()} == {164_160}
    # The mean of both channels.
    assert spectral_peak(kept["track.00000.25"]) == pytest.approx(880, abs=1)
    assert np.abs(kept["track.00000.25"]).max() == pytest.approx(0.25, abs=0.01)

    done("make_pool.py", "--pieces", 3, "--out", pool)
    pieces = {path.parent.name: read(path) for path in pool.glob("genres_stems/*/*.piece/other.wav")}
    assert len(pieces) == 3
    for name, samples in pieces.items():
        assert 2 * RATE <= len(samples) <= 3 * RATE
        whole = kept[name.removesuffix(".piece")]
        starts = np.flatnonzero(whole[: len(whole) - len(samples) + 1] == samples[0])
        assert any(np.array_equal(whole[start : start + len(samples)], samples) for start in starts)

    refused = run("make_pool.py", "--pieces", 3, "--out", tmp_path / "nothing")
    assert refused.returncode != 0 and "no windows" in refused.stderr


def test_mixes_are_of_training_songs_alone_and_a_number_is_always_the_same_sound(tmp_path, songs):
    other = tmp_path / "other-pool/genres_stems/music/track"
    other.mkdir(parents=True)
    soundfile.write(other / "other.wav", tone(6000, 8), RATE)

    def mixes(out, share, *more):
        given = ["--labelled", tmp_path / "songs-pool", "--split", tmp_path / "split.json", "--from", f"{other.parent}={share}"]
        done("mixes.py", *given, *more, "--out", tmp_path / out)
        return {path.parent.name: read(path) for path in (tmp_path / out).glob("genres_stems/mixes/*/other.wav")}

    made = mixes("mixes", 0, "--count", 12)
    assert sorted(made) == [f"{number:05}" for number in range(12)]
    for samples in made.values():
        assert 2 * RATE <= len(samples) < 3.1 * RATE and 0.29 < np.abs(samples).max() <= 0.96
        # 500 Hz at 0.8 to 1.25 of its speed: none of the 3 kHz of songs that are kept for judging.
        assert 399 < spectral_peak(samples) < 626
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
        assert spectrum[frequencies > 2000].max() < 0.01 * spectrum.max()
    again = mixes("again", 0, "--first", 7, "--count", 2)
    assert sorted(again) == ["00007", "00008"]
    for number, samples in again.items():
        np.testing.assert_array_equal(samples, made[number])
    assert all(4700 < spectral_peak(samples) < 7600 for samples in mixes("music", 1, "--count", 4).values())

    refused = run("mixes.py", "--labelled", tmp_path / "songs-pool", "--split", tmp_path / "split.json",
                  "--from", f"{other.parent}=1.5", "--count", 1, "--out", tmp_path / "none")
    assert refused.returncode != 0 and "at most" in refused.stderr and not (tmp_path / "none").exists()


def test_sounds_of_stems_are_of_training_songs_alone_and_a_number_is_always_the_same_sound(tmp_path, songs):
    given = ["--split", tmp_path / "split.json", "--data", tmp_path / "songs-pool"]

    def stems(out, *more):
        said = done("stems.py", *given, *more, "--out", tmp_path / out)
        return said, {path.parent.name: read(path) for path in (tmp_path / out).glob("genres_stems/stems/*/other.wav")}

    said, made = stems("stems", "--count", 12)
    assert f"{len(songs['train'])} of the split's {len(songs['train'])} training songs, 0 unlabelled ones" in said
    for samples in made.values():
        # 500 Hz at 0.77 to 1.3 of its speed.
        assert len(samples) == 40_960 and 384 < spectral_peak(samples) < 651
    _, again = stems("again", "--first", 7, "--count", 2)
    assert sorted(again) == ["00007", "00008"]
    for number, samples in again.items():
        np.testing.assert_array_equal(samples, made[number])

    refused = run("stems.py", "--split", tmp_path / "split.json", "--data", tmp_path / "nothing", "--count", 1, "--out", tmp_path / "none")
    assert refused.returncode != 0 and "none of the split's training songs" in refused.stderr


def test_the_genres_of_unlabelled_sound_come_from_training_songs(tmp_path, songs):
    pool, names = tmp_path / "songs-pool", songs["train"] + songs["validation"]
    classes = np.array([GENRES.index(name.split("/")[0]) for name in names])
    # Were they learnt from, these would teach another genre: every song kept for judging sounds as the next genre.
    classes[len(songs["train"]) :] = (classes[len(songs["train"]) :] + 1) % 3
    heard(pool, names, classes)
    unlabelled, taken_for = tmp_path / "pool", np.arange(9) % 3
    ids = [f"music/track.{number:05}.0" for number in range(9)]
    for name in ids:
        (unlabelled / "genres_stems" / name).mkdir(parents=True)
        soundfile.write(unlabelled / "genres_stems" / name / "other.wav", tone(440, 2), RATE)
    heard(unlabelled, ids, taken_for, seed=1)
    given = ["--songs", pool, "--split", tmp_path / "split.json", "--pool", unlabelled]
    said = done("genres.py", *given, "--sorted", tmp_path / "sorted", "--out", tmp_path / "genres.safetensors")
    assert "60 training songs; accuracy on the 30 others: 0.000" in said
    sounds, columns, targets = table(tmp_path / "genres.safetensors")
    assert columns == GENRES and targets.dtype == np.float32
    np.testing.assert_array_equal(targets.argmax(1), taken_for)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert sounds == [f"taken-for-{GENRES[genre]}/{name.split('/')[1]}.music" for name, genre in zip(ids, taken_for)]
    assert all((tmp_path / "sorted/genres_stems" / sound / "other.wav").exists() for sound in sounds)

    # By what columns.py heard of each sound's units, in the mean: here what heard.npz says of the sounds the other way round.
    with np.load(unlabelled / "heard.npz") as stored:
        means = stored["values"][::-1]
    whole = np.stack([means - 0.5, means + 0.5], 1).reshape(-1, means.shape[1])
    np.savez(unlabelled / "columns.npz", songs=np.array(ids), units=np.full(len(ids), 2), whole=whole)
    done("genres.py", *given, "--columns", "--out", tmp_path / "columns.safetensors")
    sounds, _, by_columns = table(tmp_path / "columns.safetensors")
    assert sounds == ids
    np.testing.assert_allclose(by_columns, targets[::-1], atol=1e-5)

    # With rows of the training songs, half of them the label, the rest by regressions that never saw the recording.
    done("genres.py", *given, "--labelled", 0.5, "--out", tmp_path / "labelled.safetensors")
    sounds, _, rows = table(tmp_path / "labelled.safetensors")
    assert sounds == ids + songs["train"]
    np.testing.assert_allclose(rows[:9], targets, atol=1e-6)
    own = rows[9:][np.arange(60), classes[:60]]
    assert ((0.5 < own) & (own < 0.9999)).all()

    refused = run("genres.py", *given, unlabelled, "--out", tmp_path / "twice.safetensors")
    assert refused.returncode != 0 and "same name" in refused.stderr
    refused = run("genres.py", *given, "--labelled", 2, "--out", tmp_path / "share.safetensors")
    assert refused.returncode != 0 and "from 0 to 1" in refused.stderr


def test_a_recording_does_not_tell_its_own_excerpts(tmp_path, songs):
    """Where only excerpts of one recording sound alike, regressions on other recordings must know nothing."""
    names = songs["train"] + songs["validation"]
    _, of_recording = np.unique([name[:-2] for name in names], return_inverse=True)
    alike = np.random.default_rng(2).normal(size=(of_recording.max() + 1, 70)).astype(np.float32)
    np.savez(tmp_path / "songs-pool/heard.npz", songs=np.array(names), values=alike[of_recording])
    unlabelled = tmp_path / "pool"
    unlabelled.mkdir()
    heard(unlabelled, ["music/a"], [0])
    said = done("genres.py", "--songs", tmp_path / "songs-pool", "--split", tmp_path / "split.json", "--pool", unlabelled,
                "--labelled", 0, "--out", tmp_path / "genres.safetensors")
    told = float(said.split("songs of other recordings: ")[1].split()[0])
    assert told < 0.7, said
