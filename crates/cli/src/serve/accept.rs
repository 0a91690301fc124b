//! The accept loop: a bounded number of connections, each with timers, and how they all end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use super::Service;

/// Head of a request, and room to read in: as much as one connection takes without a body.
const READ_BUFFER: usize = 64 << 10;

/// How long connections may take to end once the work is done, where the time for the work leaves no more.
const FAREWELL: Duration = Duration::from_secs(2);

/// A pause after the system had no descriptor to give.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop`; then work that was begun may end, within its time.
pub async fn serve(service: Arc<Service>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let (goodbye, going) = watch::channel(false);
    let places = Arc::new(Semaphore::new(usize::from(service.limits.max_connections)));
    let mut connections = JoinSet::new();
    let drained = async {
        stop.await;
        service.drain();
        let until = Instant::now() + service.limits.drain_timeout();
        let idle = async {
            while service.queue.taken() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout_at(until, idle).await;
        until
    };
    tokio::pin!(drained);
    let until = loop {
        // A connection beyond the limit waits where the system keeps it.
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            until = &mut drained => break until,
            next = next => next,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or a client that is gone already: neither is a reason to end.
            sleep(BREATH).await;
            continue;
        };
        let (service, going) = (service.clone(), going.clone());
        connections.spawn(async move {
            let _place = place;
            service.metrics.connections.fetch_add(1, Ordering::Relaxed);
            connection(&service, stream, going).await;
            service.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        });
    };
    let _ = goodbye.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who is still reading an answer may do so for as long as work may go on.
    let _ = timeout_at(until.max(Instant::now() + FAREWELL), all).await;
}

async fn connection(service: &Arc<Service>, stream: TcpStream, mut going: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, service.limits.idle_timeout());
    let asked = AtomicBool::new(false);
    let answer = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.limits.header_timeout())
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    tokio::select! {
        // What went wrong with a connection is its client's affair.
        _ = connection.as_mut() => return,
        _ = going.wait_for(|going| *going) => {}
    }
    connection.as_mut().graceful_shutdown();
    if asked.load(Ordering::Relaxed) {
        let _ = connection.await;
    } else {
        let _ = timeout(FAREWELL, connection).await;
    }
}

/// A connection that ends when its client does not read what is written for too long.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
        }
    }

    /// `written`, or an error if that has been pending for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let until = Instant::now() + self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
