//! TensorBoard's event files: what a training logs, readable by `tensorboard --logdir RUN` while it goes on.
//!
//! A file is a sequence of records (TFRecord: length and bytes, each with a masked CRC-32C), a record is an `Event`, a
//! Protocol Buffers message of TensorFlow's `event.proto` and `summary.proto`. The few fields that are needed are encoded
//! here; field numbers are named after those files.
//!
//! A session of a run writes one file. One that goes on after a checkpoint begins its file with `SessionLog START`, at which
//! TensorBoard forgets what earlier files say of that step and later ones: what was logged after the checkpoint is
//! overlaid by the steps that are taken again.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::picture::Picture;
use crate::{Error, Result};

/// CRC-32C, as TFRecord asks for.
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// How an event file's name begins; seconds since 1970 and the writer follow. TensorBoard reads files in the order of names.
const NAME: &str = "events.out.tfevents.";

/// What stands under a tag at a step.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// A point of a curve.
    Scalar(f64),
    /// Markdown.
    Text(&'a str),
    /// A picture.
    Picture(&'a Picture),
}

/// Writes the events of one session. Nothing is written before the first event.
#[derive(Debug)]
pub struct EventWriter {
    folder: PathBuf,
    /// The first step of a session that goes on.
    resumes_at: Option<u64>,
    open: Option<(PathBuf, File)>,
}

impl EventWriter {
    /// Of a session whose file will lie in `folder`; `resumes_at` is the first step that a session that goes on takes.
    pub fn new(folder: &Path, resumes_at: Option<u64>) -> Self {
        Self {
            folder: folder.to_path_buf(),
            resumes_at,
            open: None,
        }
    }

    /// Appends what is to be seen at `step`, tag by tag. A tag's part before the first slash is its group.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&mut self, step: u64, shown: &[(&str, Shown<'_>)]) -> Result<()> {
        let summary = shown.iter().fold(Message::default(), |summary, (tag, shown)| {
            summary.message(1, &value(tag, *shown)) // Summary.value
        });
        let event = event(step).message(5, &summary); // Event.summary
        let (path, file) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(begin(&self.folder, self.resumes_at)?),
        };
        // One write a record: a process that is killed leaves no half record but at the very end, where readers wait for more.
        file.write_all(&record(&event)).map_err(Error::io(path))
    }
}

/// Makes the file and writes how it begins.
fn begin(folder: &Path, resumes_at: Option<u64>) -> Result<(PathBuf, File)> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut earlier = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let name = name.to_string_lossy();
        if let Some(rest) = name.strip_prefix(NAME) {
            earlier.push(rest.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0));
        }
    }
    // Behind all earlier ones by name, whatever the clock says.
    let seconds: u64 = earlier.iter().copied().fold(now, u64::max);
    let path = folder.join(format!("{NAME}{seconds:010}.messymash.{:06}", earlier.len()));
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    let mut bytes = record(&event(0).bytes(3, b"brain.Event:2")); // Event.file_version
    if let Some(step) = resumes_at {
        let start = Message::default().integer(1, 1); // SessionLog.status = START
        bytes.append(&mut record(&event(step).message(7, &start))); // Event.session_log
    }
    file.write_all(&bytes).map_err(Error::io(&path))?;
    Ok((path, file))
}

/// An `Event` of now.
fn event(step: u64) -> Message {
    let wall_time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    Message::default().double(1, wall_time).integer(2, step) // Event.wall_time, Event.step
}

/// A `Summary.Value`.
fn value(tag: &str, shown: Shown<'_>) -> Message {
    let value = Message::default().bytes(1, tag.as_bytes()); // tag
    match shown {
        Shown::Scalar(x) => value.float(2, x as f32), // simple_value
        Shown::Picture(picture) => {
            // Summary.Image: height, width, colorspace (3 is RGB), encoded_image_string
            let image = Message::default()
                .integer(1, picture.height.into())
                .integer(2, picture.width.into())
                .integer(3, 3)
                .bytes(4, &picture.png);
            value.message(4, &image) // image
        }
        Shown::Text(markdown) => {
            // TensorProto: dtype (7 is a string), tensor_shape (none: one value), string_val
            let tensor = Message::default()
                .integer(1, 7)
                .message(2, &Message::default())
                .bytes(8, markdown.as_bytes());
            let plugin = Message::default().bytes(1, b"text"); // PluginData.plugin_name
            let metadata = Message::default().message(1, &plugin); // SummaryMetadata.plugin_data
            value.message(8, &tensor).message(9, &metadata) // tensor, metadata
        }
    }
}

/// A Protocol Buffers message under construction.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// The key of a field: its number and how its value is stored.
    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn integer(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }
}

/// A TFRecord: length, its CRC, bytes, their CRC; all little-endian.
fn record(event: &Message) -> Vec<u8> {
    let length = (event.0.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(&event.0);
    record.extend(masked_crc(&event.0).to_le_bytes());
    record
}

/// TFRecord's CRC, turned so that a CRC over bytes that hold CRCs stays a good one.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}
