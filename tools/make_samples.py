"""Makes samples/: the project's own music, synthesised here note by note, so that the repository has sound to show
the program on that anybody may use (CC0).

    pip install numpy==2.4.6 soundfile==0.13.1
    python3 tools/make_samples.py [--out samples]

  rock.flac     20 s: power chords of two guitars at 112 beats a minute, and a third that leads
  mashup.flac   20 s: drums and bass of one disco groove (120 beats a minute: kick on every beat, open hi-hat between,
                octave bass), strings and lead of another, the whole under street noise (rumble and two horns, about
                12 dB below the music): what this program is for
  piano.ogg     20 s: broken chords and a slow melody on a struck string, in a hall
  medley.ogg    31 s: the piano, the rock and the disco without the street, one after the other, 10.24 s each

16 kHz, mono; 16 bits, or Vorbis. The same seed gives the same samples, so running it again changes nothing (but the
serial number that a Vorbis stream has).
"""

import argparse
import pathlib

import numpy as np
import soundfile

RATE = 16_000
SECONDS = 20.0
N = int(RATE * SECONDS)
T = np.arange(N) / RATE


def note(midi):
    return 440.0 * 2.0 ** ((midi - 69) / 12)


def place(track, at, sound, gain=1.0):
    start = int(at * RATE)
    end = min(start + len(sound), len(track))
    if start < len(track):
        track[start:end] += gain * sound[: end - start]


def envelope(n, attack, decay):
    t = np.arange(n) / RATE
    return np.minimum(t / attack, 1.0) * np.exp(-t / decay)


def kick(seconds=0.25):
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    phase = 2 * np.pi * (48 * t + 28 * (1 - np.exp(-t * 40)) / 40 * 5)
    return np.sin(phase) * envelope(n, 0.002, 0.09)


def hiss(rng, seconds, decay, low, high):
    n = int(seconds * RATE)
    return band(rng.standard_normal(n), low, high) * envelope(n, 0.001, decay)


def band(x, low, high):
    spectrum = np.fft.rfft(x)
    hertz = np.fft.rfftfreq(len(x), 1 / RATE)
    spectrum[(hertz < low) | (hertz > high)] = 0
    y = np.fft.irfft(spectrum, len(x))
    return y / max(np.abs(y).max(), 1e-9)


def snare(rng):
    body = np.sin(2 * np.pi * 190 * np.arange(int(0.2 * RATE)) / RATE) * envelope(int(0.2 * RATE), 0.001, 0.05)
    return 0.5 * body + 0.7 * hiss(rng, 0.2, 0.07, 900, 7500)


def saw(hertz, n, detune=0.0):
    t = np.arange(n) / RATE
    out = np.zeros(n)
    for cents in (-detune, 0.0, detune) if detune else (0.0,):
        f = hertz * 2 ** (cents / 1200)
        harmonics = np.arange(1, int(7500 / f) + 1)
        for h in harmonics:
            out += np.sin(2 * np.pi * h * f * t + h * cents) / h
    return out / (3 if detune else 1)


def level(x, rms=0.12):
    return x * rms / max(np.sqrt(np.mean(x**2)), 1e-9)


def disco(rng, beat, roots, key_shift=0):
    """Stems of a disco groove; `roots` has a chord (root, minor third or major) a bar."""
    drums, bass, other, vocals = (np.zeros(N) for _ in range(4))
    bar = 4 * beat
    for b in range(int(SECONDS / beat) + 1):
        at = b * beat
        place(drums, at, kick(), 1.0)
        if b % 2:
            place(drums, at, snare(rng), 0.6)
        place(drums, at + beat / 2, hiss(rng, 0.18, 0.09, 5000, 7900), 0.45)
        for s in range(4):
            place(drums, at + s * beat / 4, hiss(rng, 0.05, 0.015, 6000, 7900), 0.2)
    for m in range(int(SECONDS / bar) + 1):
        root, third = roots[m % len(roots)]
        root += key_shift
        for eighth in range(8):
            n = int(0.42 * beat * RATE)
            pitch = root - 24 + (12 if eighth % 2 else 0)
            tone = saw(note(pitch), n) * envelope(n, 0.004, 0.16)
            place(bass, m * bar + eighth * beat / 2, np.convolve(tone, np.ones(6) / 6, "same"), 0.7)
        n = int(bar * RATE)
        pad = sum(saw(note(root + 12 + i), n, 9) for i in (0, third, 7, 12))
        swell = 0.6 + 0.4 * np.sin(np.pi * np.arange(n) / n)
        place(other, m * bar, band(pad * swell, 250, 6000), 0.5)
        for sixteenth in (2, 3, 6, 10, 11, 14):  # the rhythm guitar's chop
            n = int(0.09 * RATE)
            chop = sum(saw(note(root + 12 + i), n) for i in (third, 7, 12)) * envelope(n, 0.002, 0.03)
            place(other, m * bar + sixteenth * beat / 4, band(chop, 700, 7000), 0.35)
        for step, degree in enumerate((12, 14, 12 + third, 19, 12 + third, 14)):
            n = int(0.6 * beat * RATE)
            t = np.arange(n) / RATE
            vibrato = 2 * np.pi * note(root + degree) * t + 0.25 * np.sin(2 * np.pi * 5.5 * t)
            voice = sum(np.sin(h * vibrato) * a for h, a in ((1, 1), (2, 0.5), (3, 0.35), (4, 0.15)))
            place(vocals, m * bar + step * beat * 0.66, voice * envelope(n, 0.03, 0.35), 0.35)
    return dict(drums=drums, bass=bass, other=other, vocals=vocals)


def rock(rng, beat):
    drums, bass, other, vocals = (np.zeros(N) for _ in range(4))
    riff = [40, 40, 43, 40, 46, 45, 40, 40]
    for b in range(int(SECONDS / beat) + 1):
        for s in (0, 1, 2, 3) if b % 4 == 3 else (0, 2):
            place(drums, b * beat + s * beat / 4, kick(0.2), 0.9)
        if b % 2:
            place(drums, b * beat, snare(rng), 1.0)
        for s in range(2):
            at, n = (b + s / 2) * beat, int(0.5 * beat * RATE)
            place(drums, at, hiss(rng, 0.3, 0.12, 4000, 7900), 0.25)
            root = riff[(2 * b + s) % len(riff)]
            hold = np.exp(-np.arange(n) / RATE / 0.5)
            for detune in (-0.07, 0.07):  # two guitars are never in tune
                chord = sum(saw(note(root + i + detune), n, 6) for i in (0, 7, 12))
                place(other, at, np.tanh(2 * chord) * hold)
            place(bass, at, np.tanh(2 * saw(note(root - 12), n)) * hold)
    for k in range(int(SECONDS / (2 * beat)) + 1):  # the lead guitar
        n = int(1.96 * beat * RATE)
        t = np.arange(n) / RATE
        tone = [64, 67, 69, 71, 74, 71, 69, 67, 64, 62, 64, 67, 71, 74, 76, 74][k % 16]
        phase = 2 * np.pi * note(tone) * t + 0.35 * np.minimum(t / 0.2, 1) * np.sin(2 * np.pi * 5.5 * t)
        lead = np.tanh(4 * sum(np.sin(h * phase) / h for h in range(1, 9)))
        place(vocals, 2 * k * beat, lead * np.minimum(t / 0.02, 1) * np.exp(-t / 1.2))
    # A guitar's loudspeaker gives nothing above 3.5 kHz.
    return dict(drums=drums, bass=band(bass, 30, 1200), other=band(other, 90, 3500), vocals=band(vocals, 200, 3500))


def string(midi, seconds):
    """A struck string: partials a little sharp, the higher the sooner gone."""
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    out = np.zeros(n)
    for h in range(1, 13):
        hertz = note(midi) * h * np.sqrt(1 + 4e-4 * h * h)
        if hertz < 7500:
            out += np.sin(2 * np.pi * hertz * t) * np.exp(-t * (0.9 + 0.45 * h) * midi / 60) / h**1.4
    return out * np.minimum(t / 0.004, 1.0)


def piano(rng, beat):
    hands = np.zeros(N)
    chords = [(45, 52, 57, 60), (41, 48, 53, 57), (48, 52, 55, 64), (43, 50, 55, 59)]
    melody = [76, 72, 69, 71, 72, 69, 65, 67, 67, 72, 76, 74, 71, 74, 79, 77]
    for m in range(int(SECONDS / (4 * beat)) + 1):
        chord = chords[m % 4]
        for eighth, tone in enumerate((0, 1, 2, 3, 2, 1, 2, 1)):
            at = m * 4 * beat + eighth * beat / 2 + rng.uniform(0, 0.012)
            place(hands, at, string(chord[tone], 2.5), 0.55 if eighth else 0.8)
        for b in range(4):
            place(hands, (4 * m + b) * beat + rng.uniform(0, 0.012), string(melody[(4 * m + b) % 16], 3.0), 0.7)
    echo = rng.standard_normal(int(1.4 * RATE)) * np.exp(-np.arange(int(1.4 * RATE)) / RATE / 0.3)
    size = 1 << 20
    hall = np.fft.irfft(np.fft.rfft(hands, size) * np.fft.rfft(echo, size), size)[:N]
    return level(hands) + level(hall, 0.03)


def one_after_the_other(pieces, seconds):
    n = int(seconds * RATE)
    fade = np.minimum(1, 40 * np.minimum(np.arange(n), n - np.arange(n)) / n)
    return np.concatenate([finish(piece[:n]) * fade for piece in pieces])


def street(rng):
    """Rumble of traffic, and a horn twice."""
    white = np.fft.rfft(rng.standard_normal(N))
    hertz = np.fft.rfftfreq(N, 1 / RATE)
    rumble = np.fft.irfft(white / np.maximum(hertz, 40) ** 0.9, N)
    rumble = level(rumble, 0.05) * (1 + 0.5 * np.sin(2 * np.pi * 0.13 * T))
    for at, pitch in ((4.2, 415.0), (13.5, 350.0)):
        n = int(0.9 * RATE)
        horn = saw(pitch, n) + saw(pitch * 1.26, n)
        place(rumble, at, level(horn * np.minimum(1, 20 * np.minimum(np.arange(n), n - np.arange(n)) / n), 0.07))
    return rumble


def finish(x, peak=0.9):
    return x * peak / np.abs(x).max()


def main():
    parser = argparse.ArgumentParser(description="Makes the repository's free samples.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "samples")
    out = parser.parse_args().out
    rng = lambda piece: np.random.default_rng([7, piece])
    mix = lambda stems, **gains: sum(gains.get(name, 1.0) * level(stem) for name, stem in stems.items())
    one = disco(rng(0), 0.5, [(57, 3), (53, 4), (55, 4), (52, 3)])
    two = disco(rng(1), 0.5, [(57, 3), (62, 3), (55, 4), (60, 4)])
    guitars = mix(rock(rng(2), 60 / 112), drums=1.2, bass=0.7, other=2.4, vocals=1.4)
    parts = dict(drums=one["drums"], bass=one["bass"], other=two["other"], vocals=two["vocals"])
    groove = mix(parts, drums=1.5, bass=1.2, other=0.5, vocals=0.3)
    mashup = groove + street(rng(3))
    keys = piano(rng(4), 0.8)
    pieces = {
        "rock.flac": guitars,
        "mashup.flac": mashup,
        "piano.ogg": keys,
        "medley.ogg": one_after_the_other([keys, guitars, groove], 10.24),
    }
    out.mkdir(exist_ok=True)
    for name, samples in pieces.items():
        samples = finish(samples)
        packed = dict(subtype="PCM_16") if name.endswith("flac") else dict(subtype="VORBIS", compression_level=0.5)
        soundfile.write(out / name, samples, RATE, **packed)
        rms = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        print(f"{name}  {len(samples) / RATE:.1f} s, peak {np.abs(samples).max():.2f}, RMS {rms:.1f} dBFS")


if __name__ == "__main__":
    main()
