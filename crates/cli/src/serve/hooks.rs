//! What tests need of the work to be certain of its course: a sound that panics, one that takes its time. In builds without
//! debug assertions, as all released ones are, there is nothing here.

use hyper::body::Bytes;

use super::queue::Task;

#[cfg(not(debug_assertions))]
pub fn work(_: &Bytes, _: &Task) {}

/// With `MESSYMASH_TEST_HOOKS` set, a body may command the worker: `test: panic`, or `test: wait`, until nobody waits for it.
#[cfg(debug_assertions)]
pub fn work(sound: &Bytes, task: &Task) {
    if std::env::var_os("MESSYMASH_TEST_HOOKS").is_none() {
        return;
    }
    assert!(&sound[..] != b"test: panic", "as the test wants");
    while sound[..] == *b"test: wait" && task.check().is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
