//! The key that requests must bring, where one is asked for.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

const BEARER: &[u8] = b"Bearer ";

/// A key, as its digest.
pub struct Key([u8; 32]);

impl Key {
    /// The first line of a file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let key = file.lines().next().unwrap_or_default().trim();
        if key.is_empty() {
            bail!("{}: the first line is empty; it must be the key", path.display());
        }
        Ok(Self(Sha256::digest(key).into()))
    }

    /// Whether a request brings it. Digests are compared, and to their ends: how long that takes tells nothing of the key.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            // Schemes are alike in small and capital letters (RFC 9110, 11.1).
            let (scheme, key) = value.as_bytes().split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then_some(key)
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes()));
        let given = Sha256::digest(given.unwrap_or_default().trim_ascii());
        self.0
            .iter()
            .zip(given)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
    }
}
