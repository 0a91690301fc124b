"""What `messymash tag` writes, as mutagen and mediafile (the library of beets) read it, and that all else is as mutagen wrote it
and libsndfile hears it.

Files of every kind are filled with every kind of tag, tagged, compared, and restored:
    tools/check_tags.sh
"""

import base64
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import mediafile
import mutagen
import soundfile
from mutagen import id3
from mutagen.flac import FLAC, Picture
from mutagen.mp4 import MP4, AtomDataType, MP4Cover, MP4FreeForm
from mutagen.oggvorbis import OggVorbis

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "crates/messymash/tests/golden/audio"
MODEL = ROOT / "crates/messymash/tests/golden/model/small/hf"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PRIVATE = "MESSYMASH_GENRE"


def id3_frames(version):
    """Frames of all kinds, also those that are no part of 2.3 but that iTunes writes into it."""
    frames = [
        id3.TIT2(encoding=3, text=["Größe 音"]),
        id3.TPE1(encoding=3, text=["One", "Two"]),
        id3.TALB(encoding=0, text=["Album"]),
        id3.TRCK(encoding=0, text=["3/12"]),
        id3.TDRC(encoding=0, text=["2001-02-03"]),
        id3.TSOP(encoding=0, text=["Sorted, Name"]),
        id3.TSO2(encoding=0, text=["Other, Sorted"]),
        id3.TCMP(encoding=0, text=["1"]),
        id3.TXXX(encoding=3, desc="replaygain_track_gain", text=["-7.1 dB"]),
        id3.TXXX(encoding=1, desc="MOOD", text=["Тихо"]),
        id3.COMM(encoding=3, lang="eng", desc="", text=["a comment"]),
        id3.COMM(encoding=0, lang="eng", desc="iTunNORM", text=[" 00000A"]),
        id3.USLT(encoding=3, lang="deu", desc="", text="Zeile\nzwei"),
        id3.UFID(owner="http://musicbrainz.org", data=b"\xff\x00\xffid"),
        id3.PRIV(owner="WM/Provider", data=bytes(range(256))),
        id3.POPM(email="me@example.org", rating=196, count=7),
        id3.GEOB(encoding=0, mime="x/y", filename="f", desc="d", data=b"\xff\xe0\xff\x00"),
        id3.WOAR(url="http://example.org"),
        id3.WXXX(encoding=0, desc="shop", url="http://example.org/1"),
        id3.APIC(encoding=0, mime="image/png", type=3, desc="front", data=PNG),
        id3.APIC(encoding=3, mime="image/png", type=4, desc="rück", data=PNG * 300),
        id3.TCON(encoding=0, text=["Rock"]),
    ]
    if version == 4:
        frames += [
            id3.TMOO(encoding=3, text=["calm"]),
            id3.TIPL(encoding=3, people=[["producer", "Somebody"]]),
            id3.RVA2(desc="track", channel=1, gain=-3.5, peak=0.5),
            id3.CHAP(element_id="c1", start_time=0, end_time=100, start_offset=2**32 - 1, end_offset=2**32 - 1, sub_frames=[id3.TIT2(encoding=3, text=["Chapter"])]),
        ]
    return frames


def fill_id3(path, version):
    tags = mutagen.File(path)
    if tags.tags is None:
        tags.add_tags()
    for frame in id3_frames(version):
        tags.tags.add(frame)
    if path.suffix == ".mp3":
        tags.save(v2_version=version, v1=2)
    else:
        tags.save(v2_version=version)


def fill_vorbis(path):
    tags = mutagen.File(path)
    if tags.tags is None:
        tags.add_tags()
    tags["title"] = ["Größe 音"]
    tags["artist"] = ["One", "Two"]
    tags["REPLAYGAIN_TRACK_GAIN"] = ["-7.1 dB"]
    tags["genre"] = ["Rock", "Pop"]
    tags["empty"] = [""]
    picture = Picture()
    picture.data, picture.type, picture.mime, picture.desc = PNG * 2000, 3, "image/png", "front"
    picture.width = picture.height = 1
    picture.depth = 32
    if isinstance(tags, FLAC):
        tags.add_picture(picture)
        small = Picture()
        small.data, small.type, small.mime = PNG, 4, "image/png"
        tags.add_picture(small)
    else:
        tags["metadata_block_picture"] = [base64.b64encode(picture.write()).decode()]
    tags.save()


def fill_mp4(path):
    tags = MP4(path)
    tags["\xa9nam"] = ["Größe 音"]
    tags["\xa9ART"] = ["One", "Two"]
    tags["\xa9gen"] = ["Rock"]
    tags["trkn"] = [(3, 12)]
    tags["tmpo"] = [128]
    tags["cpil"] = True
    tags["covr"] = [MP4Cover(PNG * 300, MP4Cover.FORMAT_PNG), MP4Cover(PNG, MP4Cover.FORMAT_PNG)]
    tags["----:com.apple.iTunes:MusicBrainz Track Id"] = [MP4FreeForm(b"id", AtomDataType.UTF8)]
    tags["----:com.apple.iTunes:binary"] = [MP4FreeForm(b"\x00\xff\x00", AtomDataType.IMPLICIT)]
    tags.save()


def sounds(folder):
    """A file of each kind, filled with tags, and one of each without any."""
    made = []

    def add(name, source, fill=None):
        path = folder / name
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copy(GOLDEN / source, path)
        if fill:
            fill(path)
        made.append(path)

    samples = struct.pack("<8000h", *[(i * 37 % 601 - 300) * 50 for i in range(8000)])
    plain = folder / "plain.wav"
    with wave.open(str(plain), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(samples)
    wav = plain.read_bytes()
    made.append(plain)
    facts = b"INFOISFT\x04\x00\x00\x00me\x00\x00"
    chunk = b"LIST" + struct.pack("<I", len(facts)) + facts
    wav = b"RIFF" + struct.pack("<I", len(wav) + len(chunk) - 8) + wav[8:] + chunk
    body = b"AIFFCOMM\x00\x00\x00\x12\x00\x01" + struct.pack(">I", 8000) + b"\x00\x10\x40\x0c\xfa" + bytes(7)
    body += b"SSND" + struct.pack(">I", 16008) + bytes(8) + struct.pack(">8000h", *struct.unpack("<8000h", samples))
    aiff = b"FORM" + struct.pack(">I", len(body)) + body
    for version in (3, 4):
        add(f"v2{version}.mp3", "tone.mp3", lambda path: fill_id3(path, version))
        add(f"v2{version}.wav", wav, lambda path: fill_id3(path, version))
        add(f"v2{version}.aiff", aiff, lambda path: fill_id3(path, version))
    for name in ("tone.flac", "tone.ogg"):
        add("full-" + name, name, fill_vorbis)
    for name in ("tone-aac.m4a", "tone-alac.m4a"):
        add("full-" + name, name, fill_mp4)
    for name in ("tone.mp3", "tone.flac", "tone.ogg", "tone-aac.m4a", "tone-alac.m4a"):
        add(name, name)
    add("plain.aiff", aiff)
    return made


OURS = {
    "genre": ("TCON", "genre", "\xa9gen"),
    "private": (f"TXXX:{PRIVATE}", PRIVATE.lower(), f"----:com.apple.iTunes:{PRIVATE}"),
}


def tags_of(path):
    """All tags but ours, comparable; values of our fields; pictures, blocks and the rest of a FLAC file."""
    file = mutagen.File(path)
    others, ours = {}, {field: [] for field in OURS}
    for key in file.tags.keys() if file.tags is not None else []:
        key_here = key if isinstance(file.tags, (id3.ID3, mutagen.mp4.MP4Tags)) else key.lower()
        field = next((field for field, keys in OURS.items() if key_here in keys), None)
        value = file.tags[key]
        if field is None:
            others[key_here] = repr(value)
        else:
            texts = value.text if isinstance(value, id3.Frame) else value
            ours[field] = [t.decode() if isinstance(t, bytes) else str(t) for t in texts]
    if isinstance(file, FLAC):
        others["blocks"] = [(b.code, b.write()) for b in file.metadata_blocks if b.code not in (1, 4)]
    others["vendor"] = getattr(file.tags, "vendor", None) if ours["genre"] or others else None
    return others, ours


def sound_of(path):
    """What libsndfile hears; of M4A, which it does not know, the pieces of sound where the tables say."""
    if path.suffix != ".m4a":
        samples, rate = soundfile.read(path)
        return rate, samples.tobytes()
    data = path.read_bytes()
    place = data.index(b"stco")
    count = struct.unpack_from(">I", data, place + 8)[0]
    offsets = struct.unpack_from(f">{count}I", data, place + 12)
    return [data[o : o + 200] for o in offsets], MP4(path).info.length


def fields_of(path):
    """All fields that beets knows, but the genres."""
    media = mediafile.MediaFile(path)
    fields = {f: repr(getattr(media, f)) for f in mediafile.MediaFile.readable_fields() if f not in ("genre", "genres")}
    fields["images"] = [(image.data, image.desc, image.type) for image in media.images or []]
    return fields, media.genres


def run(program, library, *arguments):
    command = [program, "tag", str(library), "--model", str(MODEL), "--min-score", "0", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{command}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "music"
        library.mkdir()
        files = sounds(library)
        old = {path: (tags_of(path), sound_of(path), fields_of(path)) for path in files}
        bytes_before = {path: path.read_bytes() for path in files}
        checks = 0
        for field in ("private", "genre"):
            for count in (1, 3):
                report = Path(folder) / "report.jsonl"
                arguments = ["--field", field, "--overwrite", "--count", str(count), "--further-score", "0"]
                run(program, library, "--write", "--report", str(report), *arguments)
                rows = {row["file"]: row for row in map(json.loads, report.read_text().splitlines())}
                assert len(rows) == len(files), rows.keys()
                for path in files:
                    row = rows[path.name]
                    assert row["outcome"] in ("tagged", "tagged_already"), row
                    wanted = row["genres"]
                    old_tags, old_sound, old_fields = old[path]
                    others, ours = tags_of(path)
                    assert others == old_tags[0], f"{path.name}: other tags changed\n{others}\n{old_tags[0]}"
                    assert ours[field] == wanted, f"{path.name}: {ours[field]} is not {wanted}"
                    assert len(wanted) == count or len(wanted[0].split("/")) == count, wanted
                    assert sound_of(path) == old_sound, f"{path.name}: another sound"
                    fields, genres = fields_of(path)
                    changed = {f: (old_fields[0][f], v) for f, v in fields.items() if v != old_fields[0][f]}
                    assert not changed, f"{path.name}: other fields of mediafile changed: {changed}"
                    if field == "genre":
                        # mediafile takes a slash for part of a name.
                        assert genres == wanted, f"{path.name}: mediafile reads {genres}, not {wanted}"
                    checks += 1
        run(program, library, "--undo", "--write")
        for path in files:
            others, ours = tags_of(path)
            assert (others, ours) == old[path][0], f"{path.name}: not as it was\n{ours}\n{old[path][0][1]}"
            assert sound_of(path) == old[path][1] and fields_of(path) == old[path][2], path.name
            checks += 1
        same = sum(path.read_bytes() == bytes_before[path] for path in files)
        print(f"{len(files)} files, {checks} comparisons with mutagen, mediafile and libsndfile: all equal")
        print(f"{same} of {len(files)} files are the same to the byte after --undo")


if __name__ == "__main__":
    main()
