//! `messymash info`: what a model is.

use std::io::Write;

use anyhow::Result;
use clap::ValueEnum;

use crate::Outcome;
use crate::input::{ModelArgs, printable};

/// Show what a model is: its genres, size, window, and its card.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How to print it
    #[arg(long, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let info = args.model.load()?.info();
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &info).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => {
            writeln!(
                out,
                "messymash   {} ({})",
                env!("CARGO_PKG_VERSION"),
                messymash::instructions()
            )?;
            writeln!(out, "model       {}", printable(&info.name))?;
            writeln!(out, "genres      {}", printable(&info.labels.join(", ")))?;
            writeln!(
                out,
                "shape       {} layers of {}, {} heads, {} tokens, {} parameters, {:.1} billion multiply-adds a window",
                info.num_hidden_layers,
                info.hidden_size,
                info.num_attention_heads,
                info.tokens,
                info.parameters,
                info.multiply_adds as f64 / 1e9
            )?;
            writeln!(
                out,
                "computed in {} ({:.1} MB of weights)",
                info.precision.name(),
                info.weight_bytes as f64 / 1e6
            )?;
            if let Some(quantization) = &info.quantized_from {
                let from = printable(&quantization.origin);
                writeln!(
                    out,
                    "quantised   from {from} (SHA-256 {})",
                    printable(&quantization.origin_sha256)
                )?;
            }
            writeln!(
                out,
                "hears       {} Hz, windows of {:.2} s: {} frames of {} mel bins",
                info.sampling_rate, info.window_seconds, info.max_length, info.num_mel_bins
            )?;
            if let Some(card) = &info.card {
                writeln!(out, "\n{}", printable(card.trim_end()))?;
            }
        }
    }
    Ok(Outcome::AllWell)
}
