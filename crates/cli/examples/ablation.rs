//! What each part of the recipe is worth: trains every recipe of a folder on several splits, judges each model in three ways, and
//! writes a table and a picture.
//!
//! `ablation --data DIR... [--noise DIR...] [--recipes configs/ablation] [--seeds 1 2 3] [--mashups 500] --out DIR`. Seed n divides the
//! songs, begins the weights and draws the mashups of one run of every recipe. Whatever ends it, the same command goes on where it
//! stood. Judged is the end of each training (`last/`), so that no choice of an epoch flatters any recipe.

#[cfg(test)]
#[path = "../../messymash/tests/common/mod.rs"]
mod common;
#[path = "../src/interrupt.rs"]
mod interrupt;
#[path = "../src/progress.rs"]
mod progress;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Parser;
use messymash::classifier::ClassifyOptions;
use messymash::dataset::{DatasetOptions, MessyMashup, Split};
use messymash::evaluate::{Evaluation, Interval, Protocol, evaluate_mashups, evaluate_whole};
use messymash::remix::{RemixOptions, Remixer, StemCache};
use messymash::train::{TrainConfig, TrainEvent, resume, train};
use messymash::{Classifier, Error, atomic};

use progress::{Progress, clock};

/// How a model is judged: names of files, and heads of columns.
const JUDGED: [(&str, &str); 3] = [
    ("new-mashups", "new mashups of training songs"),
    ("unseen-songs", "mashups of unheard songs"),
    ("clean", "unheard songs, clean"),
];

#[derive(Parser)]
struct Args {
    /// A folder with the Messy Mashup layout; may be given several times.
    #[arg(long, required = true)]
    data: Vec<PathBuf>,
    /// A further folder of noise; may be given several times.
    #[arg(long)]
    noise: Vec<PathBuf>,
    /// The folder of recipes.
    #[arg(long, default_value = "configs/ablation")]
    recipes: PathBuf,
    /// A split and a training of every recipe for each.
    #[arg(long, num_args = 1.., default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Mashups that judge a model, of training songs and as many of unheard ones.
    #[arg(long, default_value_t = 500)]
    mashups: u64,
    /// The folder of all runs and of the result.
    #[arg(long)]
    out: PathBuf,
}

/// One recipe.
struct Recipe {
    name: String,
    title: String,
    config: TrainConfig,
}

/// Macro F1 by way of judging, of one run.
type Figures = [Interval; 3];

/// Figures by number of the recipe and seed.
type Results = BTreeMap<(usize, u64), Figures>;

fn main() -> Result<()> {
    let args = Args::parse();
    interrupt::listen()?;
    ablate(&args, &mut |_| interrupt::check())?;
    eprintln!("done: {}", args.out.join("ablation.md").display());
    Ok(())
}

/// All runs that are not done yet. `on_step` is told the steps taken; its error stops the work in good order.
fn ablate(args: &Args, on_step: &mut dyn FnMut(u64) -> messymash::Result<()>) -> Result<()> {
    let recipes = recipes(args)?;
    let options = DatasetOptions {
        allow_missing_stems: recipes[0].config.data.allow_missing_stems,
        extra_noise: recipes[0].config.data.extra_noise.clone(),
        ..DatasetOptions::default()
    };
    let data = MessyMashup::open(&args.data, &options)?;
    let cache = Arc::new(StemCache::new(
        recipes[0].config.cache_mebibytes,
        recipes[0].config.remix.sample_rate,
    ));
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut results = Results::new();
    for &seed in &args.seeds {
        for (n, recipe) in recipes.iter().enumerate() {
            let run = args.out.join(format!("{}-seed{seed}", recipe.name));
            eprintln!("{}, seed {seed}", recipe.name);
            let mut config = recipe.config.clone();
            (config.seed, config.validation.seed) = (seed, seed);
            let begun = is_begun(&run, &config)?;
            if !JUDGED
                .iter()
                .all(|(name, _)| judged_file(&run, name, args).is_file())
            {
                train_on((&config, begun), &args.data, &run, on_step)?;
                judge(args, &run, (&data, &cache))?;
            }
            results.insert((n, seed), figures(args, &run)?);
            write_results(args, &recipes, &results)?;
        }
    }
    Ok(())
}

/// The recipes of the folder, by name.
fn recipes(args: &Args) -> Result<Vec<Recipe>> {
    let folder =
        fs::read_dir(&args.recipes).with_context(|| format!("cannot read {}", args.recipes.display()))?;
    let mut paths: Vec<PathBuf> = folder
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    if paths.is_empty() {
        bail!("{} holds no recipe", args.recipes.display());
    }
    let read = |path: &PathBuf| -> Result<Recipe> {
        let mut config = TrainConfig::load(path)?;
        for noise in &args.noise {
            config.data.extra_noise.push(std::path::absolute(noise)?);
        }
        let text = fs::read_to_string(path)?;
        let first = text.lines().next().unwrap_or_default();
        Ok(Recipe {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            title: first.trim_start_matches('#').trim().to_string(),
            config,
        })
    };
    paths.iter().map(read).collect()
}

/// Whether a run of this recipe has been begun; an error if it is one of another recipe.
fn is_begun(run: &Path, config: &TrainConfig) -> Result<bool> {
    // The last file that a run is begun with: without it, a run was killed before its first step.
    if !run.join("environment.json").is_file() {
        return Ok(false);
    }
    if TrainConfig::load(&run.join("config.toml"))? != *config {
        bail!(
            "{} was trained by another recipe, or with other noise: choose another --out, or remove that folder",
            run.display()
        );
    }
    Ok(true)
}

/// Trains, from the start or from where it was stopped; does nothing where the training is at its end.
fn train_on(
    (config, begun): (&TrainConfig, bool),
    data: &[PathBuf],
    run: &Path,
    on_step: &mut dyn FnMut(u64) -> messymash::Result<()>,
) -> Result<()> {
    let mut progress = Progress::new(0);
    let mut on_event = |event: TrainEvent| match event {
        TrainEvent::Step {
            step,
            steps,
            loss,
            seconds_left,
            ..
        } => {
            progress.set_total(steps);
            progress.set(
                step,
                &format!("steps, loss {loss:.3}, {} left", clock(seconds_left)),
            );
            on_step(step)
        }
        TrainEvent::Validated { epoch, score, .. } => {
            progress.say(&format!(
                "epoch {epoch}: macro F1 of its own kind of mashups {:.3}",
                score.value()
            ));
            Ok(())
        }
        TrainEvent::Surveyed { done, total } => {
            progress.set_total(total as u64);
            progress.set(done as u64, "files of the data looked at");
            Ok(())
        }
        TrainEvent::Note(_) => Ok(()),
    };
    let result = if begun {
        resume(run, &mut on_event)
    } else {
        for file in ["lock", "config.toml", "data.json", "split.json"] {
            let path = run.join(file);
            if path.is_file() {
                fs::remove_file(&path).with_context(|| format!("cannot begin {} anew", run.display()))?;
            }
        }
        train(config, data, run, &mut on_event)
    };
    progress.finish();
    match result {
        Err(Error::Interrupted) => bail!("stopped; the same command goes on from here"),
        result => Ok(result?),
    }
}

fn judged_file(run: &Path, name: &str, args: &Args) -> PathBuf {
    match name {
        "clean" => run.join("judged-clean.json"),
        name => run.join(format!("judged-{name}-{}.json", args.mashups)),
    }
}

/// Judges the end of a run in every way.
fn judge(args: &Args, run: &Path, (data, cache): (&MessyMashup, &Arc<StemCache>)) -> Result<()> {
    let split = Split::load(&run.join("split.json"))?;
    split.check(data)?;
    let classifier = Classifier::from_pretrained(run.join("last"))?;
    let options = ClassifyOptions::default();
    let remixer = |protocol: Protocol| -> Result<Remixer> {
        let (songs, folds) = protocol.material(&split, &split)?;
        let (settings, cache) = (RemixOptions::default(), Arc::clone(cache));
        Ok(Remixer::with_cache(data, songs, folds, settings, cache)?)
    };
    for (name, title) in JUDGED {
        let mut progress = Progress::new(args.mashups);
        let mut on_done = |done| {
            progress.set(done, title);
            interrupt::check()
        };
        let evaluation = match name {
            "clean" => evaluate_whole(
                &classifier,
                &options,
                &remixer(Protocol::UnseenSongs)?,
                &split.validation,
                &mut on_done,
            )?,
            name => {
                let protocol = [Protocol::UnseenSongs, Protocol::NewMashups]
                    .into_iter()
                    .find(|protocol| protocol.name() == name)
                    .context("no such protocol")?;
                let (remixer, seed) = (remixer(protocol)?, Protocol::SEED);
                evaluate_mashups(&classifier, &options, &remixer, seed, args.mashups, &mut on_done)?
            }
        };
        progress.finish();
        atomic::write(&judged_file(run, name, args), evaluation.to_json()?.as_bytes())?;
    }
    Ok(())
}

/// Macro F1 of a run that was judged.
fn figures(args: &Args, run: &Path) -> Result<Figures> {
    let mut figures = Vec::new();
    for (name, _) in JUDGED {
        let path = judged_file(run, name, args);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        figures.push(Evaluation::from_json(&text)?.measure()?.macro_f1);
    }
    figures.try_into().ok().context("three figures a run")
}

/// Writes the table and the picture of what is done so far.
fn write_results(args: &Args, recipes: &[Recipe], results: &Results) -> Result<()> {
    atomic::write(
        &args.out.join("ablation.md"),
        table(args, recipes, results)?.as_bytes(),
    )?;
    atomic::write(
        &args.out.join("ablation.svg"),
        picture(recipes, results)?.as_bytes(),
    )?;
    Ok(())
}

/// The values of one recipe and one way of judging, by seed.
fn values(results: &Results, recipe: usize, judged: usize) -> Vec<f64> {
    let of = results.iter().filter(|((n, _), _)| *n == recipe);
    of.map(|(_, figures)| figures[judged].value).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn table(args: &Args, recipes: &[Recipe], results: &Results) -> Result<String> {
    let mut text = format!(
        "# Ablation: macro F1\n\nMean over {} split(s), in parentheses the lowest and the highest. Judged by {} noisy mashups of each \
         kind and by the unheard songs as they are.\n\n",
        args.seeds.len(),
        args.mashups
    );
    let heads = JUDGED.map(|(_, title)| title).join(" | ");
    writeln!(text, "| recipe | | {heads} |\n|---|---|---|---|---|")?;
    for (n, recipe) in recipes.iter().enumerate() {
        write!(text, "| {} | {} |", recipe.name, recipe.title)?;
        for judged in 0..JUDGED.len() {
            let values = values(results, n, judged);
            if values.is_empty() {
                write!(text, " not run |")?;
                continue;
            }
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(0.0, f64::max);
            write!(text, " **{:.3}** ({low:.3} to {high:.3}) |", mean(&values))?;
        }
        writeln!(text)?;
    }
    writeln!(
        text,
        "\n## Every run\n\nIn brackets 95 % intervals, jackknife over songs.\n"
    )?;
    writeln!(text, "| recipe | seed | {heads} |\n|---|---:|---|---|---|")?;
    for ((n, seed), figures) in results {
        write!(text, "| {} | {seed} |", recipes[*n].name)?;
        for i in figures {
            write!(text, " {:.3} [{:.3}, {:.3}] |", i.value, i.low, i.high)?;
        }
        writeln!(text)?;
    }
    Ok(text)
}

/// Bars of means, a dot for each split.
fn picture(recipes: &[Recipe], results: &Results) -> Result<String> {
    const COLOURS: [&str; 4] = ["#c6d8e8", "#86b3d6", "#3f86bf", "#d9660a"];
    let (bar, gap, height, left, top) = (34, 44, 280, 48, 56);
    let group = recipes.len() * bar + gap;
    let width = left + JUDGED.len() * group + gap / 2;
    let y = |value: f64| top as f64 + height as f64 * (1.0 - value);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {}\" role=\"img\" aria-label=\"Macro F1 of each recipe\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        top + height + 40
    );
    for tenth in (0..=10).step_by(2) {
        let (value, at) = (f64::from(tenth) / 10.0, y(f64::from(tenth) / 10.0));
        writeln!(
            svg,
            "<path d=\"M{left} {at:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            width - gap / 2,
            left - 8,
            at + 4.0
        )?;
    }
    writeln!(
        svg,
        "<text x=\"{left}\" y=\"18\">macro F1: bars are means, dots single splits</text>"
    )?;
    let mut x = left;
    for (n, recipe) in recipes.iter().enumerate() {
        let name = recipe.name.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"28\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"38\">{name}</text>",
            COLOURS[n % COLOURS.len()],
            x + 17
        )?;
        x += 30 + 8 * recipe.name.chars().count();
    }
    for (judged, (_, title)) in JUDGED.iter().enumerate() {
        let group_left = left + gap / 2 + judged * group;
        for n in 0..recipes.len() {
            let values = values(results, n, judged);
            if values.is_empty() {
                continue;
            }
            let (x, bar_top, value) = (group_left + n * bar, y(mean(&values)), mean(&values));
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{bar_top:.1}\" width=\"{}\" height=\"{:.1}\" fill=\"{}\"/>",
                bar - 4,
                y(0.0) - bar_top,
                COLOURS[n % COLOURS.len()]
            )?;
            let middle = x + bar / 2 - 2;
            for value in &values {
                writeln!(
                    svg,
                    "<circle cx=\"{middle}\" cy=\"{:.1}\" r=\"3\" fill=\"#222\"/>",
                    y(*value)
                )?;
            }
            let highest = values.iter().copied().fold(value, f64::max);
            writeln!(
                svg,
                "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{value:.2}</text>",
                y(highest) - 7.0
            )?;
        }
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{title}</text>",
            group_left + (group - gap) / 2,
            top + height + 22
        )?;
    }
    svg += "</svg>\n";
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (tempfile::TempDir, Args) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        common::write_data(&at("data"));
        fs::create_dir(at("recipes")).unwrap();
        let recipe = common::recipe(1);
        fs::write(at("recipes/1-plain.toml"), format!("# As it is.\n{recipe}")).unwrap();
        fs::write(
            at("recipes/2-mixed.toml"),
            format!("# Mixed.\n{recipe}\n[mixup]\nprobability = 0.5\n"),
        )
        .unwrap();
        let args = Args {
            data: vec![at("data")],
            noise: Vec::new(),
            recipes: at("recipes"),
            seeds: vec![1, 2],
            mashups: 8,
            out: at("out"),
        };
        (dir, args)
    }

    #[test]
    fn an_interrupted_ablation_goes_on_and_ends_as_an_uninterrupted_one() {
        let (dir, mut args) = world();
        ablate(&args, &mut |_| Ok(())).unwrap();
        let whole = args.out.clone();
        args.out = dir.path().join("stopped");
        // Stopped in the third of four trainings, at its fifth step.
        let mut taken = 0;
        let error = ablate(&args, &mut |_| {
            taken += 1;
            if taken >= 2 * 8 + 5 {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("goes on from here"), "{error}");
        let half = fs::read_to_string(args.out.join("ablation.md")).unwrap();
        assert!(
            half.contains("| 2-mixed | 1 |") && !half.contains("| 1-plain | 2 |"),
            "{half}"
        );
        // As if killed while the next run was begun.
        fs::create_dir(args.out.join("2-mixed-seed2")).unwrap();
        fs::write(args.out.join("2-mixed-seed2/lock"), "").unwrap();
        let mut taken = Vec::new();
        ablate(&args, &mut |step| {
            taken.push(step);
            Ok(())
        })
        .unwrap();
        assert_eq!(
            taken,
            [vec![6, 7, 8], (1..=8).collect()].concat(),
            "nothing is done twice"
        );
        for file in [
            "ablation.md",
            "ablation.svg",
            "2-mixed-seed2/last/model.safetensors",
        ] {
            let [a, b] = [&whole, &args.out].map(|out| fs::read(out.join(file)).unwrap());
            assert!(a == b, "{file}");
        }
        let text = fs::read_to_string(args.out.join("ablation.md")).unwrap();
        assert!(text.contains("| 1-plain | As it is. | **"), "{text}");
        assert_eq!(
            text.matches(" [").count(),
            12,
            "three figures of four runs: {text}"
        );
        // All done: nothing is trained, and another recipe is not taken for this one.
        ablate(&args, &mut |_| panic!("a step was taken")).unwrap();
        let recipe = args.recipes.join("1-plain.toml");
        let other = fs::read_to_string(&recipe).unwrap().replace("3e-3", "2e-3");
        fs::write(&recipe, other).unwrap();
        let error = ablate(&args, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("another recipe"), "{error}");
    }
}
