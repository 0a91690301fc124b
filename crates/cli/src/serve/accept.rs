//! The accept loop: a bounded number of connections, each with timers, and how they all end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use super::errors::{Kind, Problem};
use super::routes::token;

/// Head of a request, and room to read in: as much as one connection takes without a body.
const READ_BUFFER: usize = 64 << 10;

/// How long connections may take to end once the work is done, where the time for the work leaves no more.
const FAREWELL: Duration = Duration::from_secs(2);

/// A client that has closed its side, and to whom nothing was written for so long, has left.
const UNTOLD: Duration = Duration::from_secs(1);

/// A pause after the system had no descriptor to give.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop`; then work that was begun may end, within its time.
pub async fn serve(service: Arc<Service>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let (goodbye, going) = watch::channel(false);
    let places = Arc::new(Semaphore::new(usize::from(service.limits.max_connections)));
    let clients = Arc::new(Clients::default());
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
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, or a client that is gone already: neither is a reason to end.
            sleep(BREATH).await;
            continue;
        };
        let Some(seat) = clients.seat(peer.ip(), service.limits.max_connections_per_address) else {
            refuse(&service, stream);
            continue;
        };
        let (service, going) = (service.clone(), going.clone());
        connections.spawn(async move {
            let _held = (place, seat);
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

/// How many connections each client has.
#[derive(Default)]
struct Clients(Mutex<HashMap<IpAddr, u16>>);

/// One connection of a client, while it lasts.
struct Seat(Arc<Clients>, IpAddr);

impl Clients {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where the client has as many as it may.
    fn seat(self: &Arc<Self>, address: IpAddr, most: Option<u16>) -> Option<Seat> {
        let client = client(address);
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Seat(self.clone(), client))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// What counts as one client: its address, or in IPv6 the network it was given, of which it may use every address.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Says why, as far as that can be done without waiting, and closes.
fn refuse(service: &Service, stream: TcpStream) {
    let message = "There are as many connections from your address as there may be. Please close some.";
    let problem = Problem::new(Kind::Overloaded, message);
    let id = token();
    let body = problem.value(&id).to_string();
    let answer = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         x-request-id: {id}\r\nconnection: close\r\n\r\n{body}",
        problem.status(),
        body.len()
    );
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write_all(answer.as_bytes());
    }
    service
        .metrics
        .answered("other", problem.status().as_u16(), Duration::ZERO);
}

async fn connection(service: &Arc<Service>, stream: TcpStream, mut going: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let (stream, told) = (Arc::new(stream), Arc::new(Told::default()));
    let left = left(&stream, &told);
    let stream = Patient::new(stream.clone(), told.clone(), service.limits.idle_timeout());
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
        // Without this an answer is lost that is not ready when a client that asks no more has closed its side; who has left is
        // noticed by `left`, where there is one.
        .half_close(WATCHED)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection, left);
    tokio::select! {
        // What went wrong with a connection is its client's affair.
        _ = connection.as_mut() => return,
        () = left.as_mut() => return,
        _ = going.wait_for(|going| *going) => {}
    }
    connection.as_mut().graceful_shutdown();
    let ended = async {
        tokio::select! {
            _ = connection => {}
            () = left => {}
        }
    };
    if asked.load(Ordering::Relaxed) {
        ended.await;
    } else {
        let _ = timeout(FAREWELL, ended).await;
    }
}

/// Whether [`closed`] notices who has left. Elsewhere hyper does, unless the client has sent its next request already: then it does
/// not read on, and what is at work goes on for nobody.
const WATCHED: bool = cfg!(target_os = "linux");

/// What a client was told.
#[derive(Default)]
struct Told {
    bytes: AtomicU64,
    /// There is more to be written than it reads: that it still is there, its patience with us says ([`Patient`]).
    waiting: AtomicBool,
}

/// Ends when the client has left: closed its side, and for [`UNTOLD`] there was nothing to be written to it.
async fn left(stream: &TcpStream, told: &Told) {
    closed(stream).await;
    loop {
        let before = told.bytes.load(Ordering::Relaxed);
        sleep(UNTOLD).await;
        if told.bytes.load(Ordering::Relaxed) == before && !told.waiting.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Waits until the client has closed its side, whether or not all that it sent was read.
#[cfg(target_os = "linux")]
async fn closed(stream: &TcpStream) {
    // The one interest that is not woken by what can be read as well; urgent data is never announced here.
    while let Ok(ready) = stream.ready(tokio::io::Interest::PRIORITY).await {
        if ready.is_read_closed() {
            return;
        }
        tokio::task::yield_now().await;
    }
    std::future::pending().await
}

#[cfg(not(target_os = "linux"))]
async fn closed(_: &TcpStream) {
    std::future::pending().await
}

/// A connection that ends when its client does not read what is written for too long.
struct Patient {
    stream: Arc<TcpStream>,
    told: Arc<Told>,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: Arc<TcpStream>, told: Arc<Told>, patience: Duration) -> Self {
        Self {
            stream,
            told,
            patience,
            waiting: None,
        }
    }

    /// Writes as soon as there is room, or gives an error if there has been none for too long.
    fn poll_writing(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.stream.poll_write_ready(context)?.is_ready() {
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.waiting = None;
                    self.told.waiting.store(false, Ordering::Relaxed);
                    let bytes = *written.as_ref().unwrap_or(&0) as u64;
                    self.told.bytes.fetch_add(bytes, Ordering::Relaxed);
                    return Poll::Ready(written);
                }
            }
        }
        self.told.waiting.store(true, Ordering::Relaxed);
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
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    buffer.advance(read?);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write(data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The stream is closed when it is dropped, which comes next.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_the_network_it_was_given() {
        let of = |address: &str| client(address.parse().unwrap());
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.8"), of("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:3::3"), of("2001:db8:1:2::3"));
    }

    #[test]
    fn seats_are_free_again_and_nothing_is_kept_of_who_has_none() {
        let clients = Arc::new(Clients::default());
        let seat = |last: u8| clients.seat([192, 0, 2, last].into(), Some(2));
        let (first, second) = (seat(1), seat(1));
        assert!(first.is_some() && second.is_some());
        assert!(seat(1).is_none() && seat(2).is_some());
        drop(first);
        assert!(seat(1).is_some());
        drop(second);
        assert!(clients.counts().is_empty());
    }
}
