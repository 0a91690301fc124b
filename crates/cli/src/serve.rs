//! `messymash serve`: the classifier as a service over HTTP, with a page for people. The only asynchronous code.
//!
//! ```text
//! accept (connections, timers) -> routes (key, request id, errors) -> queue (a place, or 429) -> body (whole, within limits)
//!   -> worker thread (the library decodes and hears) -> answer
//! ```

mod accept;
mod answer;
mod api;
mod body;
mod errors;
mod gradio;
mod hooks;
mod hugging_face;
mod key;
mod limits;
mod metrics;
mod multipart;
mod openapi;
mod page;
mod query;
mod queue;
mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use messymash::{Classifier, Waveform};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::errors::{Kind, Problem};
use self::gradio::Gradio;
use self::key::Key;
use self::limits::Limits;
use self::metrics::Metrics;
use self::queue::Queue;
use crate::Outcome;
use crate::input::{ModelArgs, ThreadArgs};

/// Answer over HTTP: a page for people, and the interfaces that programs know from Hugging Face and Gradio.
///
/// Open the address that it prints in a browser, or send a sound file to it:
/// curl --data-binary @song.mp3 http://127.0.0.1:7860/v1/classify. What else there is, is at /docs.
/// Nothing that is sent is kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Address to listen at. 0.0.0.0 is every one that this machine has: then others can reach it
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "MESSYMASH_HOST",
        default_value = "127.0.0.1"
    )]
    host: std::net::IpAddr,
    /// Port to listen at; 0 takes a free one
    #[arg(long, value_name = "PORT", env = "MESSYMASH_PORT", default_value_t = 7860)]
    port: u16,
    /// A file whose first line is the key that requests must bring (Authorization: Bearer KEY, or X-Api-Key: KEY). Left out: none is asked for
    #[arg(long, value_name = "FILE", env = "MESSYMASH_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// Print a line for every request
    #[arg(long)]
    log: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// Everything that requests share.
pub struct Service {
    classifier: OnceLock<Classifier>,
    queue: Arc<Queue>,
    limits: Limits,
    metrics: Metrics,
    key: Option<Key>,
    gradio: Gradio,
    is_bundled: bool,
    draining: AtomicBool,
    log: bool,
}

impl Service {
    /// The model, once it is there and has been tried.
    pub fn classifier(&self) -> errors::Result<&Classifier> {
        let loading = || Problem::new(Kind::Unhealthy, "The model is still being loaded.").retry_after(1);
        self.classifier.get().ok_or_else(loading)
    }

    /// Whether requests are answered.
    pub fn ready(&self) -> bool {
        self.classifier.get().is_some() && !self.draining.load(Ordering::SeqCst)
    }

    /// No new work is taken from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Sound that a window hears.
    pub fn window_seconds(&self) -> f64 {
        self.classifier
            .get()
            .map_or(0.0, |classifier| classifier.extractor().window_seconds())
    }
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let service = Arc::new(Service {
        classifier: OnceLock::new(),
        queue: Queue::new(&args.limits).context("cannot start threads")?,
        limits: args.limits.clone(),
        metrics: Metrics::default(),
        key: args.api_key_file.as_deref().map(Key::read).transpose()?,
        gradio: Gradio::new(&args.limits),
        is_bundled: args.model.model.is_none(),
        draining: AtomicBool::new(false),
        log: args.log,
    });
    // Connections wait for each other's bytes, hardly for a processor: hearing is done by the queue's own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let outcome = runtime.block_on(listen(args, &service));
    service.queue.end();
    // Threads that still hear what nobody waits for do not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn listen(args: &Args, service: &Arc<Service>) -> Result<Outcome> {
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen at {address}; another --port may be free"))?;
    let address = listener.local_addr().context("the address to listen at")?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    if !address.ip().is_loopback() && service.key.is_none() {
        eprintln!("anybody who can reach {address} can use this service: no --api-key-file was given");
    }
    let (failed, failure) = tokio::sync::oneshot::channel();
    let (loading, model) = (service.clone(), args.model.clone());
    std::thread::spawn(move || match load(&model) {
        Ok(classifier) => {
            let name = crate::input::printable(classifier.name());
            let _ = loading.classifier.set(classifier);
            // Whoever reads this may ask at once.
            eprintln!("{name} is ready at http://{address}");
        }
        Err(error) => {
            let _ = failed.send(error);
        }
    });
    let mut error = None;
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            Ok(failure) = failure => {
                error = Some(failure);
                return;
            }
        }
        eprintln!("no new requests are taken; those begun may end. A second signal ends at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            std::process::exit(130);
        });
    };
    accept::serve(service.clone(), listener, stop).await;
    error.map_or(Ok(Outcome::AllWell), Err)
}

/// Loads the model and lets it hear something, so that the first request meets nothing untried.
fn load(model: &ModelArgs) -> Result<Classifier> {
    let classifier = model.load()?;
    let rate = classifier.extractor().sampling_rate;
    let tone = (0..rate).map(|i| (i as f32 * 0.1).sin() / 2.0).collect();
    let heard = classifier.classify(&Waveform::new(tone, rate));
    let heard = heard.context("the model cannot hear a tone of one second")?;
    anyhow::ensure!(
        heard.predictions.iter().all(|p| p.score.is_finite()),
        "the model's scores are no numbers; its weights are damaged"
    );
    Ok(classifier)
}
