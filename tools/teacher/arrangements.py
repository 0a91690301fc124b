"""Music that is written as it is played: accompaniments by MMA (Musical MIDI Accompaniment) in most of its two thousand grooves, with chords and a
melody made up at random, played by FluidSynth, in the Messy Mashup layout (OUT/genres_stems/arrangements/<number>/other.wav, 16 kHz mono).

    arrangements.py --count 400 [--first 0] --out OUT

Each number is some pieces of 8 to 12 bars, one after the other, played with one SoundFont. The same number is always the same sound. Needs mido of PyPI and, once:

    apt-get install mma fluidsynth fluid-soundfont-gm musescore-general-soundfont timgm6mb-soundfont && mma -G
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import tempfile

import mido
import numpy as np
import soundfile

RATE = 16_000
TOGETHER = 8  # pieces: a SoundFont takes seconds to load
LIBRARY = pathlib.Path("/usr/share/mma/lib")
SOUNDFONTS = ["sf2/FluidR3_GM.sf2", "sf3/MuseScore_General.sf3", "sf2/TimGM6mb.sf2"]
# Styles by their files' names: the first pattern that fits says how often a file is taken, at which beats a minute, and with which chords.
STYLES = [
    (r"none|metronome|count|intro|ending|march|polka", 0, (0, 0), ""),
    (r"metal|mtl|hrk|thr|punk|w-rock", 8, (110, 200), "power"),
    (r"hip-?hop|trip", 8, (75, 110), "minor"),
    (r"blues|blus|boggie|boogie|rb|r\+b|rnb|soul", 3, (60, 150), "blues"),
    (r"country|cntry|bluegrass|western|westballad|folk|zydeco", 3, (80, 180), "plain"),
    (r"reggae|ska|desert|calypso", 8, (65, 140), "plain"),
    (r"disco|boneym|dance|house|funk|motown", 3, (100, 132), "pop"),
    (r"jazz|swing|bebop|bigband|evans|charleston|dixie|ragtime|fus|bossa", 1.5, (80, 220), "jazz"),
    (r"arpeggio|serenade|hymn|string|lullaby|piano|waltz|spiritual", 2, (55, 130), "classical"),
    (r"rock|beat|pop|ballad|bald|twist", 1.5, (65, 170), "pop"),
    (r"", 0.7, (70, 170), "pop"),
]
PROGRESSIONS = {
    "power": ["C5 C5 Eb5 F5", "C5 Ab5 Bb5 C5", "C5 Db5 C5 Gb5", "Cm Ab Eb Bb", "C5 F5 G5 F5"],
    "minor": ["Cm Cm Fm Cm", "Cm7 Ab Cm7 G7", "Cm Bb Ab G", "Cm9 Fm7 Cm9 Fm7", "Fm Cm Fm Cm"],
    "blues": ["C7 F7 C7 C7 F7 F7 C7 C7 G7 F7 C7 G7", "C7 C7 F7 C7", "Cm7 Cm7 Fm7 Cm7 G7 Fm7", "C7 Eb7 F7 C7"],
    "plain": ["C F C G", "C C G C", "C F G C", "C G Am F", "Am G Am G", "C Am F G7"],
    "pop": ["C G Am F", "Am F C G", "C Am F G", "CM7 Am7 Dm7 G7", "Cm Ab Eb Bb", "F G Em Am", "Cm7 F7 Cm7 F7"],
    "jazz": ["Dm7 G7 CM7 A7", "CM7 A7 Dm7 G7", "Dm7b5 G7 Cm6 Cm6", "C6 Cdim Dm7 G7", "Cm7 F7 BbM7 EbM7 Am7b5 D7 Gm6 Gm6", "CM9 Bbm9 Eb9 AbM7"],
    "classical": ["C G Am Em F C F G", "Cm Fm G Cm", "C F G C Am Dm G C", "Cm G Cm Fm Cm G Cm Cm", "C Dm G7 C", "Am E Am Dm E Am"],
}
MELODY = {
    "power": [29, 30, 30, 31],
    "minor": [4, 52, 80, 81, 11, 73],
    "blues": [22, 25, 26, 27, 29, 65, 66, 18],
    "plain": [22, 25, 24, 40, 105, 21, 26, 27, 52],
    "pop": [0, 27, 29, 48, 52, 53, 54, 80, 81, 65],
    "jazz": [0, 11, 26, 56, 57, 59, 64, 65, 66, 71, 73],
    "classical": [0, 0, 6, 24, 40, 41, 42, 48, 60, 68, 70, 71, 73, 46],
}
KITS = [0, 0, 0, 8, 16, 24, 25, 32, 40]


def grooves():
    """[(names of the grooves of a file, how often, beats a minute, chords)]"""
    found = []
    for path in sorted(LIBRARY.glob("*/*.mma")):
        names = re.findall(r"(?im)^\s*DefGroove\s+(\S+)", path.read_text("latin-1"))
        often, beats, chords = next(style[1:] for style in STYLES if re.search(style[0], path.stem.lower()))
        if names and often:
            found.append((names, often, beats, chords))
    return found


def riff(random, fast):
    """A bar of a melody: notes of C major whatever the chord; MMA transposes them with it."""
    notes, left = [], 16
    while left > 0:
        length = min(int(random.choice([1, 2, 2, 4, 4, 8] if fast else [2, 4, 4, 8, 8, 16])), left)
        length = 1 << (length.bit_length() - 1)
        note = "r" if random.random() < 0.2 else random.choice(list("ccdeeggab")) + random.choice(["", "", "", "+", "-"])
        notes.append(f"{16 // length}{note}")
        left -= length
    return ";".join(notes) + ";"


def piece(random, styles, shares, folder):
    """One MIDI file, or None where MMA cannot use the groove with such chords."""
    names, _, beats, chords = styles[random.choice(len(styles), p=shares)]
    progression = random.choice(PROGRESSIONS[chords]).split()
    bars = int(random.integers(8, 13))
    lines = [f"RndSeed {random.integers(1 << 31)}", f"Tempo {int(random.uniform(*beats))}", f"Groove {random.choice(names)}"]
    lines.append(f"Transpose {random.integers(-5, 7)}")
    with_melody = random.random() < 0.65
    if with_melody:
        touch = [f"Octave {random.integers(4, 7)}", f"Articulate {random.integers(60, 101)}", f"Volume {random.choice(['mp', 'mf', 'f'])}"]
        lines += ["Begin Solo", *touch, "End"]
        figures = [riff(random, random.random() < 0.5) for _ in range(int(random.integers(1, 5)))]
    for bar in range(bars):
        if with_melody and random.random() < 0.85:
            lines.append(f"Solo Riff {figures[random.integers(len(figures))]}")
        lines.append(f"{bar + 1} {progression[bar % len(progression)]}")
    source, out = folder / "piece.mma", folder / "piece.mid"
    source.write_text("\n".join(lines) + "\n")
    out.unlink(missing_ok=True)
    subprocess.run(["mma", "-w", "-f", out, source], capture_output=True)
    if not out.exists():
        return None
    midi = mido.MidiFile(out)
    lead = random.choice(MELODY[chords])
    programs = {}  # by channel, which several tracks may share
    for track in midi.tracks:
        solo = track.name.lower().startswith("solo")
        channels = {message.channel for message in track if message.type == "note_on"}
        # Many instruments never say theirs; so each says it at the start, and what it says later is not heard.
        said = next((message.program for message in track if message.type == "program_change"), 0)
        track[:] = [message for message in track if message.type != "program_change"]
        for channel in channels:
            if channel == 9:
                program = KITS[random.integers(len(KITS))]
            elif solo:
                program = lead
            else:
                # Mostly its own or one of its kind (General MIDI has them in eights), for a few any at all.
                chance = random.random()
                program = said if chance < 0.45 else said // 8 * 8 + random.integers(8) if chance < 0.9 else random.integers(112)
                if chords == "power" and 24 <= said < 32:
                    program = random.choice([29, 30])
            program = programs.setdefault(channel, int(program))
            track.insert(0, mido.Message("program_change", channel=channel, program=program))
    midi.save(out)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    fonts = [pathlib.Path("/usr/share/sounds") / font for font in SOUNDFONTS]
    missing = [program for program in ("mma", "fluidsynth") if not shutil.which(program)] + [str(font) for font in fonts if not font.exists()]
    styles = grooves()
    if missing or not styles:
        raise SystemExit(f"{', '.join(missing) or LIBRARY} is not there; --help says how to install what is needed on Debian")
    shares = np.array([often for _, often, _, _ in styles], float)
    shares /= shares.sum()
    print(f"{len(styles)} styles, {sum(len(names) for names, *_ in styles)} grooves", flush=True)
    for number in range(args.first, args.first + args.count):
        random = np.random.default_rng([2026, number])
        out = args.out / "genres_stems" / "arrangements" / f"{number:05}" / "other.wav"
        if out.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            folder, pieces = pathlib.Path(folder), []
            for _ in range(10 * TOGETHER):
                made = piece(random, styles, shares, folder)
                if made is not None:
                    pieces.append(made.rename(folder / f"{len(pieces)}.mid"))
                if len(pieces) == TOGETHER:
                    break
            else:
                raise SystemExit("MMA refuses most grooves; 'mma -G' makes its list of them")
            room = [f"synth.reverb.room-size={random.uniform(0.1, 0.9):.2f}", f"synth.reverb.level={random.uniform(0, 0.7):.2f}", "synth.gain=0.4"]
            options = [word for option in room for word in ("-o", option)]
            played = folder / "played.wav"
            command = ["fluidsynth", "-q", "-ni", "-r", str(RATE), *options, "-F", played, "-T", "wav", fonts[number % len(fonts)], *pieces]
            subprocess.run(command, check=True, capture_output=True)
            samples = soundfile.read(played, dtype="float32")[0].mean(1)
            out.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(played, samples / max(np.abs(samples).max(), 1e-6) * 0.9, RATE)
            shutil.move(played, part := out.with_suffix(".part"))
            part.replace(out)  # whole or not at all


main()
