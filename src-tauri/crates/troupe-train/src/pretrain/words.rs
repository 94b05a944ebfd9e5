//! Words for the connector: what its outputs say before a language model has answered anything.
//!
//! Learning a connector through a frozen language model alone is slow: its first outputs are noise
//! among words, and every picture costs a pass through all layers. So each attribute of the picture set
//! gets one vision token, whose target is the mean of the token embeddings of the statement that is true
//! of the picture, rare tokens counting more ("hair" and "blue" of "a person with blue hair"). The
//! tower learns to bring what it saw to that token. No language model runs, and what it is given
//! afterwards reads like words it knows.
//!
//! Source: weights of a text's tokens as in Arora et al., A Simple but Tough-to-Beat Baseline for
//! Sentence Embeddings (ICLR 2017, sec. 3), with the share of statements for the word's frequency.
//! Shapes: b = pictures, n = vision tokens, h = model width, v = values of an attribute.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{DType, Result, Tensor};
use troupe_model::scorer::DualEncoder;

use super::data::Asked;
use crate::error::{TrainError, TrainResult};

/// Share of statements at which a token counts half.
const HALF_WEIGHT_SHARE: f64 = 0.02;
/// What the token of an attribute says that is not certain.
const UNKNOWN: &str = "nothing";
/// Logit by which the true value leads at its exact target, on average over the others.
const LEAD: f64 = 8.;

/// One attribute's token.
struct Attribute {
    about: String,
    /// Statements in order, at last [`UNKNOWN`].
    values: Vec<String>,
    targets: Tensor, // (v, h)
    offsets: Tensor, // (1, v), half the squared length of each target
    /// Mean squared distance of two targets.
    spread: f64,
}

/// Targets of all attributes, the first for the first vision token. Without statements there are none.
pub(super) struct Words {
    attributes: Vec<Attribute>,
}

/// How often each token occurs, as the mean over attributes of the share of statements with it.
fn shares(texts: &BTreeMap<&str, BTreeMap<&str, Vec<u32>>>) -> HashMap<u32, f64> {
    let mut shares = HashMap::new();
    for statements in texts.values() {
        for ids in statements.values() {
            for id in ids.iter().collect::<BTreeSet<_>>() {
                let part = 1. / (statements.len() * texts.len()) as f64;
                *shares.entry(*id).or_default() += part;
            }
        }
    }
    shares
}

impl Words {
    /// Targets for everything that is stated of `asked`, in at most `places` vision tokens.
    pub(super) fn new(encoder: &DualEncoder, asked: &[Asked], places: usize) -> TrainResult<Self> {
        let mut texts: BTreeMap<&str, BTreeMap<&str, Vec<u32>>> = BTreeMap::new();
        for (about, statement) in asked.iter().flat_map(|asked| &asked.statements) {
            let of_attribute = texts.entry(about).or_default();
            if !of_attribute.contains_key(statement.as_str()) {
                of_attribute.insert(statement, encoder.tokens(statement)?);
            }
        }
        if texts.len() > places {
            return Err(TrainError::NoData(format!(
                "the statements have {} attributes for {places} vision tokens; leave some out of \
                 questions.jsonl",
                texts.len()
            )));
        }
        let shares = shares(&texts);
        let weight = |id: &u32| {
            let share = shares.get(id).copied().unwrap_or(0.);
            HALF_WEIGHT_SHARE / (HALF_WEIGHT_SHARE + share)
        };
        let target = |ids: &[u32]| -> Result<Tensor> {
            let weights: Vec<f32> = ids.iter().map(|id| weight(id) as f32).collect();
            let sum: f32 = weights.iter().sum();
            let words = encoder.word_vectors(ids)?; // (t, h)
            let weights = Tensor::from_vec(weights, (1, ids.len()), words.device())?;
            weights.matmul(&words)? / f64::from(sum)
        };
        let unknown = encoder.tokens(UNKNOWN)?;
        let attribute = |(about, statements): (&str, BTreeMap<&str, Vec<u32>>)| {
            let mut values: Vec<String> = statements.keys().map(|s| (*s).to_owned()).collect();
            values.push(UNKNOWN.to_owned());
            let all = statements.values().chain(std::iter::once(&unknown));
            let targets: Vec<Tensor> = all.map(|ids| target(ids)).collect::<Result<_>>()?;
            let targets = Tensor::cat(&targets, 0)?; // (v, h)
            let squares = targets.sqr()?.sum(1)?;
            let mean = targets.mean_keepdim(0)?;
            let variance = targets.broadcast_sub(&mean)?.sqr()?.sum(1)?.mean_all()?;
            Ok(Attribute {
                about: about.to_owned(),
                values,
                offsets: (squares * 0.5)?.unsqueeze(0)?,
                targets,
                spread: 2. * f64::from(variance.to_scalar::<f32>()?),
            })
        };
        Ok(Self { attributes: texts.into_iter().map(attribute).collect::<TrainResult<_>>()? })
    }

    /// Logits (b, v) of an attribute's values, from `tokens` (b, n, h).
    fn logits(&self, index: usize, tokens: &Tensor) -> Result<Tensor> {
        let Attribute { targets, offsets, spread, .. } = &self.attributes[index];
        let said = tokens.narrow(1, index, 1)?.squeeze(1)?.contiguous()?; // (b, h)
        let likeness = said.matmul(&targets.t()?)?.broadcast_sub(offsets)?;
        likeness * (2. * LEAD / spread)
    }

    /// Sum over attributes of the cross-entropy of the true value and of the squared distance from its
    /// target, both means over pictures; distances count in the spread of the attribute's targets.
    /// `tokens` are (b, n, h).
    pub(super) fn loss(&self, tokens: &Tensor, asked: &[&Asked]) -> Result<Tensor> {
        let mut sum = Tensor::zeros((), DType::F32, tokens.device())?;
        for (index, attribute) in self.attributes.iter().enumerate() {
            let truth: Vec<u32> =
                asked.iter().map(|asked| attribute.place_or_unknown(asked) as u32).collect();
            let truth = Tensor::from_vec(truth, asked.len(), tokens.device())?;
            let said = tokens.narrow(1, index, 1)?.squeeze(1)?;
            let away = (said - attribute.targets.index_select(&truth, 0)?)?.sqr()?.sum(1)?;
            let entropy = candle_nn::loss::cross_entropy(&self.logits(index, tokens)?, &truth)?;
            sum = ((sum + entropy)? + (away.mean_all()? / attribute.spread)?)?;
        }
        Ok(sum)
    }

    /// By attribute, for how many of the pictures with a statement about it the token is nearest to
    /// that, and how many those are. `tokens` are (b, n, h).
    pub(super) fn right(
        &self,
        tokens: &Tensor,
        asked: &[Asked],
    ) -> Result<BTreeMap<String, (usize, usize)>> {
        let count = |(index, attribute): (usize, &Attribute)| {
            let said = self.logits(index, tokens)?.argmax(1)?.to_vec1::<u32>()?;
            let (mut right, mut all) = (0, 0);
            for (asked, said) in asked.iter().zip(said) {
                all += usize::from(asked.statements.contains_key(&attribute.about));
                right += usize::from(attribute.place_of(asked) == Some(said as usize));
            }
            Ok((attribute.about.clone(), (right, all)))
        };
        self.attributes.iter().enumerate().map(count).collect()
    }
}

impl Attribute {
    /// Which of the values is stated of a picture.
    fn place_of(&self, asked: &Asked) -> Option<usize> {
        let stated = asked.statements.get(&self.about)?;
        self.values[..self.unknown()].binary_search(stated).ok()
    }

    /// Place of [`UNKNOWN`].
    fn unknown(&self) -> usize {
        self.values.len() - 1
    }

    fn place_or_unknown(&self, asked: &Asked) -> usize {
        self.place_of(asked).unwrap_or(self.unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(facts: &[(&str, &str)]) -> Asked {
        let stated = |(about, text): &(&str, &str)| ((*about).to_owned(), (*text).to_owned());
        Asked { statements: facts.iter().map(stated).collect(), ..Asked::default() }
    }

    fn scratch() -> (tempfile::TempDir, DualEncoder) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        troupe_testkit::write_tiny_model(dir.path());
        let source = troupe_model::runtime::ModelFiles::find(dir.path()).and_then(|f| f.source());
        let source = source.expect("a base").fresh(1, |name| name.starts_with("scorer."));
        let encoder = DualEncoder::from_weights(dir.path(), &std::sync::Arc::new(source));
        (dir, encoder.expect("a scorer"))
    }

    /// Tokens (b, n, h) that say exactly what is true.
    fn exact(words: &Words, asked: &[&Asked]) -> Result<Tensor> {
        let said = |asked: &&Asked| -> Result<Tensor> {
            let rows = words
                .attributes
                .iter()
                .map(|attribute| attribute.targets.narrow(0, attribute.place_or_unknown(asked), 1));
            Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
        };
        Tensor::stack(&asked.iter().map(said).collect::<Result<Vec<_>>>()?, 0)
    }

    #[test]
    fn the_true_words_cost_next_to_nothing() -> TrainResult<()> {
        let (_dir, encoder) = scratch();
        let all = [
            asked(&[("hair", "a person with red hair"), ("hat", "a person with a hat")]),
            asked(&[("hair", "a person with blue hair"), ("hat", "a person without a hat")]),
            asked(&[("hair", "a person with green hair")]),
        ];
        let words = Words::new(&encoder, &all, 2)?;
        let pictures: Vec<&Asked> = all.iter().collect();
        let tokens = exact(&words, &pictures)?;
        let turned: Vec<&Asked> = [1, 2, 0].map(|i| &all[i]).to_vec();
        let cost = |tokens| words.loss(tokens, &pictures)?.to_scalar::<f32>();
        let (right, wrong) = (cost(&tokens)?, cost(&exact(&words, &turned)?)?);
        assert!(right < 0.5 && wrong > 5., "{right} {wrong}");
        let counted = words.right(&tokens, &all)?;
        assert_eq!(counted["hair"], (3, 3));
        assert_eq!(counted["hat"], (2, 2), "where nothing is stated, nothing is counted");
        let counted = words.right(&exact(&words, &turned)?, &all)?;
        assert_eq!(counted["hair"], (0, 3));
        // A held-out value that no picture to learn from has is never right.
        let strange = [asked(&[("hair", "a person with grey hair")])];
        let nothing = exact(&words, &strange.iter().collect::<Vec<_>>())?;
        assert_eq!(words.right(&nothing, &strange)?["hair"], (0, 1));
        Ok(())
    }

    #[test]
    fn words_that_every_statement_has_count_little() {
        let texts = [("hair", [("red", vec![1, 2]), ("blue", vec![1, 3])].into())].into();
        let shares = shares(&texts);
        assert_eq!((shares[&1], shares[&2], shares[&3]), (1., 0.5, 0.5));
    }

    #[test]
    fn more_attributes_than_tokens_are_refused() {
        let (_dir, encoder) = scratch();
        let all = [asked(&[("hair", "red"), ("hat", "none")])];
        assert!(Words::new(&encoder, &all, 1).is_err());
        assert!(Words::new(&encoder, &[], 1).is_ok(), "pictures without statements have no words");
    }
}
