//! The frozen stage-1 model and networks of others as judges, and the rewards and measures of a run.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use candle_core::{Device, Tensor};
use image::RgbImage;
use troupe_character::{Character, PicturePrompt, Split};
use troupe_model::{
    blip::Blip,
    clip::Clip,
    context::Context,
    foreign,
    image_ops::load_picture,
    runtime::{Model, ModelFiles, ReplyRequest, TextSampling},
    scorer::{DualEncoder, Embedder, SCALE_TENSOR},
};
use troupe_nn::noise::{Noise, Stream};

use super::{
    policy::velocities,
    profile::GrpoProfile,
    rewards::{
        Alignment, Band, Group, Rewards, Scorer, VqaBy, VqaForm,
        alignment::{REFERENCE_SCALE, ScorerAlignment, gap},
        diversity::{Distance, DiversityScorer, FeatureDistance},
        features::{Colours, Encoder, Features, Shapes},
        perceptual::Lpips,
        similarity::{BandScorer, Measured, SimilarityBand, calibrate},
        vqa::{Answerer, VqaScorer},
    },
};
use crate::{
    error::{TrainError, TrainResult},
    events::Remark,
};

/// Times at which the flow gap is taken.
const GAP_TIMES: [f64; 2] = [0.85, 0.6];
/// Seed of the gap's noise, the same for every picture so that siblings compare.
const GAP_SEED: u64 = 20_607;
/// Most pictures of other characters that the band is calibrated against.
const OTHERS: usize = 24;
/// Longest answer to a question, in tokens.
const ANSWER_TOKENS: usize = 8;

/// The flow gap under the frozen stage-1 model; see [`super::rewards::alignment`].
pub struct FlowAlignment<'a> {
    /// The model, with stage 1's weights in place.
    pub model: &'a Model,
    /// Contexts by prompt text.
    pub contexts: &'a HashMap<String, Context>,
    /// A context that has read nothing.
    pub empty: &'a Context,
    /// Rows and columns of a picture's latents.
    pub grid: (usize, usize),
}

impl Scorer for FlowAlignment<'_> {
    fn name(&self) -> &'static str {
        "alignment"
    }

    fn score(&self, group: &Group) -> TrainResult<Vec<f64>> {
        let context = self.contexts.get(&group.prompt.text).ok_or_else(|| {
            TrainError::NoData(format!("the prompt “{}” was not read", group.prompt.text))
        })?;
        let latents: Vec<Tensor> = group
            .images
            .iter()
            .map(|image| Ok(self.model.picture_latents(image, GAP_SEED, 0)?.0))
            .collect::<TrainResult<_>>()?;
        let clean = Tensor::stack(&latents, 0)?; // (k, g, D)
        let (_, g, d) = clean.dims3()?;
        let mut sums = vec![(0., 0.); latents.len()];
        for (slot, t) in GAP_TIMES.into_iter().enumerate() {
            let noise = Noise::new(GAP_SEED, Stream::TrainingNoise, slot as u64)
                .normal_tensor((1, g, d), clean.device())?;
            let noised = clean.affine(1. - t, 0.)?.broadcast_add(&noise.affine(t, 0.)?)?;
            let target = clean.neg()?.broadcast_add(&noise)?;
            let loss = |context| -> TrainResult<Vec<f32>> {
                let got = velocities(self.model, context, self.grid, &noised, t)?.detach();
                Ok((got - &target)?.sqr()?.flatten_from(1)?.mean(1)?.to_vec1::<f32>()?)
            };
            for (sum, (with, without)) in
                sums.iter_mut().zip(loss(context)?.into_iter().zip(loss(self.empty)?))
            {
                sum.0 += f64::from(with);
                sum.1 += f64::from(without);
            }
        }
        Ok(sums.into_iter().map(|(with, without)| gap(with, without)).collect())
    }
}

/// The model answering questions about a picture.
pub struct SelfAnswerer<'a>(pub &'a Model);

impl Answerer for SelfAnswerer<'_> {
    fn yes_no(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<(f64, f64)>> {
        Ok(self.0.yes_no(image, questions)?)
    }

    fn answers(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<String>> {
        let ask = |question: &String| {
            let request = ReplyRequest {
                picture: Some(image.clone()),
                prompt: question.clone(),
                sampling: TextSampling::greedy(),
                max_tokens: ANSWER_TOKENS,
                ..ReplyRequest::default()
            };
            let reply = self.0.reply(&request, &mut |_| std::ops::ControlFlow::Continue(()))?;
            Ok(reply.text.trim_end_matches('.').to_owned())
        };
        questions.iter().map(ask).collect()
    }
}

/// BLIP answering questions about a picture.
pub struct BlipAnswerer(pub Rc<Blip>);

impl Answerer for BlipAnswerer {
    fn yes_no(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<(f64, f64)>> {
        let picture = self.0.look(image)?;
        Ok(questions.iter().map(|q| self.0.yes_no(&picture, q)).collect::<Result<_, _>>()?)
    }

    fn answers(&self, image: &RgbImage, questions: &[String]) -> TrainResult<Vec<String>> {
        let picture = self.0.look(image)?;
        Ok(questions.iter().map(|q| self.0.answer(&picture, q)).collect::<Result<_, _>>()?)
    }
}

/// Where judges are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The base's folder.
    pub model_dir: &'a Path,
    /// The person's own folder of judges.
    pub judges_dir: Option<&'a Path>,
}

impl<'a> Places<'a> {
    /// Every folder, the person's first.
    fn folders(self) -> impl Iterator<Item = &'a Path> {
        self.judges_dir.into_iter().chain([self.model_dir])
    }

    fn clip(self) -> Option<PathBuf> {
        foreign::find(foreign::CLIP, self.folders())
    }

    fn blip(self) -> Option<PathBuf> {
        foreign::find(foreign::BLIP, self.folders())
    }

    fn lpips(self) -> TrainResult<Option<Lpips>> {
        for folder in self.folders() {
            if let Some(lpips) = Lpips::find(folder)? {
                return Ok(Some(lpips));
            }
        }
        Ok(None)
    }

    fn has_lpips(self) -> bool {
        self.folders().any(|dir| dir.join(super::rewards::perceptual::LPIPS_FILE).exists())
    }
}

/// What rewards and measures are made of, found once a run.
pub struct Judges {
    alignment: Option<Rc<dyn Embedder>>,
    blip: Option<Rc<Blip>>,
    features: Rc<dyn Features>,
    references: Rc<[Vec<f64>]>,
    shapes: Vec<Vec<f64>>,
    distance: Rc<dyn Distance>,
    /// The band in force.
    pub band: SimilarityBand,
    /// What stands in for what is missing.
    pub notes: Vec<Remark>,
}

/// Whether a base folder holds a scorer.
///
/// # Errors
/// When the folder is unusable.
pub fn has_scorer(model_dir: &Path) -> TrainResult<bool> {
    Ok(ModelFiles::find(model_dir)?.source()?.shapes().contains_key(SCALE_TENSOR))
}

/// What judges each component.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    has_scorer: bool,
    /// CLIP's folder, where it judges alignment.
    clip: Option<PathBuf>,
    /// CLIP's folder, where it tells likeness for want of a scorer.
    likeness: Option<PathBuf>,
    /// BLIP's folder, where it answers.
    blip: Option<PathBuf>,
}

impl Choice {
    fn new(places: Places, profile: &GrpoProfile) -> TrainResult<Self> {
        let (has_scorer, reward) = (has_scorer(places.model_dir)?, &profile.reward);
        let missing = |what: &str, reason: String| {
            Err(TrainError::Recipe { what: format!("reward.{what}"), reason })
        };
        let absent = |folder: &str| {
            let own = places.judges_dir.unwrap_or(places.model_dir).join(folder);
            format!(
                "there is no folder {} with config.json, model.safetensors and tokenizer.json; put them \
                 there or set it to auto",
                own.display()
            )
        };
        let wanted = reward.alignment > 0.;
        let found = places.clip();
        let clip = match reward.alignment_by {
            Alignment::Clip if wanted && found.is_none() => {
                return missing("alignment_by", absent(foreign::CLIP));
            }
            Alignment::Scorer if wanted && !has_scorer => {
                let reason = "the base holds no scorer; set it to auto or flow";
                return missing("alignment_by", reason.into());
            }
            Alignment::Auto | Alignment::Clip if wanted => found.clone(),
            _ => None,
        };
        let blip = match reward.vqa_by {
            VqaBy::Stage1 => None,
            _ if reward.vqa <= 0. => None,
            VqaBy::Auto => places.blip(),
            VqaBy::Blip => match places.blip() {
                None => return missing("vqa_by", absent(foreign::BLIP)),
                found => found,
            },
        };
        let likeness = if has_scorer { None } else { found };
        Ok(Self { has_scorer, clip, likeness, blip })
    }
}

/// Who judges what, where that is not what the reference has or differs from the usual.
///
/// # Errors
/// When a folder is unusable, or the profile insists on a judge that is not there.
pub fn stand_ins(places: Places, profile: &GrpoProfile) -> TrainResult<Vec<Remark>> {
    Ok(remarks(&Choice::new(places, profile)?, places, profile))
}

fn remarks(choice: &Choice, places: Places, profile: &GrpoProfile) -> Vec<Remark> {
    let reward = &profile.reward;
    let mut notes = Vec::new();
    if choice.clip.is_some() {
        notes.push(Remark::new("alignment-by-clip", "Alignment is judged by CLIP."));
    } else if reward.alignment > 0.
        && (!choice.has_scorer || reward.alignment_by == Alignment::Flow)
    {
        notes.push(Remark::new(
            "alignment-by-flow",
            "Alignment is judged by the frozen stage-1 model's own flow (no scorer is used): how \
             much the text helps it to explain a picture.",
        ));
    }
    if choice.likeness.is_some() {
        notes.push(Remark::new(
            "likeness-by-clip",
            "Likeness is judged by CLIP: the base holds no scorer.",
        ));
    } else if !choice.has_scorer {
        notes.push(Remark::new(
            "likeness-by-colours",
            "Likeness is judged by colours and layout: the base holds no scorer.",
        ));
    }
    if reward.diversity > 0. && !places.has_lpips() {
        notes.push(Remark::new(
            "diversity-by-features",
            "Diversity is judged by the same features: there is no lpips.safetensors.",
        ));
    }
    if choice.blip.is_some() {
        notes.push(Remark::new("answers-by-blip", "Questions are answered by BLIP."));
    } else if reward.vqa > 0. {
        notes.push(Remark::new(
            "answers-by-stage1",
            "Questions are answered by the frozen stage-1 model itself.",
        ));
    }
    if reward.vqa > 0. && reward.vqa_form == VqaForm::Exact {
        notes.push(Remark::new(
            "answers-exact",
            "Answers count by exact match, as the reference counts them.",
        ));
    }
    notes
}

/// What the judges of others cost.
///
/// # Errors
/// As [`stand_ins`].
pub(super) fn costs(places: Places, profile: &GrpoProfile) -> TrainResult<foreign::Cost> {
    let choice = Choice::new(places, profile)?;
    let mut sum = foreign::Cost::default();
    for folder in choice.clip.as_ref().or(choice.likeness.as_ref()).into_iter().chain(&choice.blip)
    {
        let cost = foreign::cost(folder)?;
        sum.bytes += cost.bytes;
        sum.per_picture += cost.per_picture;
    }
    Ok(sum)
}

impl Judges {
    /// Loads judges and calibrates the band.
    ///
    /// # Errors
    /// When a file is unreadable or the character has no pictures.
    pub fn prepare(
        places: Places,
        character: &Character,
        profile: &GrpoProfile,
    ) -> TrainResult<Self> {
        let choice = Choice::new(places, profile)?;
        let notes = remarks(&choice, places, profile);
        let clip = choice.clip.as_ref().or(choice.likeness.as_ref());
        let clip: Option<Rc<dyn Embedder>> = match clip {
            Some(folder) => Some(Rc::new(Clip::load(folder)?)),
            None => None,
        };
        let scorer: Option<Rc<dyn Embedder>> = match choice.has_scorer {
            true => Some(Rc::new(DualEncoder::load(places.model_dir)?)),
            false => None,
        };
        let alignment = match profile.reward.alignment_by {
            Alignment::Flow => None,
            Alignment::Scorer => scorer.clone(),
            Alignment::Auto | Alignment::Clip => clip.clone().or_else(|| scorer.clone()),
        };
        let features: Rc<dyn Features> = match (scorer, clip) {
            (Some(network), _) => Rc::new(Encoder { network, label: "the base's scorer" }),
            (None, Some(network)) => Rc::new(Encoder { network, label: "CLIP" }),
            (None, None) => Rc::new(Colours),
        };
        let blip = choice.blip.map(|folder| Blip::load(&folder).map(Rc::new)).transpose()?;
        let own = own_pictures(character)?;
        let references: Rc<[Vec<f64>]> = features.vectors(&own)?.into();
        let reward = &profile.reward;
        let band = match reward.band {
            Band::Fixed => SimilarityBand {
                low: reward.sim_low,
                high: reward.sim_high,
                slope: reward.sim_slope,
            },
            Band::Calibrated => {
                let others = features.vectors(&others(character))?;
                calibrate(&references, &others, reward.sim_slope)
            }
        };
        let distance: Rc<dyn Distance> = match places.lpips()? {
            Some(lpips) => Rc::new(lpips),
            None => Rc::new(FeatureDistance(features.clone())),
        };
        let shapes = Shapes.vectors(&own)?;
        Ok(Self { alignment, blip, features, references, shapes, distance, band, notes })
    }

    /// Codes of the notes.
    pub(super) fn codes(&self) -> Vec<String> {
        self.notes.iter().map(|note| note.code.clone()).collect()
    }

    /// The rewards of a profile, and where similarities are kept.
    ///
    /// # Errors
    /// When the character has no pictures.
    pub fn rewards<'a>(
        &self,
        profile: &GrpoProfile,
        flow: FlowAlignment<'a>,
    ) -> TrainResult<(Rewards<'a>, Measured)> {
        let (config, model) = (&profile.reward, flow.model);
        let mut rewards = Rewards::default();
        match &self.alignment {
            Some(encoder) => {
                let encoder = encoder.clone();
                rewards.add(
                    config.alignment,
                    Box::new(ScorerAlignment { encoder, scale: REFERENCE_SCALE }),
                );
            }
            None => rewards.add(config.alignment, Box::new(flow)),
        }
        let answerer: Box<dyn Answerer + 'a> = match &self.blip {
            Some(blip) => Box::new(BlipAnswerer(blip.clone())),
            None => Box::new(SelfAnswerer(model)),
        };
        let vqa =
            VqaScorer { answerer, form: config.vqa_form, max_questions: config.max_questions };
        rewards.add(config.vqa, Box::new(vqa));
        let form = config.diversity_form;
        let diversity = DiversityScorer { distance: self.distance.clone(), form };
        rewards.add(config.diversity, Box::new(diversity));
        let band = BandScorer::new(self.features.clone(), self.references.clone(), self.band)?;
        let measured = band.measured();
        rewards.add(config.similarity, Box::new(band));
        Ok((rewards, measured))
    }

    /// Mean likeness to the character and mean distance of siblings, both by shapes, which nothing is
    /// trained against.
    ///
    /// # Errors
    /// Never in practice.
    pub fn shapes_of(&self, images: &[RgbImage]) -> TrainResult<(f64, f64)> {
        let vectors = Shapes.vectors(images)?;
        let near = |v: &Vec<f64>| super::rewards::similarity::nearest(v, self.shapes.iter());
        let likeness = vectors.iter().map(near).sum::<f64>() / vectors.len().max(1) as f64;
        let matrix = FeatureDistance(Rc::new(Shapes)).matrix(images)?;
        Ok((likeness, super::rewards::diversity::mean_pairwise(&matrix)))
    }
}

/// The pictures that the character learned from.
fn own_pictures(character: &Character) -> TrainResult<Vec<RgbImage>> {
    let learned = character.pictures.iter().filter(|p| p.split != Split::Test);
    Ok(learned.map(|p| load_picture(&character.picture_path(p))).collect::<Result<_, _>>()?)
}

/// Pictures of characters in the folders beside this one; none is an answer.
fn others(character: &Character) -> Vec<RgbImage> {
    let folders = character.dir.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let mut dirs: Vec<_> =
        folders.into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
    dirs.sort_unstable();
    let found = dirs
        .iter()
        .filter(|dir| **dir != character.dir)
        .filter_map(|dir| Character::load(dir).ok())
        .filter_map(|other| load_picture(&other.picture_path(other.pictures.first()?)).ok());
    found.take(OTHERS).collect()
}

/// Contexts of prompts by their text.
///
/// # Errors
/// When the network fails.
pub fn contexts_by_text(
    student: &super::policy::Student,
    prompts: &[PicturePrompt],
) -> TrainResult<HashMap<String, Context>> {
    let contexts = student.contexts(prompts.iter().map(|p| p.text.as_str()))?;
    Ok(prompts.iter().map(|p| p.text.clone()).zip(contexts).collect())
}

/// Mean flow loss on real pictures in front of their captions, with noise that is always the same.
///
/// # Errors
/// When the network fails.
pub fn real_loss(
    model: &Model,
    grid: (usize, usize),
    pictures: &[(Tensor, Context)],
) -> TrainResult<f64> {
    let mut sum = 0.;
    for (index, (clean, context)) in pictures.iter().enumerate() {
        for (slot, t) in GAP_TIMES.into_iter().enumerate() {
            let place = (index * GAP_TIMES.len() + slot) as u64;
            let noise = Noise::new(GAP_SEED, Stream::TrainingNoise, 1000 + place)
                .normal_tensor(clean.shape(), &Device::Cpu)?;
            let noised = (clean.affine(1. - t, 0.)? + noise.affine(t, 0.)?)?.unsqueeze(0)?;
            let got = velocities(model, context, grid, &noised, t)?.detach().squeeze(0)?;
            sum += f64::from((got - (noise - clean)?)?.sqr()?.mean_all()?.to_scalar::<f32>()?);
        }
    }
    Ok(sum / (pictures.len() * GAP_TIMES.len()).max(1) as f64)
}
