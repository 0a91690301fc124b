//! The command line of messymash: one file per command, each turning what was typed into calls of the library.
//!
//! Exit codes: 0 all well, 1 some of the work failed, 2 it could not start, 130 interrupted.

mod calibrate;
mod classify;
mod dataset;
mod evaluate;
mod info;
mod input;
mod interrupt;
mod ordered;
mod predict;
mod progress;
mod quantize;
mod remix;
mod report;
mod separate;
mod serve;
mod submission;
mod tag;
mod train;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Tells the genre of messy audio, and trains the model that can.
///
/// Start with `messymash classify song.mp3`: it needs nothing else, no network and no settings.
#[derive(Parser)]
#[command(name = "messymash", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Classify(classify::Args),
    Dataset(dataset::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Predict(predict::Args),
    Submission(submission::Args),
    Report(report::Args),
    Remix(remix::Args),
    Separate(separate::Args),
    Calibrate(calibrate::Args),
    Tag(tag::Args),
    Serve(serve::Args),
    Quantize(quantize::Args),
    Info(info::Args),
}

/// How a command that could start has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    AllWell,
    SomeFailed,
    Interrupted,
}

fn main() -> ExitCode {
    let mut command = taking_negative_numbers(Cli::command());
    let cli = Cli::from_arg_matches(&command.get_matches_mut())
        .unwrap_or_else(|error| error.format(&mut command).exit());
    let result = match cli.command {
        Command::Classify(args) => classify::run(&args),
        Command::Dataset(args) => dataset::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Submission(args) => submission::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Remix(args) => remix::run(&args),
        Command::Separate(args) => separate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Tag(args) => tag::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Info(args) => info::run(&args),
    };
    match result {
        Ok(Outcome::AllWell) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        // Whoever reads our output has seen enough (`messymash … | head`): no fault of anyone's.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if is_interrupted(&error) => {
            eprintln!("messymash: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("messymash: {}", input::printable(&input::told(&error)));
            ExitCode::from(2)
        }
    }
}

/// `--hop -3` is a value that is wrong, which the option itself says best, and no unknown option `-3`. A folder is hardly called so.
fn taking_negative_numbers(command: clap::Command) -> clap::Command {
    let path = clap::value_parser!(std::path::PathBuf).type_id();
    command
        .mut_args(|arg| {
            let option = arg.get_action().takes_values() && !arg.is_positional();
            let number = option && arg.get_value_parser().type_id() != path;
            if number {
                arg.allow_negative_numbers(true)
            } else {
                arg
            }
        })
        .mut_subcommands(taking_negative_numbers)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

pub(crate) fn is_interrupted(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        matches!(
            e.downcast_ref::<messymash::Error>(),
            Some(messymash::Error::Interrupted)
        )
    })
}
