//! The program as a process, for all tests of it.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a failed unwrap is a failed test

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program, told nothing by the environment.
pub fn messymash() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_messymash"));
    // Nothing of the person who runs the tests may change them.
    for variable in [
        "MESSYMASH_MODEL",
        "MESSYMASH_THREADS",
        "MESSYMASH_SIMD",
        "MESSYMASH_PRECISION",
        "HF_HOME",
        "HF_HUB_CACHE",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Exit code, standard output, standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// Runs what must go well, and gives back what it printed.
pub fn ok(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0, "{command:?}\n{stdout}\n{stderr}");
    stdout
}

/// A golden model of five labels, which hears a quarter of a second.
pub fn small_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../messymash/tests/golden/model/small/hf")
}

/// The values of JSON Lines.
pub fn lines(jsonl: &str) -> Vec<Value> {
    jsonl
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
