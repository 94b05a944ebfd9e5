//! How well a base learns an identity from ten pictures.
//!
//! Every character of a folder that `fewshot.mjs` of the recipe wrote is taught by stage 1 and asked
//! for expressions that it was never shown with. A drawing is taken for the rendered picture nearest to
//! it (mean squared difference of pixels) among all identities with all expressions asked of this one,
//! each on the background that was asked for, so that the background gives no hint.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use image::{RgbImage, imageops::FilterType};
use serde::{Deserialize, Serialize};
use troupe_model::{
    image_ops::load_picture,
    runtime::{DrawRequest, FlowSampling, LoadOptions, Model, Precision},
};

use super::{
    connector::Score,
    data::{io, read_lines},
    following::save_sheet,
};
use crate::{
    error::{TrainError, TrainResult},
    events::{Outcome, Watcher},
    recipe::SftRecipe,
    sft::{self, ADAPTER, SftJob},
};

/// Files and folders of the data.
const ASKED_FILE: &str = "asked.jsonl";
const CHARACTERS: &str = "characters";
const TRUTH: &str = "truth";
/// What was measured of each identity, a line each, in the run's folder.
const RESULTS_FILE: &str = "identities.jsonl";
/// Sheet of an identity in the run's folder.
const SHEET_FILE: &str = "sheet.png";

/// A measurement; what its folder holds already is not done again.
#[derive(Debug, Clone)]
pub struct FewShotJob {
    /// The base model's folder.
    pub model_dir: PathBuf,
    /// Folder that `fewshot.mjs` wrote.
    pub data_dir: PathBuf,
    /// Adapters, sheets and results go there.
    pub run_dir: PathBuf,
    /// Seed of teaching and drawing.
    pub seed: u64,
    /// How characters are taught.
    pub recipe: SftRecipe,
    /// Identities, at most.
    pub identities: usize,
    /// Drawings of each caption.
    pub draws: usize,
}

/// A line of [`ASKED_FILE`].
#[derive(Debug, Clone, Deserialize)]
struct Asked {
    /// Id of the character.
    character: String,
    /// What is asked for.
    caption: String,
    /// Number of the expression.
    expression: usize,
    /// The background.
    ground: String,
}

/// What became of one identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityResult {
    /// Id of the character.
    pub character: String,
    /// Drawings that show the identity, whatever its expression.
    pub identity: Score,
    /// Drawings that show the expression, whoever makes it.
    pub expression: Score,
    /// Mean distance to what was asked for: the root of the mean squared difference, of 255.
    pub distance: f64,
    /// Minutes of teaching; those of the last part when it was interrupted.
    pub minutes: f64,
}

impl std::fmt::Display for IdentityResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { character, identity, expression, distance, minutes } = self;
        write!(
            f,
            "{character}: right identity {identity}, right expression {expression}, distance \
             {distance:.1}; taught in {minutes:.1} min"
        )
    }
}

/// What became of all identities.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FewShotMeasure {
    /// Identities.
    pub num_identities: usize,
    /// Drawings that show the identity.
    pub identity: Score,
    /// Drawings that show the expression.
    pub expression: Score,
    /// Mean distance to what was asked for.
    pub distance: f64,
    /// Longest teaching in minutes.
    pub longest_minutes: f64,
}

impl FewShotMeasure {
    fn of(results: &[IdentityResult]) -> Self {
        let mut sum = Self { num_identities: results.len(), ..Self::default() };
        for result in results {
            sum.identity.join(result.identity);
            sum.expression.join(result.expression);
            sum.distance += result.distance / results.len() as f64;
            sum.longest_minutes = sum.longest_minutes.max(result.minutes);
        }
        sum
    }
}

impl std::fmt::Display for FewShotMeasure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} identities: right identity {}, right expression {}, distance {:.1} of 255; \
             longest teaching {:.1} min",
            self.num_identities,
            self.identity,
            self.expression,
            self.distance,
            self.longest_minutes
        )
    }
}

/// Teaches and measures; `on_identity` hears of each identity that is done. None when paused.
///
/// # Errors
/// When base, data or run folder are unusable.
pub fn measure(
    job: &FewShotJob,
    watch: Watcher,
    on_identity: &mut dyn FnMut(&IdentityResult),
) -> TrainResult<Option<FewShotMeasure>> {
    let asked: Vec<Asked> = read_lines(&job.data_dir.join(ASKED_FILE), "the list of captions")?;
    let everyone: BTreeSet<&str> = asked.iter().map(|item| item.character.as_str()).collect();
    fs::create_dir_all(&job.run_dir).map_err(io(&job.run_dir))?;
    let path = job.run_dir.join(RESULTS_FILE);
    let mut results: Vec<IdentityResult> =
        if path.exists() { read_lines(&path, "the list of results")? } else { Vec::new() };
    for character in everyone.iter().take(job.identities) {
        if results.iter().any(|result| result.character == *character) {
            continue;
        }
        let started = Instant::now();
        let run_dir = job.run_dir.join(character);
        if !run_dir.join(ADAPTER).exists() {
            let lesson = SftJob {
                model_dir: job.model_dir.clone(),
                character_dir: job.data_dir.join(CHARACTERS).join(character),
                run_dir: run_dir.clone(),
                seed: job.seed,
                recipe: job.recipe.clone(),
            };
            if sft::run(&lesson, watch)? == Outcome::Paused {
                return Ok(None);
            }
        }
        let minutes = started.elapsed().as_secs_f64() / 60.;
        let mine: Vec<&Asked> = asked.iter().filter(|item| item.character == *character).collect();
        let result = look(job, &run_dir, &everyone, &mine, minutes)?;
        append(&path, &result)?;
        on_identity(&result);
        results.push(result);
    }
    Ok(Some(FewShotMeasure::of(&results)))
}

fn append(path: &Path, result: &IdentityResult) -> TrainResult<()> {
    let line = serde_json::to_string(result).map_err(|e| TrainError::Malformed {
        what: "a result",
        reason: e.to_string(),
        path: path.to_path_buf(),
    })?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).map_err(io(path))?;
    writeln!(file, "{line}").map_err(io(path))
}

/// Draws what is asked of one identity and says what the drawings are nearest to.
fn look(
    job: &FewShotJob,
    run_dir: &Path,
    everyone: &BTreeSet<&str>,
    asked: &[&Asked],
    minutes: f64,
) -> TrainResult<IdentityResult> {
    let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
    let mut model = Model::load(&job.model_dir, &options)?;
    model.attach(&run_dir.join(ADAPTER))?;
    let mut result = IdentityResult {
        character: asked.first().map(|item| item.character.clone()).unwrap_or_default(),
        identity: Score::default(),
        expression: Score::default(),
        distance: 0.,
        minutes,
    };
    let expressions: BTreeSet<usize> = asked.iter().map(|item| item.expression).collect();
    let (mut drawn, mut truth) = (Vec::new(), Vec::new());
    for item in asked {
        let requests: Vec<DrawRequest> = (0..job.draws as u64)
            .map(|draw| {
                let defaults = &model.config().generation;
                let flow = FlowSampling::from_defaults(defaults, job.seed + draw);
                DrawRequest::new(item.caption.clone(), flow)
            })
            .collect();
        let drawings = model.draw_many(&requests, &mut |_, _| ControlFlow::Continue(()))?;
        let mut candidates = Vec::new();
        for &character in everyone {
            for &expression in &expressions {
                let file = format!("{character}-{expression}.png");
                let file = job.data_dir.join(TRUTH).join(&item.ground).join(file);
                candidates.push((character, expression, load_picture(&file)?));
            }
        }
        for drawing in drawings {
            let distances: Vec<f64> =
                candidates.iter().map(|(.., picture)| distance(&drawing.image, picture)).collect();
            let Some((character, expression, _)) = smallest(&distances).map(|at| &candidates[at])
            else {
                continue;
            };
            result.identity.add(*character == item.character);
            result.expression.add(*expression == item.expression);
            let is_asked = |(who, what, _): &(&str, usize, RgbImage)| {
                *who == item.character && *what == item.expression
            };
            if let Some(index) = candidates.iter().position(is_asked) {
                result.distance += distances[index] / (asked.len() * job.draws) as f64;
                truth.push(candidates[index].2.clone());
            }
            drawn.push(drawing.image);
        }
    }
    save_sheet(&run_dir.join(SHEET_FILE), &drawn, &truth, drawn.len().max(1))?;
    Ok(result)
}

/// Place of the smallest distance.
fn smallest(distances: &[f64]) -> Option<usize> {
    (0..distances.len()).min_by(|a, b| distances[*a].total_cmp(&distances[*b]))
}

/// Root of the mean squared difference; `b` is brought to the size of `a`.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    let resized;
    let b = if a.dimensions() == b.dimensions() {
        b
    } else {
        resized = image::imageops::resize(b, a.width(), a.height(), FilterType::Triangle);
        &resized
    };
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    });
    (squares.sum::<f64>() / a.as_raw().len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_the_root_of_the_mean_square() {
        let plain = |value| RgbImage::from_pixel(4, 4, image::Rgb([value; 3]));
        assert!((distance(&plain(10), &plain(13)) - 3.).abs() < 1e-9);
        let mut half = plain(0);
        (0..8).for_each(|i| half.put_pixel(i % 4, i / 4, image::Rgb([8; 3])));
        assert!((distance(&half, &plain(0)) - 32f64.sqrt()).abs() < 1e-9);
        let large = RgbImage::from_pixel(9, 9, image::Rgb([13; 3]));
        assert!((distance(&plain(10), &large) - 3.).abs() < 1e-9);
    }

    #[test]
    fn the_nearest_is_the_smallest_distance() {
        assert_eq!(smallest(&[3., 1., f64::NAN, 2.]), Some(1));
        assert_eq!(smallest(&[]), None);
    }

    #[test]
    fn scores_of_identities_are_joined() {
        let result = |right, minutes| IdentityResult {
            character: "a".into(),
            identity: Score { right, asked: 5 },
            expression: Score { right: 1, asked: 5 },
            distance: 20. * minutes,
            minutes,
        };
        let sum = FewShotMeasure::of(&[result(5, 2.), result(4, 1.)]);
        assert_eq!(sum.identity, Score { right: 9, asked: 10 });
        assert_eq!(sum.expression, Score { right: 2, asked: 10 });
        assert_eq!((sum.longest_minutes, sum.distance), (2., 30.));
    }
}
