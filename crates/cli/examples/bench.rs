//! Our side of `tools/bench_peers.py`: one timed piece of work, one JSON line per repeat.
//!
//! `bench forward|train|features|decode --config base|tiny|bundled --precision f32|int8 --batch N --threads N --repeats N
//! [--model DIR] [--input FILE --output FILE]`. `--input` holds a tensor `input_values` `[batch, frames, bins]` (for features
//! `samples` `[n]`, for decode it is a sound file); `--output` receives `logits` (`fbank`, `samples`), so that equality can
//! be checked before speed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use messymash::ast::{Activations, Ast, AstConfig, Batch, Inference, Precision, Targets, Trained, Workspace};
use messymash::audio::{AudioLimits, AudioStream};
use messymash::checkpoint::Checkpoint;
use messymash::fbank::{Fbank, FbankOptions};
use messymash::optim::{AdamW, Rates};
use messymash::random::Random;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    /// Logits of a batch.
    Forward,
    /// Forward, backward and AdamW.
    Train,
    /// Log-mel energies of ten seconds.
    Features,
    /// A sound file as mono samples at 16 kHz.
    Decode,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Numbers {
    F32,
    Int8,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Size {
    /// Hidden 768, 12 layers, 12 heads: the published model.
    Base,
    /// Hidden 192, 12 layers, 3 heads.
    Tiny,
    /// The model in the binary.
    Bundled,
}

#[derive(Parser)]
struct Args {
    work: Work,
    #[arg(long, default_value = "base")]
    config: Size,
    /// What `forward` computes in.
    #[arg(long, default_value = "f32")]
    precision: Numbers,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Weights from here instead of seeded ones.
    #[arg(long)]
    model: Option<PathBuf>,
    #[arg(long)]
    input: Option<PathBuf>,
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build_global()?;
    match args.work {
        Work::Features => features(&args),
        Work::Decode => decode(&args),
        Work::Forward => forward(&args),
        Work::Train => train(&args),
    }
}

fn input_values(args: &Args, config: &AstConfig) -> Result<Vec<f32>> {
    if let Some(path) = &args.input {
        return read_tensor(path, "input_values");
    }
    let mut random = Random::new(&[1]);
    Ok((0..args.batch * config.input_len())
        .map(|_| random.normal() as f32)
        .collect())
}

fn forward(args: &Args) -> Result<()> {
    let precision = match args.precision {
        Numbers::F32 => Precision::F32,
        Numbers::Int8 => Precision::Int8,
    };
    let model = Inference::new(model(args)?, precision)?;
    let input = input_values(args, model.config())?;
    let mut room = Workspace::default();
    if let Some(path) = &args.output {
        let logits = model.forward(&input, &mut room)?;
        write_tensor(path, "logits", &logits, input.len() / model.config().input_len())?;
    }
    repeat(args.repeats, || model.forward(&input, &mut room).map(|_| ()))
}

fn train(args: &Args) -> Result<()> {
    let mut ast = model(args)?;
    let input = input_values(args, ast.config())?;
    let batch = Batch {
        input_values: &input,
        keep: None,
    };
    let mut activations = Activations::default();
    let mut gradients = ast.weights().zeros_like();
    let mut optimizer = AdamW::new(ast.weights(), 0.01);
    let classes: Vec<usize> = (0..args.batch).map(|i| i % ast.config().id2label.len()).collect();
    let targets = ast.targets(&classes, 0.1)?;
    repeat(args.repeats, || {
        gradients.clear();
        ast.forward_backward(
            batch,
            Targets::Probabilities(&targets),
            Trained::All,
            &mut gradients,
            &mut activations,
        )?;
        optimizer.step(ast.weights_mut(), &gradients, Rates::uniform(1e-5), 1.0);
        Ok(())
    })
}

fn decode(args: &Args) -> Result<()> {
    let path = args.input.as_ref().context("decode needs --input FILE")?;
    let decode = || -> messymash::Result<Vec<f32>> {
        let mut stream = AudioStream::open(path, &AudioLimits::default())?.resampled(16_000)?;
        if rayon::current_num_threads() > 1 {
            stream = stream.ahead();
        }
        let mut samples = Vec::new();
        while stream.next_block(&mut samples)? {}
        Ok(samples)
    };
    if let Some(output) = &args.output {
        write_tensor(output, "samples", &decode()?, 1)?;
    }
    repeat(args.repeats, || {
        decode().map(|samples| drop(std::hint::black_box(samples)))
    })
}

/// One round that is not counted, then the timed ones.
fn repeat(times: usize, mut work: impl FnMut() -> messymash::Result<()>) -> Result<()> {
    work()?;
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        println!("{{\"ms\": {:.3}}}", start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(())
}

fn features(args: &Args) -> Result<()> {
    let fbank = Fbank::new(FbankOptions::default())?;
    let samples: Vec<f32> = match &args.input {
        Some(path) => read_tensor(path, "samples")?,
        None => {
            let mut random = Random::new(&[1]);
            (0..160_000).map(|_| random.uniform(-0.5, 0.5) as f32).collect()
        }
    };
    if let Some(path) = &args.output {
        let made = fbank.log_mel(&samples)?;
        write_tensor(path, "fbank", &made, fbank.num_frames(samples.len()))?;
    }
    repeat(args.repeats, || {
        std::hint::black_box(fbank.log_mel(&samples)?);
        Ok(())
    })
}

fn model(args: &Args) -> Result<Ast> {
    if let Some(dir) = &args.model {
        return Ok(Checkpoint::load(dir)?.ast);
    }
    let labels: Vec<String> = messymash::dataset::GENRES.iter().map(|g| g.to_string()).collect();
    let base = AstConfig::default().with_labels(&labels);
    let config = match args.config {
        Size::Base => base,
        Size::Tiny => AstConfig {
            hidden_size: 192,
            num_attention_heads: 3,
            intermediate_size: 768,
            ..base
        },
        Size::Bundled => {
            let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
            return Ok(Checkpoint::load(&bundled)?.ast);
        }
    };
    Ok(Ast::random(config, 1)?)
}

fn read_tensor(path: &Path, name: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes)?;
    let data = file.tensor(name)?.data();
    Ok(data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}

fn write_tensor(path: &Path, name: &str, values: &[f32], rows: usize) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![rows, values.len() / rows], &bytes)?;
    std::fs::write(path, safetensors::serialize([(name, view)], None)?)?;
    Ok(())
}
