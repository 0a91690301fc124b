//! `messymash serve` as its clients meet it: answers, refusals, limits, and how it ends.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod program;
mod service;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use service::{Answer, PATIENCE, Service, request, until, wav};

/// What the hooks of debug builds take for a command.
const WAIT: &[u8] = b"test: wait";

fn is_busy(service: &Service) {
    service.until_metric("queue_running", 1.0);
}

/// The name of an upload for a call in Gradio's protocol.
fn upload(service: &Service, sound: &[u8]) -> String {
    let form = [
        &b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"x.wav\"\r\n\r\n"[..],
        sound,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let headers = "content-type: multipart/form-data; boundary=b\r\n";
    let names = service.post("/gradio_api/upload", headers, &form).json();
    names[0].as_str().unwrap().to_string()
}

/// The address of the answer to a call in the curl form.
fn begin(service: &Service, sound: &[u8]) -> String {
    let data = serde_json::json!({"data": [{"path": upload(service, sound)}]}).to_string();
    let call = service.post("/gradio_api/call/predict", "", data.as_bytes());
    format!(
        "/gradio_api/call/predict/{}",
        call.json()["event_id"].as_str().unwrap()
    )
}

#[test]
fn one_sound_has_one_answer_however_it_is_sent() {
    let service = Service::start(&[]);
    let sound = wav(1.0);
    let raw = service.post("/v1/classify", "", &sound).json();
    assert_eq!(raw["file"]["bytes"], sound.len());
    assert_eq!(
        (raw["file"]["name"].as_str(), raw["file"]["seconds"].as_f64()),
        (None, Some(1.0))
    );
    assert_eq!(raw["predictions"].as_array().unwrap().len(), 5);
    assert_eq!(raw["windows"][0]["start"], 0.0);
    let form = [
        &b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../x<b>.wav\"\r\nContent-Type: audio/wav\r\n\r\n"[..],
        &sound,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let form = service
        .post(
            "/v1/classify?top_k=2",
            "content-type: multipart/form-data; boundary=b\r\n",
            &form,
        )
        .json();
    // Only the name, and only given back.
    assert_eq!(form["file"]["name"], "x<b>.wav");
    assert_eq!(
        form["predictions"].as_array().unwrap(),
        &raw["predictions"].as_array().unwrap()[..2]
    );
    assert_eq!(form["timeline"], raw["timeline"]);
    let inputs = serde_json::json!({"inputs": STANDARD.encode(&sound), "parameters": {"top_k": 2}});
    let list = service.post(
        "/",
        "content-type: application/json\r\n",
        inputs.to_string().as_bytes(),
    );
    assert_eq!(list.json(), form["predictions"]);
    assert_eq!(
        service
            .post("/predict?top_k=2", "content-type: audio/x-wav\r\n", &sound)
            .json(),
        form["predictions"]
    );
    let scores = |function: &str| {
        service
            .post(&format!("/?function_to_apply={function}"), "", &sound)
            .json()
    };
    assert_eq!(scores("softmax"), raw["predictions"]);
    assert_ne!(scores("sigmoid"), raw["predictions"]);
    let stream = service.post("/v1/classify", "accept: text/event-stream\r\n", &sound);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let stream = stream.text();
    let names: Vec<&str> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        (names[0], names[1], *names.last().unwrap()),
        ("queued", "progress", "result"),
        "{stream}"
    );
    let last = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .next_back()
        .unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["predictions"], raw["predictions"]);
    let wrong = service
        .post("/v1/classify", "accept: text/event-stream\r\n", b"no sound")
        .text();
    assert!(
        wrong.contains("event: error\n") && wrong.contains("\"unsupported_media\""),
        "{wrong}"
    );
}

#[test]
fn an_answer_in_the_form_of_gradio_is_there_once_and_asking_for_its_head_does_not_take_it() {
    let service = Service::start(&[]);
    let address = begin(&service, &wav(1.0));
    let head =
        || service.raw(format!("HEAD {address} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").as_bytes());
    for _ in 0..2 {
        let head = head();
        assert_eq!(
            (head.status, head.header("content-type"), head.body.len()),
            (200, Some("text/event-stream"), 0)
        );
    }
    assert!(service.get(&address).text().contains("event: complete\n"));
    assert_eq!(service.get(&address).refusal(), (404, "not_found".into()));
}

#[test]
fn windows_can_be_looked_at() {
    let service = Service::start(&[]);
    let picture = service.post("/v1/spectrogram?start=0.5&height=64", "", &wav(1.0));
    assert_eq!(
        (picture.status, picture.header("content-type")),
        (200, Some("image/png"))
    );
    assert!(picture.body.starts_with(b"\x89PNG"));
    assert!(picture.header("x-window").unwrap().starts_with("0.5,"));
    let attention = service.post("/v1/attention?start=0.5", "", &wav(1.0)).json();
    let values = attention["values"].as_array().unwrap();
    assert_eq!(
        values.len() as u64,
        attention["rows"].as_u64().unwrap() * attention["columns"].as_u64().unwrap()
    );
    assert_eq!(
        service.post("/v1/attention?start=2", "", &wav(1.0)).refusal(),
        (400, "validation".into())
    );
}

#[test]
fn the_page_and_what_describes_the_service_are_there() {
    let service = Service::start(&[]);
    let page = service.get("/");
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'self'")
    );
    let tag = page.header("etag").unwrap();
    let again = service.raw(
        format!("GET / HTTP/1.1\r\nhost: t\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert!(service.get("/samples/mashup.flac").body.starts_with(b"fLaC"));
    assert!(service.get("/docs").text().contains("/v1/classify"));
    assert_eq!(
        service.get("/v1/model").json()["labels"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    assert_eq!(service.get("/openapi.json").json()["openapi"], "3.1.0");
    for hostile in [
        "/web/../serve.rs",
        "/web/%2e%2e%2fserve.rs",
        "/samples//etc/passwd",
        "/web/",
        "/nothing",
        "/web/build.rs",
    ] {
        assert_eq!(
            service.get(hostile).refusal(),
            (404, "not_found".into()),
            "{hostile}"
        );
    }
    let wrong = service.get("/v1/classify");
    assert_eq!((wrong.refusal().0, wrong.header("allow")), (405, Some("post")));
    let odd = service.raw(b"GET /livez HTTP/1.1\r\nhost: a\"><script>.evil\r\nx-request-id: <script>\r\nconnection: close\r\n\r\n");
    assert!(odd.status == 200 && !odd.head.contains("script"));
    let mine =
        service.raw(b"GET /livez HTTP/1.1\r\nhost: a\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n");
    assert_eq!(mine.header("x-request-id"), Some("mine-1"));
}

#[test]
fn a_connection_is_kept_whether_or_not_a_body_has_a_stated_length() {
    let service = Service::start(&[]);
    let sound = wav(0.5);
    let head = "POST /predict HTTP/1.1\r\nhost: t\r\n";
    let stated = format!("{head}content-length: {}\r\n\r\n", sound.len());
    let size = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", sound.len());
    let chunked = [size.as_bytes(), &sound, b"\r\n0\r\n\r\n"].concat();
    let mut stream = service.connect();
    for request in [&chunked, &[stated.as_bytes(), &sound].concat(), &chunked] {
        stream.write_all(request).unwrap();
        let answer = Answer::read(&mut stream);
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
}

#[test]
fn what_cannot_be_heard_is_refused_by_kind() {
    let service = Service::start(&["--max-seconds", "1.5", "--max-body", "1"]);
    let of = |headers: &str, body: &[u8]| service.post("/v1/classify", headers, body).refusal();
    let is = |status, kind: &str| (status, kind.to_string());
    assert_eq!(of("", b"\x89PNG\r\n\x1a\n\0\0\0\0"), is(415, "unsupported_media"));
    assert_eq!(
        of("content-encoding: gzip\r\n", &wav(1.0)),
        is(415, "unsupported_media")
    );
    assert_eq!(of("", b""), is(422, "invalid_audio"));
    assert_eq!(of("", &wav(0.01)), is(422, "too_short"));
    assert_eq!(of("", &wav(2.0)), is(413, "audio_too_long"));
    assert_eq!(
        of("content-type: multipart/form-data\r\n", b"x"),
        is(400, "validation")
    );
    let json = "content-type: application/json\r\n";
    assert_eq!(
        service.post("/", json, b"{\"inputs\": 1}").refusal(),
        is(400, "validation")
    );
    assert_eq!(
        service.post("/?top_k=none", "", &wav(1.0)).refusal(),
        is(400, "validation")
    );
    assert_eq!(
        service.post("/v1/classify?hop=nan", "", &wav(1.0)).refusal(),
        is(400, "validation")
    );
    // By its stated length, before any of it is sent; or, without one, at the byte.
    let stated = service.raw(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9000000\r\n\r\n");
    assert_eq!(stated.refusal(), is(413, "payload_too_large"));
    assert_eq!(stated.header("connection"), Some("close"));
    let mut stream = service.connect();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
    // More than the limit, whole: who is refused in the middle of sending still sees why.
    for _ in 0..20 {
        stream.write_all(&chunk).unwrap();
    }
    assert_eq!(Answer::read(&mut stream).refusal(), is(413, "payload_too_large"));
}

#[test]
fn no_path_and_no_address_is_ever_opened() {
    let service = Service::start(&[]);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), wav(1.0)).unwrap();
    let address = format!("http://{}/a.wav", elsewhere.local_addr().unwrap());
    for name in [
        secret.path().to_str().unwrap(),
        &address,
        &format!("file://{}", secret.path().display()),
    ] {
        let json = "content-type: application/json\r\n";
        let inputs = serde_json::json!({"inputs": name}).to_string();
        assert_eq!(service.post("/", json, inputs.as_bytes()).status, 400, "{name}");
        let call =
            serde_json::json!({"data": [{"path": name, "url": name}], "session_hash": "s"}).to_string();
        for path in ["/gradio_api/queue/join", "/gradio_api/call/predict"] {
            assert_eq!(
                service.post(path, json, call.as_bytes()).refusal().0,
                400,
                "{name}"
            );
        }
        assert_eq!(service.post("/v1/classify", "", name.as_bytes()).status, 415);
    }
    assert_eq!(
        elsewhere.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
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

#[cfg(debug_assertions)]
#[test]
fn a_fault_in_one_request_is_no_other_ones() {
    let service = Service::start(&["--workers", "1"]);
    for _ in 0..3 {
        assert_eq!(
            service.post("/v1/classify", "", b"test: panic").refusal(),
            (500, "internal".into())
        );
        assert_eq!(service.post("/predict", "", &wav(1.0)).status, 200);
    }
    // Where the answer has begun before the fault, it is told and counted all the same.
    let stream = service.post("/v1/classify", "accept: text/event-stream\r\n", b"test: panic");
    assert!(stream.text().contains("event: error\n") && stream.text().contains("\"internal\""));
    let stream = service.get(&begin(&service, b"test: panic"));
    assert!(stream.text().contains("event: error\n"), "{}", stream.text());
    service.until_metric("queue_taken", 0.0);
    assert_eq!(service.metric("panics_total"), 5.0);
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

#[test]
fn a_key_is_asked_for_where_one_is_set() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "open sesame\n").unwrap();
    let service = Service::start(&["--api-key-file", key.path().to_str().unwrap()]);
    let post = |headers: &str| service.post("/predict", headers, &wav(1.0)).status;
    assert_eq!(post(""), 401);
    assert_eq!(post("authorization: Bearer open\r\n"), 401);
    assert_eq!(post("authorization: Bearer open sesame\r\n"), 200);
    assert_eq!(post("authorization: bearer open sesame\r\n"), 200);
    assert_eq!(post("authorization: Basic open sesame\r\n"), 401);
    assert_eq!(post("x-api-key: open sesame\r\n"), 200);
    assert_eq!(service.get("/metrics").status, 401);
    for open in [
        "/readyz",
        "/livez",
        "/",
        "/samples/mashup.flac",
        "/docs",
        "/docs.css",
        "/openapi.json",
    ] {
        assert_eq!(service.get(open).status, 200, "{open}");
    }
}

#[test]
fn what_cannot_start_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, error) = program::run(program::messymash().args(["serve", "--port", &port]));
    assert!(code == 2 && error.contains("cannot listen at"), "{error}");
    let (code, _, error) =
        program::run(program::messymash().args(["serve", "--port", "0", "--model", "/nowhere"]));
    assert!(code == 2 && error.contains("/nowhere"), "{error}");
    let (code, _, error) = program::run(program::messymash().args(["serve", "--deadline", "0"]));
    assert!(code == 2 && error.contains("above 0"), "{error}");
}
