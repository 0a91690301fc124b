//! What tests need of the work to be certain of its course: a sound that panics, one that takes its time. In builds without
//! debug assertions, as all released ones are, there is nothing here.

use hyper::body::Bytes;

use super::queue::Task;

#[cfg(not(debug_assertions))]
pub fn work(_: &Bytes, _: &Task) -> messymash::Result<()> {
    Ok(())
}

/// With `MESSYMASH_TEST_HOOKS` set, a body may command the worker: `test: panic`, or `test: wait`, until nobody waits for it.
#[cfg(debug_assertions)]
pub fn work(sound: &Bytes, task: &Task) -> messymash::Result<()> {
    if std::env::var_os("MESSYMASH_TEST_HOOKS").is_none() {
        return Ok(());
    }
    assert!(&sound[..] != b"test: panic", "as the test wants");
    if sound[..] == *b"test: wait" {
        loop {
            task.check()?;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    Ok(())
}
