//! `messymash serve` as its clients meet it: answers and refusals.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod program;
mod service;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use service::{Answer, Service, wav};

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
fn a_session_may_call_again_while_its_stream_of_answers_is_open() {
    let service = Service::start(&[]);
    let sound = wav(1.0);
    let join = |session: &str| {
        let data = serde_json::json!({"data": [{"path": upload(&service, &sound)}], "session_hash": session});
        let answer = service.post("/gradio_api/queue/join", "", data.to_string().as_bytes());
        assert_eq!(answer.status, 200);
    };
    // How many answers the stream brings, if the second call is made when the first answer is read, as `gradio_client` may.
    let answers = |session: &str| {
        join(session);
        let mut stream = service.connect();
        write!(
            stream,
            "GET /gradio_api/queue/data?session_hash={session} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answers = 0;
        for line in BufReader::new(stream).lines().map(Result::unwrap) {
            if line.contains("\"process_completed\"") {
                answers += 1;
                if answers == 1 {
                    join(session);
                }
            }
        }
        answers
    };
    // On a machine that stands still for longer than the stream stays, once more: without the stay no try would succeed.
    assert!((0..3).any(|session| answers(&format!("s{session}")) == 2));
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
    let service = Service::start(&["--max-seconds", "2.5", "--max-body", "1"]);
    let of = |headers: &str, body: &[u8]| service.post("/v1/classify", headers, body).refusal();
    let is = |status, kind: &str| (status, kind.to_string());
    assert_eq!(of("", b"\x89PNG\r\n\x1a\n\0\0\0\0"), is(415, "unsupported_media"));
    assert_eq!(
        of("content-encoding: gzip\r\n", &wav(1.0)),
        is(415, "unsupported_media")
    );
    assert_eq!(of("", b""), is(422, "invalid_audio"));
    assert_eq!(of("", &wav(0.01)), is(422, "too_short"));
    assert_eq!(of("", &wav(20.0)), is(413, "audio_too_long"));
    // Of what is not decoded there may be any amount.
    let first = service.post("/v1/classify?windows=first", "", &wav(20.0)).json();
    assert_eq!(first["seconds"], first["windows"][0]["end"]);
    assert_eq!(service.post("/predict?windows=first", "", &wav(20.0)).status, 200);
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
