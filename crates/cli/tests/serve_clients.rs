//! `messymash serve` and clients that are too many, too slow, or gone; and how it ends.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod program;
mod service;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use service::{Answer, PATIENCE, Service, request, until, wav};

/// What the hooks of debug builds take for a command.
#[cfg(debug_assertions)]
const WAIT: &[u8] = b"test: wait";

#[cfg(debug_assertions)]
fn is_busy(service: &Service) {
    service.until_metric("queue_running", 1.0);
}

#[test]
fn who_is_slow_is_let_go() {
    let service = Service::start(&[
        "--header-timeout",
        "0.5",
        "--idle-timeout",
        "0.5",
        "--body-timeout",
        "2",
    ]);
    for start in [&b"POST / HT"[..], b"", b"GET /livez HTTP/1.1\r\nhost: t\r\nx: "] {
        let mut stream = service.connect();
        stream.write_all(start).unwrap();
        let mut rest = Vec::new();
        let began = Instant::now();
        // Closed, or reset: the read ends either way, long before the test's own patience.
        let _ = stream.read_to_end(&mut rest);
        assert!(began.elapsed() < PATIENCE / 2);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    let mut idle = service.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut idle).status, 200);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "a kept connection is closed");
    let stops = service.raw(b"POST /predict HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nabc");
    assert_eq!(stops.refusal(), (408, "timeout".into()));
    // A byte now and then is not enough either.
    let mut stream = service.connect();
    stream
        .write_all(b"POST /predict HTTP/1.1\r\nhost: t\r\ncontent-length: 100000\r\n\r\n")
        .unwrap();
    let began = Instant::now();
    let mut dripping = stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while began.elapsed() < PATIENCE && dripping.write_all(b"x").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    assert_eq!(Answer::read(&mut stream).refusal(), (408, "timeout".into()));
    let _ = stream.shutdown(Shutdown::Both);
    drip.join().unwrap();
    service.until_metric("queue_taken", 0.0);
}

#[cfg(debug_assertions)]
#[test]
fn who_comes_to_a_full_queue_is_told_so_before_the_body_and_who_leaves_makes_room() {
    let service = Service::start(&["--workers", "1", "--max-queue", "0"]);
    let mut first = service.connect();
    first.write_all(&request("/v1/classify", "", WAIT)).unwrap();
    is_busy(&service);
    // No byte of the body is ever sent.
    let refused = service.raw(b"POST /predict HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n");
    assert_eq!(refused.refusal(), (429, "overloaded".into()));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
    assert_eq!(refused.header("connection"), Some("close"));
    // Who insists on sending first sees the answer, too.
    assert_eq!(service.post("/predict", "", &wav(20.0)).status, 429);
    drop(first);
    service.until_metric("queue_taken", 0.0);
    assert_eq!(service.post("/predict", "", &wav(1.0)).status, 200);
    // The same for who listens to events.
    let mut first = service.connect();
    first
        .write_all(&request("/v1/classify", "accept: text/event-stream\r\n", WAIT))
        .unwrap();
    is_busy(&service);
    assert_eq!(service.post("/predict", "", &wav(1.0)).status, 429);
    drop(first);
    service.until_metric("queue_taken", 0.0);
}

#[cfg(all(debug_assertions, target_os = "linux"))]
#[test]
fn who_leaves_is_missed_although_the_next_request_was_sent() {
    let service = Service::start(&["--workers", "1", "--max-queue", "0"]);
    for headers in ["", "accept: text/event-stream\r\n"] {
        let mut stream = service.connect();
        let head = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n",
            WAIT.len()
        );
        let next = &b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n"[..];
        stream
            .write_all(&[head.as_bytes(), headers.as_bytes(), b"\r\n", WAIT, next].concat())
            .unwrap();
        is_busy(&service);
        drop(stream);
        service.until_metric("queue_taken", 0.0);
    }
    // Who only closes the own side, as `nc` does, still gets what can be answered at once.
    let mut stream = service.connect();
    stream
        .write_all(&b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n".repeat(8))
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..8 {
        assert_eq!(Answer::read(&mut stream).status, 200);
    }
}

#[test]
fn one_address_has_no_more_connections_than_it_may() {
    let service = Service::start(&["--max-connections-per-address", "2"]);
    let held = [service.connect(), service.connect()];
    let mut third = service.connect();
    let refused = Answer::read(&mut third);
    assert_eq!(refused.refusal(), (429, "overloaded".into()));
    assert_eq!(
        (refused.header("connection"), refused.header("retry-after")),
        (Some("close"), Some("1"))
    );
    assert_eq!(third.read(&mut [0]).unwrap(), 0);
    drop(held);
    until("there is room again", || {
        let mut stream = service.connect();
        let mut answer = Vec::new();
        // Who asks before it reads may be refused by a reset.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200")
    });
}

#[cfg(debug_assertions)]
#[test]
fn who_waits_too_long_is_told_so() {
    let arguments = [
        "--workers",
        "1",
        "--max-queue",
        "4",
        "--queue-timeout",
        "0.3",
        "--deadline",
        "1.5",
    ];
    let service = Service::start(&arguments);
    let mut first = service.connect();
    first.write_all(&request("/v1/classify", "", WAIT)).unwrap();
    is_busy(&service);
    assert_eq!(
        service.post("/predict", "", &wav(1.0)).refusal(),
        (429, "overloaded".into())
    );
    assert_eq!(Answer::read(&mut first).refusal(), (504, "timeout".into()));
    service.until_metric("queue_taken", 0.0);
    assert_eq!(service.post("/predict", "", &wav(1.0)).status, 200);
}

#[test]
fn what_was_begun_is_ended_before_the_service_is() {
    let mut service = Service::start(&[]);
    let idle = service.connect();
    let sound = wav(1.0);
    let whole = request("/predict", "", &sound);
    let (half, rest) = whole.split_at(whole.len() / 2);
    let mut upload = service.connect();
    upload.write_all(half).unwrap();
    service.until_metric("queue_taken", 1.0);
    service.terminate();
    until("not ready", || service.get("/readyz").status == 503);
    assert_eq!(
        service.post("/predict", "", &sound).refusal(),
        (503, "unhealthy".into())
    );
    assert_eq!(service.get("/livez").status, 200);
    upload.write_all(rest).unwrap();
    assert_eq!(Answer::read(&mut upload).status, 200);
    assert!(service.process.wait().unwrap().success());
    drop(idle);
    // With nothing to do it ends at once.
    let mut service = Service::start(&[]);
    let began = Instant::now();
    service.terminate();
    assert!(service.process.wait().unwrap().success());
    assert!(began.elapsed().as_secs() < 20);
}

#[test]
fn who_reads_slowly_gets_the_whole_answer_before_the_service_ends() {
    let mut service = Service::start(&[]);
    // More answers than the system keeps on the way: one of them is in the middle when the service is told to end.
    let mut slow = service.connect();
    let asked = "GET /samples/mashup.flac HTTP/1.1\r\nhost: t\r\n\r\n".repeat(64);
    slow.write_all(asked.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    service.terminate();
    std::thread::sleep(Duration::from_secs(3));
    let mut whole = 0;
    while slow.peek(&mut [0]).unwrap() == 1 {
        // Panics over an answer that is cut.
        assert_eq!(Answer::read(&mut slow).status, 200);
        whole += 1;
    }
    assert!((1..64).contains(&whole), "{whole}");
    assert!(service.process.wait().unwrap().success());
}
