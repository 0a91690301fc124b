#!/bin/sh
# Writes crates/messymash/tests/golden/audio: half a second of a synthetic tone in the formats that a test cannot
# write by hand. Needs ffmpeg with libmp3lame, libvorbis and libopus (Debian: apt-get install ffmpeg; made with 5.1).
#
# The tone: 0.5 s at 44.1 kHz (22.05 kHz where the coding is large, to stay below 20 KB), stereo, 1 kHz at amplitude 0.5
# on the left and 0.25 on the right, so that mono (the mean) has amplitude 0.375.
set -eu
out=$(dirname "$0")/../crates/messymash/tests/golden/audio
mkdir -p "$out"
tone='aevalsrc=0.5*sin(2*PI*1000*t)|0.25*sin(2*PI*1000*t):s=44100:d=0.5'
make() {
    name=$1
    shift
    ffmpeg -nostdin -v error -y -f lavfi -i "$tone" -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$@" "$out/$name"
}
make tone.mp3 -c:a libmp3lame -b:a 128k
make tone.flac -ar 22050 -c:a flac -sample_fmt s16
make tone.ogg -c:a libvorbis -q:a 4
make tone-aac.m4a -c:a aac -b:a 96k
make tone-alac.m4a -ar 22050 -c:a alac -sample_fmt s16p
make tone-adpcm-ms.wav -ar 22050 -c:a adpcm_ms
make tone-adpcm-ima.wav -ar 22050 -c:a adpcm_ima_wav
make tone-opus.ogg -c:a libopus -b:a 48k
# A picture track before the sound track.
ffmpeg -nostdin -v error -y -f lavfi -i 'color=c=black:s=16x16:r=10:d=0.5' -f lavfi -i "$tone" -map 0 -map 1 \
    -map_metadata -1 -fflags +bitexact -flags +bitexact -c:v mpeg4 -c:a aac -b:a 96k "$out/video-first.mp4"
ls -l "$out"
