//! Tags of files of all kinds: what is written is there, and all else is as it was.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::fs;
use std::path::{Path, PathBuf};

use lofty::file::TaggedFileExt;
use lofty::tag::ItemKey;
use messymash::Waveform;
use messymash::tag::{Edit, Field, Format, KeepTime, Tags, hands_off, sweep};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_string()).collect()
}

/// One file of each kind, without a genre.
fn files(folder: &Path) -> Vec<(PathBuf, Format)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio");
    let mut files = Vec::new();
    for (name, format) in [
        ("tone.mp3", Format::Mp3),
        ("tone.flac", Format::Flac),
        ("tone.ogg", Format::OggVorbis),
        ("tone-aac.m4a", Format::Mp4),
        ("tone-alac.m4a", Format::Mp4),
    ] {
        let path = folder.join(name);
        fs::copy(golden.join(name), &path).unwrap();
        files.push((path, format));
    }
    let tone: Vec<f32> = (0..8001u16).map(|i| (f32::from(i) * 0.1).sin() / 2.0).collect();
    let path = folder.join("tone.wav");
    Waveform::new(tone.clone(), 16_000).write_wav(&path).unwrap();
    files.push((path, Format::Wav));
    let path = folder.join("tone.aiff");
    fs::write(&path, aiff(&tone)).unwrap();
    files.push((path, Format::Aiff));
    files
}

/// Mono, 16 bits, 16 kHz.
fn aiff(samples: &[f32]) -> Vec<u8> {
    let mut body = b"AIFFCOMM\0\0\0\x12\0\x01".to_vec();
    body.extend((samples.len() as u32).to_be_bytes());
    body.extend(b"\0\x10\x40\x0C\xFA\0\0\0\0\0\0\0SSND");
    body.extend((8 + 2 * samples.len() as u32).to_be_bytes());
    body.extend([0; 8]);
    body.extend(samples.iter().flat_map(|s| ((s * 32_767.0) as i16).to_be_bytes()));
    [&b"FORM"[..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

fn write(path: &Path, field: Field, values: &[&str]) {
    let edit = Edit::prepare(path, field, &strings(values), KeepTime::No).unwrap();
    edit.commit().unwrap();
}

#[test]
fn every_kind_of_file_is_tagged_read_and_restored_and_sounds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (path, format) in files(dir.path()) {
        let bytes = fs::read(&path).unwrap();
        let sound = Waveform::open(&path).unwrap();
        let old = Tags::read(&path).unwrap();
        assert_eq!((old.format, &old.private, &old.genre), (format, &vec![], &vec![]));
        write(&path, Field::Private, &["jazz"]);
        write(&path, Field::Genre, &["Hip-Hop", "Музыка", "日本"]);
        write(&path, Field::Private, &["blues", "rock"]);
        let tags = Tags::read(&path).unwrap();
        assert_eq!(tags.private, ["blues", "rock"], "{path:?}");
        assert_eq!(tags.genre, ["Hip-Hop", "Музыка", "日本"], "{path:?}");
        assert_eq!(Waveform::open(&path).unwrap(), sound, "{path:?}");
        let other_reader = lofty::read_from_path(&path).unwrap();
        let genres = other_reader.primary_tag().unwrap().get_strings(ItemKey::Genre);
        assert_eq!(
            genres.collect::<Vec<_>>().join("|").replace('/', "|"),
            "Hip-Hop|Музыка|日本",
            "{path:?}"
        );
        write(&path, Field::Genre, &[]);
        write(&path, Field::Private, &[]);
        let restored = Tags::read(&path).unwrap();
        assert_eq!((restored.private, restored.genre), (old.private, old.genre));
        assert_eq!(Waveform::open(&path).unwrap(), sound);
        // Where there was no tag before, there is none again.
        if matches!(format, Format::Wav | Format::Aiff) {
            assert_eq!(fs::read(&path).unwrap(), bytes, "{path:?}");
        }
        // All that was written beside it is gone.
        assert!(
            fs::read_dir(dir.path()).unwrap().all(|e| !e
                .unwrap()
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"."))
        );
    }
}

#[test]
fn a_tag_that_grows_and_shrinks_leaves_the_sound_where_its_tables_say() {
    let dir = tempfile::tempdir().unwrap();
    for (path, _) in files(dir.path()) {
        let sound = Waveform::open(&path).unwrap();
        // More than one page of Ogg, more than any padding.
        for length in [1, 100, 70_000, 3, 200_000, 5_000] {
            let long = "x".repeat(length);
            write(&path, Field::Private, &[&long]);
            assert_eq!(Tags::read(&path).unwrap().private, [long]);
            assert_eq!(Waveform::open(&path).unwrap(), sound, "{path:?} {length}");
        }
    }
}

#[test]
fn nothing_changes_before_the_commit_and_a_file_that_changed_is_left() {
    let dir = tempfile::tempdir().unwrap();
    for (path, _) in files(dir.path()) {
        let bytes = fs::read(&path).unwrap();
        let edit = Edit::prepare(&path, Field::Genre, &strings(&["jazz"]), KeepTime::No).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let other = [&bytes[..], b"more"].concat();
        fs::write(&path, &other).unwrap();
        let error = edit.commit().unwrap_err();
        assert!(error.to_string().contains("changed while"), "{error}");
        assert_eq!(error.code(), "tag");
        assert_eq!(fs::read(&path).unwrap(), other);
    }
}

#[test]
fn damaged_files_are_refused_or_tagged_and_never_harmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut refused, mut tagged) = (0, 0);
    for (path, _) in files(dir.path()) {
        write(&path, Field::Private, &["jazz"]);
        let whole = fs::read(&path).unwrap();
        let places = (0..whole.len().min(220)).chain([whole.len() / 2, whole.len() - 1]);
        let damaged = places.clone().map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xFF;
            bytes
        });
        let cut = places.step_by(7).map(|at| whole[..at].to_vec());
        for bytes in damaged.chain(cut) {
            fs::write(&path, &bytes).unwrap();
            match Edit::prepare(&path, Field::Private, &strings(&["rock"]), KeepTime::No) {
                Ok(edit) => {
                    tagged += 1;
                    drop(edit);
                }
                Err(_) => refused += 1,
            }
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
    assert!(refused > 200 && tagged > 100, "{refused} {tagged}");
}

#[test]
fn sizes_that_lie_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let liars: [&[u8]; 6] = [
        b"ID3\x04\0\0\x7F\x7F\x7F\x7F",
        b"fLaC\x84\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"RIFF\xFF\xFF\xFF\xFFWAVEid3 \xFF\xFF\xFF\xFF",
        b"\0\0\0\x08ftyp\xFF\xFF\xFF\xFFmoov",
        b"\0\0\0\x08ftyp\0\0\0\x01moov\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"OggS\0\x02",
    ];
    for bytes in liars {
        fs::write(&path, bytes).unwrap();
        assert_eq!(Tags::read(&path).unwrap_err().code(), "tag", "{bytes:?}");
    }
}

#[test]
fn headers_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let edit = Edit::prepare(&path, Field::Genre, &strings(&["jazz"]), KeepTime::No);
        let message = edit.unwrap_err().to_string();
        assert!(message.contains("damaged"), "{message}");
    };
    refused(&[&b"fLaC"[..], &[0; 1 << 20]].concat());
    refused(&[&b"fLaC\0\0\0\0"[..], &b"\x02\0\0\0".repeat(2_000)].concat());
    refused(&[&b"fLaC\x01\0\0\0\x80\0\0\0"[..], b"frames"].concat());

    let atom = |id: &[u8], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes(), id, body].concat();
    // Each within the next: 200,000 would be too many for the stack.
    let sizes = (1..=200_000u32).rev().map(|left| 8 * left);
    let nested: Vec<u8> = sizes
        .flat_map(|size| [&size.to_be_bytes()[..], b"trak"].concat())
        .collect();
    refused(&[atom(b"ftyp", b"M4A "), atom(b"moov", &nested)].concat());
    let many = [
        atom(b"ftyp", b"M4A "),
        atom(b"moov", b""),
        atom(b"free", b"").repeat(1_000),
    ]
    .concat();
    refused(&many);
}

#[test]
fn what_lies_behind_a_tag_in_its_chunk_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tone.wav");
    Waveform::new(vec![0.1; 800], 16_000).write_wav(&path).unwrap();
    let sound = fs::read(&path).unwrap();
    for (behind, refused) in [(b"\0\0\0\0", false), (b"TPE1", true)] {
        let tag = [&b"ID3\x04\0\0\0\0\0\x0CTIT2\0\0\0\x02\0\0\0a"[..], behind].concat();
        let mut bytes = [&sound[..], b"id3 ", &(tag.len() as u32).to_le_bytes(), &tag].concat();
        let size = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&size);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Tags::read(&path).is_err(), refused, "{behind:?}");
    }
}

#[test]
fn mode_and_time_stay() {
    let dir = tempfile::tempdir().unwrap();
    for (path, _) in files(dir.path()) {
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let edit = Edit::prepare(&path, Field::Private, &strings(&["jazz"]), KeepTime::Yes).unwrap();
        let stamp = edit.stamp();
        edit.commit().unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.modified().unwrap(), long_ago);
        assert_eq!(messymash::dataset::Stamp::of(&path).unwrap(), stamp);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        }
        write(&path, Field::Private, &["rock"]);
        assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
    }
}

#[cfg(unix)]
#[test]
fn links_and_read_only_files_are_left_alone_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = files(dir.path()).remove(0);
    assert_eq!(hands_off(&path, dir.path()).unwrap(), None);
    let link = dir.path().join("link.mp3");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(hands_off(&link, dir.path()).unwrap().unwrap().contains("link"));
    let second = dir.path().join("second.mp3");
    fs::hard_link(&path, &second).unwrap();
    assert!(
        hands_off(&path, dir.path())
            .unwrap()
            .unwrap()
            .contains("several names")
    );
    fs::remove_file(second).unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    assert!(
        hands_off(&path, dir.path())
            .unwrap()
            .unwrap()
            .contains("read-only")
    );
    assert!(
        hands_off(Path::new("/proc/version"), dir.path())
            .unwrap()
            .is_some(),
        "another volume"
    );
}

#[test]
fn only_what_a_killed_run_left_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(".messymash-abc.tagging");
    let busy = dir.path().join(".messymash-def.tagging");
    let other = dir.path().join(".messymash-notes");
    for path in [&left, &busy, &other] {
        fs::write(path, b"x").unwrap();
    }
    let lock = fs::File::open(&busy).unwrap();
    lock.try_lock().unwrap();
    for path in [&left, &busy, &other] {
        sweep(path).unwrap();
    }
    assert!(!left.exists() && busy.exists() && other.exists());
}
