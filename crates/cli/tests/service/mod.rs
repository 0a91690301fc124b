//! The service as a process, and a client that says exactly what a test wants said.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a failed unwrap is a failed test

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{messymash, small_model};

/// Nothing in these tests takes longer, unless it never ends.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Service {
    pub address: SocketAddr,
    pub process: Child,
}

impl Service {
    /// Of the golden model of five labels, which hears a quarter of a second.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = messymash();
        command
            .args(["serve", "--port", "0", "--model"])
            .arg(small_model())
            .args(arguments);
        Self::of(command)
    }

    pub fn of(mut command: Command) -> Self {
        let mut process = command
            .env("MESSYMASH_TEST_HOOKS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines
                .next()
                .expect("the service ended before it was ready")
                .unwrap();
            if let Some((_, address)) = line.split_once("is ready at http://") {
                break address.parse().unwrap();
            }
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { address, process }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads the answer.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Answer::read(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes())
    }

    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.raw(&request(path, headers, body))
    }

    pub fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("messymash_{name} ")));
        line.unwrap().parse().unwrap()
    }

    pub fn until_metric(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), || self.metric(name) == value);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The bytes of a POST.
pub fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one answer to the end of its body.
    pub fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_eq!(
                stream.read(&mut byte).unwrap(),
                1,
                "no whole head: {:?}",
                String::from_utf8_lossy(&bytes)
            );
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self {
            status,
            head,
            body: Vec::new(),
        };
        match answer.header("content-length") {
            Some(length) => {
                answer.body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut answer.body).unwrap();
            }
            None => {
                stream.read_to_end(&mut answer.body).unwrap();
            }
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Status and `error_type` of a refusal, which must be whole.
    pub fn refusal(&self) -> (u16, String) {
        let json = self.json();
        assert!(json["error"].as_str().unwrap().ends_with('.'), "{json}");
        assert_eq!(json["request_id"].as_str(), self.header("x-request-id"));
        (self.status, json["error_type"].as_str().unwrap().to_string())
    }
}

/// A WAV file of noise, 16 kHz.
pub fn wav(seconds: f64) -> Vec<u8> {
    let samples = (seconds * 16_000.0) as u32;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + 2 * samples).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(16_000u32.to_le_bytes());
    file.extend(32_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((2 * samples).to_le_bytes());
    let mut state = 1u32;
    for _ in 0..samples {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend(((state >> 16) as i16 / 2).to_le_bytes());
    }
    file
}
