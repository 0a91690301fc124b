//! fbank
