//! Ahead: a decoder on a thread of its own, some blocks ahead of who listens.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::Warning;
use super::decoder::Decoder;
use crate::{Error, Result};

/// Samples (of all channels) handed over at once: packets are small, and threads that meet for each of them wait more than
/// they work.
const BLOCK: usize = 1 << 15;
/// Blocks that may be waiting; with half a second in each, three quarters of a megabyte.
const WAITING: usize = 4;

enum Handed {
    /// Interleaved frames, and their number of channels.
    Frames(Vec<f32>, usize),
    End(Result<Vec<Warning>>),
}

/// What a [`Decoder`] gives, in larger pieces.
pub(super) struct Ahead {
    handed: Receiver<Handed>,
    /// Blocks that were read, to be filled again.
    used: SyncSender<Vec<f32>>,
    expected_seconds: Option<f64>,
    warnings: Vec<Warning>,
}

impl Ahead {
    /// `decoder` on a thread of its own, which ends with the sound or with this. Where the system has no thread to give,
    /// the decoder comes back.
    pub(super) fn new(decoder: Box<Decoder>) -> std::result::Result<Self, Box<Decoder>> {
        let expected_seconds = decoder.expected_seconds();
        let (give, handed) = sync_channel(WAITING);
        let (used, reuse) = sync_channel(WAITING + 2);
        // A thread that cannot be started takes what it was given with it: the decoder follows through a channel.
        let (hand, taken) = sync_channel::<Box<Decoder>>(1);
        let work = move || {
            if let Ok(decoder) = taken.recv() {
                decode(*decoder, &give, &reuse);
            }
        };
        if thread::Builder::new().name("decoder".into()).spawn(work).is_err() {
            return Err(decoder);
        }
        hand.send(decoder).map_err(|unsent| unsent.0)?;
        Ok(Self {
            handed,
            used,
            expected_seconds,
            warnings: Vec::new(),
        })
    }

    pub(super) fn expected_seconds(&self) -> Option<f64> {
        self.expected_seconds
    }

    /// As [`Decoder::next_frames`].
    pub(super) fn next_frames(&mut self, interleaved: &mut Vec<f32>) -> Result<Option<usize>> {
        match self.handed.recv() {
            Ok(Handed::Frames(frames, channels)) => {
                // A full channel only means that there are blocks enough.
                let _ = self.used.try_send(std::mem::replace(interleaved, frames));
                Ok(Some(channels))
            }
            Ok(Handed::End(end)) => {
                self.warnings = end?;
                Ok(None)
            }
            Err(_) => Err(Error::InvalidAudio(
                "The decoder broke down in the middle of the file.".into(),
            )),
        }
    }

    /// As [`Decoder::warnings`].
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.warnings.clone()
    }
}

fn decode(mut decoder: Decoder, give: &SyncSender<Handed>, reuse: &Receiver<Vec<f32>>) {
    let mut packet = Vec::new();
    // Frames of one number of channels that are not handed over yet.
    let mut block = Vec::new();
    let mut block_channels = 0;
    let end = loop {
        match decoder.next_frames(&mut packet) {
            Ok(Some(channels)) => {
                if !block.is_empty() && (channels != block_channels || block.len() + packet.len() > BLOCK) {
                    let mut next = reuse.try_recv().unwrap_or_default();
                    next.clear();
                    let full = std::mem::replace(&mut block, next);
                    if give.send(Handed::Frames(full, block_channels)).is_err() {
                        return; // nobody listens any more
                    }
                }
                block_channels = channels;
                block.extend_from_slice(&packet);
            }
            Ok(None) => break Ok(decoder.warnings()),
            Err(error) => break Err(error),
        }
    };
    if block.is_empty() || give.send(Handed::Frames(block, block_channels)).is_ok() {
        let _ = give.send(Handed::End(end));
    }
}
