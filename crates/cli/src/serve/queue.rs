//! The queue: a bounded number of requests, worker threads that hear them, and what ends work that nobody waits for.
//!
//! A request takes a place before its body is read and gives it back when its work has ended, however it ended. So there
//! are never more bodies than places, and who comes to a full queue is told so at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::errors::{Kind, Problem, Result};
use super::limits::Limits;

/// How much the last request weighs in the mean time of one.
const NEWEST: f64 = 0.2;

pub struct Queue {
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
    ended: AtomicBool,
    workers: usize,
    all_places: usize,
    running: AtomicUsize,
    /// Mean time of a piece of work, microseconds.
    mean_micros: AtomicU64,
    queue_timeout: Duration,
    deadline: Duration,
}

/// A place in the queue, and the memory that was set aside for the body.
pub struct Place {
    _place: OwnedSemaphorePermit,
    memory: Option<OwnedSemaphorePermit>,
}

/// What work is told of its request.
#[derive(Clone)]
pub struct Task {
    abandoned: Arc<AtomicBool>,
    deadline: Instant,
    /// From the whole body to the beginning of the work.
    pub waited: Duration,
}

impl Task {
    /// [`messymash::Error::Interrupted`] once nobody waits for the work any more.
    pub fn check(&self) -> messymash::Result<()> {
        if self.abandoned.load(Ordering::Relaxed) || Instant::now() > self.deadline {
            Err(messymash::Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

struct Job {
    abandoned: Arc<AtomicBool>,
    place: Place,
    work: Box<dyn FnOnce() + Send>,
}

/// Ends the work when whoever waits for it goes away.
struct AbandonOnDrop<'a>(&'a Queue, Arc<AtomicBool>);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        self.0.jobs().retain(|job| !job.abandoned.load(Ordering::Relaxed));
    }
}

impl Queue {
    /// A queue and its worker threads, which live until [`Queue::end`].
    pub fn new(limits: &Limits) -> std::io::Result<Arc<Self>> {
        let workers = limits
            .workers
            .map_or_else(rayon::current_num_threads, usize::from);
        let all_places = workers + usize::from(limits.max_queue);
        let queue = Arc::new(Self {
            places: Arc::new(Semaphore::new(all_places)),
            memory: Arc::new(Semaphore::new(limits.memory_kib() as usize)),
            jobs: Mutex::default(),
            more: Condvar::new(),
            ended: AtomicBool::new(false),
            workers,
            all_places,
            running: AtomicUsize::new(0),
            mean_micros: AtomicU64::new(0),
            queue_timeout: limits.queue_timeout(),
            deadline: limits.deadline(),
        });
        for number in 0..workers {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || queue.serve())?;
        }
        Ok(queue)
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one.
    pub fn place(&self) -> Result<Place> {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Place {
                _place: place,
                memory: None,
            }),
            Err(_) => Err(self.overloaded("The service is busy and as much waits as may wait.")),
        }
    }

    /// Sets memory aside for a body and its copies. Whole, before any of it is read: uploads that each hold half of what they
    /// need would wait for each other.
    pub async fn reserve(&self, place: &mut Place, kib: u32) -> Result<()> {
        match timeout(self.queue_timeout, self.memory.clone().acquire_many_owned(kib)).await {
            Ok(Ok(memory)) => {
                place.memory = Some(memory);
                Ok(())
            }
            _ => {
                Err(self
                    .overloaded("The service is busy: other uploads take all the memory there is for them."))
            }
        }
    }

    fn overloaded(&self, message: &str) -> Problem {
        let seconds = self.retry_after();
        Problem::new(
            Kind::Overloaded,
            format!("{message} Please try again in {seconds} s."),
        )
        .retry_after(seconds)
    }

    /// When a place is likely to be free, seconds.
    fn retry_after(&self) -> u64 {
        let mean = self.mean_micros.load(Ordering::Relaxed) as f64 / 1e6;
        let seconds = (self.taken() as f64 * mean / self.workers as f64).ceil();
        (seconds as u64).clamp(1, 30)
    }

    /// Does `work` on a worker thread, unless its turn comes too late or it takes too long. When the returned future is
    /// dropped, the work ends at its next [`Task::check`].
    pub async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&Task) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let came = Instant::now();
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut task = Task {
            abandoned: abandoned.clone(),
            deadline: came + self.deadline,
            waited: Duration::ZERO,
        };
        let (begin, begun) = oneshot::channel();
        let (give, given) = oneshot::channel();
        let _ending = AbandonOnDrop(self, abandoned.clone());
        let work = move || {
            task.waited = came.elapsed();
            let _ = begin.send(());
            // What panicked is thrown away whole: only what is immutable is shared with other work.
            let result =
                catch_unwind(AssertUnwindSafe(|| work(&task))).unwrap_or_else(|_| Err(Problem::internal()));
            let _ = give.send(result);
        };
        self.jobs().push_back(Job {
            abandoned,
            place,
            work: Box::new(work),
        });
        self.more.notify_one();
        if timeout(self.queue_timeout, begun).await.is_err() {
            return Err(self.overloaded("The service is busy; your turn has not come in time."));
        }
        let late = || {
            let message = format!(
                "The answer took longer than {} s. Send a shorter sound.",
                self.deadline.as_secs_f64()
            );
            Problem::new(Kind::Deadline, message)
        };
        let left = self.deadline.saturating_sub(came.elapsed());
        match timeout(left, given).await {
            Err(_) => Err(late()),
            // The worker saw first that it is late.
            Ok(Ok(Err(problem))) if problem.kind == Kind::Deadline => Err(late()),
            Ok(Ok(result)) => result,
            // The worker is gone without a word.
            Ok(Err(_)) => Err(Problem::internal()),
        }
    }

    /// One worker: work after work, each on this one thread; alone with one request, with all of them.
    fn serve(&self) {
        // A system that has no more threads to give still has the global pool's.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok();
        while let Some(job) = self.next() {
            let others = self.running.fetch_add(1, Ordering::SeqCst) > 0 || !self.jobs().is_empty();
            let began = Instant::now();
            match &alone {
                Some(pool) if others => pool.install(job.work),
                _ => (job.work)(),
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            let micros = began.elapsed().as_micros() as f64;
            let mean = self.mean_micros.load(Ordering::Relaxed) as f64;
            let mean = if mean == 0.0 {
                micros
            } else {
                mean + NEWEST * (micros - mean)
            };
            self.mean_micros.store(mean as u64, Ordering::Relaxed);
            drop(job.place);
        }
    }

    fn next(&self) -> Option<Job> {
        let waiting = |jobs: &mut VecDeque<Job>| jobs.is_empty() && !self.ended.load(Ordering::SeqCst);
        let jobs = self.more.wait_while(self.jobs(), waiting);
        jobs.unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// No further work: workers end when they have nothing to do.
    pub fn end(&self) {
        let _jobs = self.jobs();
        self.ended.store(true, Ordering::SeqCst);
        self.more.notify_all();
    }

    /// Places that are taken: bodies being read, waiting, being heard.
    pub fn taken(&self) -> usize {
        self.all_places - self.places.available_permits()
    }

    /// Requests that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.jobs().len()
    }

    /// Requests that are being heard.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}
