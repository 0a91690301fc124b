//! The page of a training run: how it went, and what its best model answered in the validation.

use super::plots::{self, Colour, From};
use super::{escape, html, line, mistakes};
use crate::Result;
use crate::run::{RunRecord, StepRecord};
use crate::train::{TeacherKind, validation_remixer};

/// A run as one HTML page that needs nothing else: learning curves, what the best model answered in the validation, recipe
/// and environment.
///
/// It needs no model to be computed. The worst mistakes are made again from the run's data to be shown; where that is not there
/// any more, the page says so.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if `validation.json` contradicts itself.
pub fn run_html(run: &RunRecord) -> Result<String> {
    let title = format!("Training run: {}", run.name());
    let mut body = format!("<h1>{}</h1>\n", escape(&title));
    body += &standing(run);
    body += &learning(run);
    match &run.best {
        None if learns_values(run) => {
            body += "<p>The model learns what a teacher heard; it tells no genres.</p>\n";
        }
        None => body += "<p>There was no validation yet, so there is nothing to say of the model.</p>\n",
        Some(answers) => {
            let measures = answers.measure()?;
            line(
                &mut body,
                format_args!(
                    "<h2 class=\"part\">The best model</h2>\n<p>What <code>best/</code> answered: {}, {} songs.</p>",
                    escape(&answers.title),
                    measures.songs
                ),
            );
            let sound = run.extractor().and_then(|extractor| {
                let remixer = validation_remixer(&run.config, &run.data, &run.split)?;
                Ok((extractor, remixer))
            });
            let worst = match &sound {
                Ok((extractor, remixer)) => mistakes::mistakes(answers, extractor, Some(remixer)),
                Err(error) => mistakes::unseen(answers, &error.to_string()),
            };
            body += &html::evaluation(answers, &measures, &worst);
        }
    }
    body += &circumstances(run)?;
    Ok(html::page(&title, &body))
}

/// How far the run is, in numbers.
fn standing(run: &RunRecord) -> String {
    let (step, steps) = (run.steps.last().map_or(0, |last| last.step), run.total_steps());
    let state = if step < steps {
        "It has not ended yet, or was stopped; <code>messymash train --resume</code> goes on with it."
    } else {
        "It has ended."
    };
    let best = run.validations.iter().reduce(|best, other| {
        if other.score.value() > best.score.value() {
            other
        } else {
            best
        }
    });
    let mut figures = Vec::new();
    if let Some(best) = best {
        let note = format!("best, after epoch {}", best.epoch);
        let value = format!("{:.3}", best.score.value());
        figures.push((value, score_name(run), note));
    }
    let epochs = format!("{} epochs", run.config.epochs);
    figures.push((step.to_string(), "steps", format!("of {steps}, {epochs}")));
    let mashups = step * run.config.batch_size as u64;
    let batches = format!("in batches of {}", run.config.batch_size);
    figures.push((mashups.to_string(), "mashups heard", batches));
    if let Some(last) = run.validations.last().filter(|last| last.seconds > 0.0) {
        let speed = (last.step * run.config.batch_size as u64) as f64 / last.seconds;
        let note = format!("{speed:.1} mashups a second");
        figures.push((duration(last.seconds), "training", note));
    }
    format!("<p>{state}</p>\n{}", html::figures(&figures))
}

/// What validations are judged by.
fn score_name(run: &RunRecord) -> &'static str {
    if learns_values(run) {
        "validation, variance explained"
    } else {
        "validation macro F1"
    }
}

/// What the loss is measured in.
fn loss_unit(run: &RunRecord) -> &'static str {
    if learns_values(run) {
        "squared error"
    } else {
        "nats"
    }
}

/// Whether the outputs are numbers of a teacher, and no genres.
fn learns_values(run: &RunRecord) -> bool {
    let teacher = run.config.teacher.as_ref();
    teacher.is_some_and(|teacher| teacher.kind == TeacherKind::Values)
}

/// The curves.
fn learning(run: &RunRecord) -> String {
    let steps = |of: fn(&StepRecord) -> f64| -> Vec<(f64, f64)> {
        run.steps
            .iter()
            .map(|step| (step.step as f64, of(step)))
            .collect()
    };
    let validations = |of: &dyn Fn(&crate::run::ValidationRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        run.validations
            .iter()
            .filter_map(|validation| Some((validation.step as f64, of(validation)?)))
            .collect()
    };
    let losses = [
        (steps(|step| step.loss), Colour::First),
        (validations(&|validation| Some(validation.loss)), Colour::Second),
    ];
    let both = [("training", Colour::First), ("validation", Colour::Second)];
    let one = |points| [(points, Colour::First)];
    let plots = [
        html::figure(
            "Loss",
            &both,
            &plots::curves("Loss by step", (loss_unit(run), From::Lowest), &losses),
        ),
        html::figure(
            score_name(run),
            &[],
            &plots::curves(
                &format!("{} by step", score_name(run)),
                ("", From::Zero),
                &[(
                    validations(&|validation| Some(validation.score.value())),
                    Colour::Second,
                )],
            ),
        ),
        html::figure(
            "Learning rate",
            &[],
            &plots::curves(
                "Learning rate by step",
                ("learning rate", From::Zero),
                &one(steps(|step| step.learning_rate)),
            ),
        ),
        html::figure(
            "Gradient norm, before clipping",
            &[],
            &plots::curves(
                "Gradient norm by step",
                ("norm", From::Zero),
                &one(steps(|step| step.gradient_norm)),
            ),
        ),
    ];
    if run.steps.is_empty() {
        return "<p>No step was taken yet.</p>\n".into();
    }
    let mut text = String::from("<h2>Learning</h2>\n<div class=\"plots\">\n");
    plots
        .iter()
        .filter(|plot| plot.contains("<svg"))
        .for_each(|plot| text += plot);
    text += "</div>\n<p class=\"note\">Where a point stands for several steps it is their mean, and the shade is their range. The \
             training loss is that of smoothed labels, masks and dropped patches, if the recipe asks for them, so it may be the \
             higher one.</p>\n";
    let last = run.validations.last().filter(|last| !last.f1.is_empty());
    if let Some(last) = last {
        text += "<h3>Validation F1 by genre</h3>\n<div class=\"many\">\n";
        for (genre, f1) in &last.f1 {
            let points = validations(&|validation| validation.f1.get(genre).copied());
            line(
                &mut text,
                format_args!(
                    "<figure>\n<figcaption><span>{}</span><b>{f1:.2}</b></figcaption>\n{}</figure>",
                    escape(genre),
                    plots::small_curve(&points)
                ),
            );
        }
        text += "</div>\n<p class=\"note\">From the first validation to the last, within 0 and 1; the number is the last.</p>\n";
    }
    text
}

/// Recipe, environment and data.
fn circumstances(run: &RunRecord) -> Result<String> {
    let mut text = String::from("<h2>Environment</h2>\n<div class=\"scroll\"><table>\n<tbody>\n");
    let plain = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), |text| text.to_string())
    };
    let mut rows: Vec<(String, String)> = run
        .environment
        .iter()
        .map(|(key, value)| (key.clone(), plain(value)))
        .collect();
    for root in &run.data {
        rows.push(("data".into(), root.display().to_string()));
    }
    for (name, songs, folds) in [
        ("training", &run.split.train, &run.split.train_folds),
        ("validation", &run.split.validation, &run.split.validation_folds),
    ] {
        let folds: Vec<String> = folds.iter().map(u32::to_string).collect();
        let told = format!("{} songs, noise of the folds {}", songs.len(), folds.join(", "));
        rows.push((name.into(), told));
    }
    for (key, value) in rows {
        line(
            &mut text,
            format_args!(
                "<tr><th>{}</th><td class=\"left\">{}</td></tr>",
                escape(&key),
                escape(&value)
            ),
        );
    }
    text += "</tbody></table></div>\n<h2>Recipe</h2>\n<pre>";
    for recipe in run.config.to_toml()?.lines() {
        line(&mut text, format_args!("{}", escape(recipe)));
    }
    text += "</pre>\n";
    Ok(text)
}

/// `1:02:03` or `2:03`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
