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
    pub fn get<E>(
        &self,
        _py: Python<'_>,
        make: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<Arc<T>, E> {
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

    /// Does `work` on these threads, without the interpreter's lock.
    pub fn install<T: Send>(&self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
        let pool = self.get(py)?;
        Ok(py.detach(|| pool.install(work)))
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
                let mut looked = Instant::now();
                let mut interrupted = Ok(());
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
                    if interrupted.is_ok() && looked.elapsed() >= PATIENCE {
                        looked = Instant::now();
                        interrupted = Python::attach(|py| py.check_signals());
                        if interrupted.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
                interrupted.map(|()| done)
            })
        })
    }

    fn get(&self, py: Python<'_>) -> PyResult<Arc<ThreadPool>> {
        self.pool.get(py, || {
            let built = ThreadPoolBuilder::new().num_threads(self.threads).build();
            built.map_err(|error| raised(py, &Error::Config(format!("cannot start threads: {error}"))))
        })
    }
}

/// Tells a Python callable how far long work is, and ends the work when Ctrl-C or the callable asks.
pub struct Progress {
    tell: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Progress {
    /// `tell(done, total)` is called where it is given.
    pub fn new(tell: Option<Py<PyAny>>) -> Self {
        Self { tell, raised: None }
    }

    pub fn set(&mut self, done: u64, total: u64) -> Result<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            match &self.tell {
                Some(tell) => tell.call1(py, (done, total)).map(drop),
                None => Ok(()),
            }
        });
        told.map_err(|error| {
            self.raised = Some(error);
            Error::Interrupted
        })
    }

    /// What is to be raised for how the work ended.
    pub fn ended<T>(self, py: Python<'_>, result: Result<T>) -> PyResult<T> {
        result.map_err(|error| self.raised.unwrap_or_else(|| raised(py, &error)))
    }
}
