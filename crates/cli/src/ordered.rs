//! Many pieces of work on several threads, their results in the order of the work.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, PoisonError};

/// Pieces begun ahead of the first that is not done: enough that a long one holds nobody up, and few enough that memory does
/// not grow with the number of pieces.
const AHEAD: usize = 64;

/// Pieces for each thread from which on every piece is one thread's alone. Threads that share the arithmetic of a piece wait
/// for each other; with fewer pieces, some would have nothing to do at the end.
const MANY: usize = 4;

/// Does `work(0)`, `work(1)`, … `work(count - 1)`, as [`each_in_order`].
pub fn in_order<T: Send, E>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    each_in_order(0..count, count, threads, work, take)
}

/// Does `work` with each of `pieces` on `threads` threads and hands the results to `take` one after the other, in the order of the
/// pieces, on the calling thread. The first error of `take` ends the work: no further piece is begun. Pieces are asked for as they
/// are begun, so that there may be more than fit in memory.
///
/// Where there are many (about `count`), each is done in a rayon pool of one thread, else in the global one.
pub fn each_in_order<P: Send, T: Send, E>(
    pieces: impl Iterator<Item = P> + Send,
    count: usize,
    threads: usize,
    work: impl Fn(P) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let gate = Gate {
        places: Mutex::new(Places {
            pieces: pieces.fuse(),
            next: 0,
            taken: 0,
            ended: false,
        }),
        moved: Condvar::new(),
    };
    let alone = count >= MANY * threads;
    std::thread::scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..threads.clamp(1, count.max(1)) {
            let (sender, gate, work) = (sender.clone(), &gate, &work);
            scope.spawn(move || {
                let _closing = CloseOnPanic(gate);
                // A system that has no more threads to give still has the global pool's.
                let one = || rayon::ThreadPoolBuilder::new().num_threads(1).build().ok();
                let pool = alone.then(one).flatten();
                let work = |piece| match &pool {
                    Some(pool) => pool.install(|| work(piece)),
                    None => work(piece),
                };
                while let Some((number, piece)) = gate.next() {
                    // Nobody listens after an error.
                    if sender.send((number, work(piece))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut number = 0;
        for (done, result) in results {
            waiting.insert(done, result);
            while let Some(result) = waiting.remove(&number) {
                number += 1;
                let taken = take(result);
                gate.move_on(|places| {
                    places.taken = number;
                    places.ended |= taken.is_err();
                });
                taken?;
            }
        }
        Ok(())
    })
}

struct Gate<I> {
    places: Mutex<Places<I>>,
    moved: Condvar,
}

struct Places<I> {
    /// Pieces that are not begun.
    pieces: I,
    /// The number of the next.
    next: usize,
    /// Pieces whose results were taken.
    taken: usize,
    /// No further piece is begun.
    ended: bool,
}

impl<P, I: Iterator<Item = P>> Gate<I> {
    fn next(&self) -> Option<(usize, P)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |p: &mut Places<I>| !p.ended && p.next >= p.taken + AHEAD;
        let mut places = self
            .moved
            .wait_while(places, full)
            .unwrap_or_else(PoisonError::into_inner);
        if places.ended {
            return None;
        }
        let piece = places.pieces.next()?;
        places.next += 1;
        Some((places.next - 1, piece))
    }
}

impl<I> Gate<I> {
    fn move_on(&self, change: impl FnOnce(&mut Places<I>)) {
        change(&mut self.places.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
    }
}

/// Ends the work if its thread panics: the others would wait for a result that never comes. The scope then panics too.
struct CloseOnPanic<'a, I>(&'a Gate<I>);

impl<I> Drop for CloseOnPanic<'_, I> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.move_on(|places| places.ended = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_and_nobody_runs_far_ahead() {
        let (taken, furthest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |n: usize| {
            // The first takes longest.
            std::thread::sleep(Duration::from_millis(if n == 0 { 50 } else { 0 }));
            furthest.fetch_max(n.saturating_sub(taken.load(Ordering::SeqCst)), Ordering::SeqCst);
            n
        };
        let mut seen = Vec::new();
        let result: Result<(), ()> = in_order(300, 3, work, |n| {
            seen.push(n);
            taken.store(n + 1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(result, Ok(()));
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        assert!(furthest.load(Ordering::SeqCst) <= AHEAD);
        assert_eq!(in_order(0, 4, |n| n, |_| Err("taken")), Ok(()));
    }

    #[test]
    fn pieces_are_asked_for_as_they_are_begun() {
        let (asked, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let endless = std::iter::repeat_with(|| asked.fetch_add(1, Ordering::SeqCst));
        let result = each_in_order(
            endless,
            1000,
            2,
            |n| n,
            |n| {
                assert!(asked.load(Ordering::SeqCst) <= taken.fetch_add(1, Ordering::SeqCst) + AHEAD + 2);
                if n == 5000 { Err(n) } else { Ok(()) }
            },
        );
        assert_eq!(result, Err(5000));
    }

    #[test]
    fn each_of_many_pieces_is_one_threads_alone() {
        for (count, alone) in [(3, false), (40, true)] {
            let mut pools = Vec::new();
            let work = |_| rayon::current_num_threads();
            let result: Result<(), ()> = in_order(count, 2, work, |threads| {
                pools.push(threads);
                Ok(())
            });
            assert_eq!(result, Ok(()));
            let wanted = if alone { 1 } else { rayon::current_num_threads() };
            assert_eq!(pools, vec![wanted; count]);
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_passed_on_and_keeps_nobody_waiting() {
        let work = |n: usize| assert!(n != 3, "this piece cannot be done");
        let _ = in_order(1000, 2, work, |()| Ok::<(), ()>(()));
    }

    #[test]
    fn an_error_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let work = |n: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            n
        };
        let result = in_order(100_000, 2, work, |n| if n == 5 { Err("enough") } else { Ok(()) });
        assert_eq!(result, Err("enough"));
        assert!(begun.load(Ordering::SeqCst) <= 6 + AHEAD + 2);
    }
}
