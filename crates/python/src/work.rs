//! Threads: how many, whose, and how work on them is interrupted.
//!
//! Everything here allows for `fork`, by which data loaders make their workers: a child has none of its parent's threads, and
//! locks that one of them held are held for ever. So what has threads or locks is made anew in each process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use messymash::{Error, Result};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::raised;

/// How often Ctrl-C is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Files for each thread from which on every file is one thread's alone: threads that share a small model wait for each
/// other.
const MANY: usize = 4;

/// The threads that work is spread over where nobody says: RAYON_NUM_THREADS, else OMP_NUM_THREADS (which Ray, Slurm and
/// PyTorch's workers set), else the cores that this process may use.
#[pyfunction]
pub fn num_threads() -> usize {
    let variable = |name: &str| -> Option<usize> {
        let value = std::env::var(name).ok()?;
        // OpenMP allows a list, one for each level of nesting.
        let first = value.split(',').next()?.trim().parse().ok()?;
        (first > 0).then_some(first)
    };
    variable("RAYON_NUM_THREADS")
        .or_else(|| variable("OMP_NUM_THREADS"))
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Something that every process makes for itself, at first use.
pub struct PerProcess<T>(Mutex<Option<(u32, Arc<T>)>>);

impl<T> PerProcess<T> {
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What `make` made in this process. The lock is taken only by who holds the interpreter's, so no fork finds it taken.
    /// `make` must not call Python: that could hand the interpreter's lock to a thread which then waits for this one.
    pub fn get(&self, _py: Python<'_>, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some((owner, value)) = &*made
            && *owner == process
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(make()?);
        // The parent's is not dropped: that could wait for a thread that is not here.
        std::mem::forget(made.replace((process, Arc::clone(&value))));
        Ok(value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        // As above: a child may free what only its parent used.
        if let Some((owner, value)) = made.take()
            && owner != std::process::id()
        {
            std::mem::forget(value);
        }
    }
}

/// Threads for one object's work.
pub struct Pool {
    threads: usize,
    pool: PerProcess<ThreadPool>,
}

impl Pool {
    /// `None`: as many as [`num_threads`] says.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = threads.unwrap_or_else(num_threads);
        if !(1..=1024).contains(&threads) {
            return Err(Error::Config(format!(
                "num_threads is {threads}; it must be from 1 to 1024"
            )));
        }
        Ok(Self {
            threads,
            pool: PerProcess::new(),
        })
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Does short `work` on these threads, without the interpreter's lock.
    pub fn install<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
        let pool = self.get(py)?;
        Ok(py.detach(|| pool.install(work)))
    }

    /// Does long `work` on these threads, without the interpreter's lock. Its [`Progress`] calls `tell(done, total)` where that
    /// is given, and ends the work when Ctrl-C or `tell` asks.
    pub fn watch<T: Send>(
        &self,
        py: Python<'_>,
        tell: Option<Py<PyAny>>,
        work: impl FnOnce(&mut Progress) -> Result<T> + Send,
    ) -> PyResult<T> {
        let pool = self.get(py)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut progress = Progress {
            tell,
            raised: None,
            stop: Arc::clone(&stop),
        };
        let mut result = Err(Error::Interrupted);
        py.detach(|| {
            let (working, ended) = channel::<()>();
            let (progress, result) = (&mut progress, &mut result);
            pool.in_place_scope(|scope| {
                scope.spawn(move |_| {
                    let _until_here = working;
                    *result = work(progress);
                });
                let mut signals = Signals::new(&stop);
                while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    signals.look();
                }
                signals.interrupted
            })
        })?;
        result.map_err(|error| progress.raised.unwrap_or_else(|| raised(py, &error)))
    }

    /// Does `work(0)` … `work(count - 1)` and gives back what became of each, without the interpreter's lock. What `work`
    /// hands to its second argument tells it to stop. After the first failure nothing more is begun, unless `keep_going`;
    /// what was not done is `None`.
    pub fn map<T: Send>(
        &self,
        py: Python<'_>,
        count: usize,
        keep_going: bool,
        work: impl Fn(usize, &dyn Fn() -> Result<()>) -> Result<T> + Sync,
    ) -> PyResult<Vec<Option<Result<T>>>> {
        let pool = self.get(py)?;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let alone = count >= MANY * self.threads;
        let going = || {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            Ok(())
        };
        let worker = |pool: &ThreadPool, send: &dyn Fn(usize, Result<T>)| {
            while going().is_ok() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                send(number, pool.install(|| work(number, &going)));
            }
        };
        py.detach(|| {
            std::thread::scope(|scope| {
                let (sender, results) = channel();
                for _ in 0..if alone { self.threads } else { 1 } {
                    let (sender, worker, pool) = (sender.clone(), &worker, &*pool);
                    scope.spawn(move || {
                        let send = |number, result| drop(sender.send((number, result)));
                        // A system that has no more threads to give still has the shared ones.
                        match alone.then(|| ThreadPoolBuilder::new().num_threads(1).build()) {
                            Some(Ok(own)) => worker(&own, &send),
                            _ => worker(pool, &send),
                        }
                    });
                }
                drop(sender);
                let mut done: Vec<Option<Result<T>>> = std::iter::repeat_with(|| None).take(count).collect();
                let mut signals = Signals::new(&stop);
                loop {
                    match results.recv_timeout(PATIENCE) {
                        Ok((number, result)) => {
                            if result.is_err() && !keep_going {
                                stop.store(true, Ordering::Relaxed);
                            }
                            done[number] = Some(result);
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    signals.look();
                }
                signals.interrupted.map(|()| done)
            })
        })
    }

    fn get(&self, py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
        let pool = self.pool.get(py, || {
            let built = ThreadPoolBuilder::new().num_threads(self.threads).build();
            built.map_err(|error| Error::Config(format!("cannot start threads: {error}")))
        });
        pool.map_err(|error| raised(py, &error))
    }
}

/// Looks for Ctrl-C now and then. On the thread that called us alone: Python tells its main thread and no other.
struct Signals<'a> {
    looked: Instant,
    interrupted: PyResult<()>,
    stop: &'a AtomicBool,
}

impl<'a> Signals<'a> {
    fn new(stop: &'a AtomicBool) -> Self {
        Self {
            looked: Instant::now(),
            interrupted: Ok(()),
            stop,
        }
    }

    /// Sets `stop` when the work is to end.
    fn look(&mut self) {
        if self.interrupted.is_ok() && self.looked.elapsed() >= PATIENCE {
            self.looked = Instant::now();
            self.interrupted = Python::attach(|py| py.check_signals());
            if self.interrupted.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Tells a Python callable how far long work is, and the work when it is to end.
pub struct Progress {
    tell: Option<Py<PyAny>>,
    raised: Option<PyErr>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    pub fn set(&mut self, done: u64, total: u64) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let Some(tell) = &self.tell else { return Ok(()) };
        let told = Python::attach(|py| tell.call1(py, (done, total)).map(drop));
        told.map_err(|error| {
            self.raised = Some(error);
            Error::Interrupted
        })
    }
}
