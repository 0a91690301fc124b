//! A frozen set of mashups: a folder of wav files with one line of `recipes.jsonl` for each.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Remix, Remixer};
use crate::{Error, Result, Waveform, atomic};

/// Mashups made at once.
const AT_ONCE: usize = 16;

/// The file of recipes in a folder of mashups: JSON lines `{"file": "00000.wav", "remix": {...}}`.
pub const RECIPES_FILE: &str = "recipes.jsonl";

/// A line of [`RECIPES_FILE`].
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: String,
    remix: Remix,
}

/// Writes mashups 0 to `count` - 1 of `seed` (epoch 0) to `folder` as `00000.wav`, `00001.wav` ... (16-bit mono) and,
/// at last, their recipes to [`RECIPES_FILE`]: a folder without it is unfinished and may be written again.
/// `on_written` gets the number of files written so far; its error stops the work.
///
/// # Errors
/// [`Error::Config`] where the folder holds a finished set already; otherwise as [`Remixer::make`], or [`Error::Io`].
pub fn write_remixes(
    remixer: &Remixer,
    seed: u64,
    count: usize,
    folder: &Path,
    on_written: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let recipes = folder.join(RECIPES_FILE);
    if recipes.exists() {
        return Err(Error::Config(format!(
            "{} exists already; choose another folder",
            recipes.display()
        )));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut lines = Vec::new();
    let indices: Vec<usize> = (0..count).collect();
    for some in indices.chunks(AT_ONCE) {
        let made: Vec<(Remix, Waveform)> = some
            .par_iter()
            .map(|&index| remixer.make(seed, 0, index as u64))
            .collect::<Result<_>>()?;
        for (index, (remix, sound)) in some.iter().zip(made) {
            let file = format!("{index:05}.wav");
            sound.write_wav(folder.join(&file))?;
            serde_json::to_writer(&mut lines, &Line { file, remix })
                .map_err(|error| Error::Config(format!("recipe {index} cannot be written: {error}")))?;
            lines.push(b'\n');
            on_written(index + 1)?;
        }
    }
    atomic::write(&recipes, &lines)
}

/// Reads a folder that [`write_remixes`] wrote: the path of each wav file and its recipe, in order.
///
/// # Errors
/// [`Error::Io`] where there is no [`RECIPES_FILE`]; [`Error::Dataset`] where a line is not a recipe, or names a file
/// that is not there.
pub fn read_remixes(folder: &Path) -> Result<Vec<(PathBuf, Remix)>> {
    let recipes = folder.join(RECIPES_FILE);
    let text = fs::read_to_string(&recipes).map_err(Error::io(&recipes))?;
    let wrong = |number: usize, what: String| Error::Dataset {
        path: recipes.clone(),
        message: format!("line {}: {what}", number + 1),
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            let line: Line = serde_json::from_str(line).map_err(|error| wrong(number, error.to_string()))?;
            // Only names, no paths: a set of recipes from elsewhere must not point out of its folder.
            let plain = Path::new(&line.file)
                .file_name()
                .is_some_and(|name| name == line.file.as_str());
            let path = folder.join(&line.file);
            if !plain || !path.is_file() {
                return Err(wrong(
                    number,
                    format!("there is no file {:?} beside it", line.file),
                ));
            }
            Ok((path, line.remix))
        })
        .collect()
}
