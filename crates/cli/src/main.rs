//! The command line of messymash.
fn main() {}
