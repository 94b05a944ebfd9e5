//! What can go wrong with a model, in words a user can act on.

use std::path::PathBuf;

/// Result of loading and running a model.
pub type ModelResult<T> = Result<T, ModelError>;

/// Errors of loading and running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file is missing or unreadable.
    #[error("cannot read {what}: {source} ({path})")]
    Io {
        /// What the file is for.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// Where it was expected.
        path: PathBuf,
    },
    /// A file's content is not what it should be.
    #[error("{what} is not usable: {reason} ({path})")]
    Malformed {
        /// What the file is for.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// A configuration value is impossible.
    #[error("configuration field `{field}`: {reason}")]
    Config {
        /// Dotted name of the field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights do not match the configuration.
    #[error("the weights do not fit the configuration: {0}")]
    Weights(WeightMismatch),
    /// The tokenizer lacks a token that the model needs.
    #[error("the tokenizer has no token `{token}`, which the model needs as {role}")]
    MissingToken {
        /// The token's text.
        token: String,
        /// What it is needed for.
        role: &'static str,
    },
    /// A request is longer than the model can read.
    #[error("the prompt has {num_tokens} tokens, the model reads at most {limit}; shorten it")]
    PromptTooLong {
        /// Tokens in the request, with what is to be generated.
        num_tokens: usize,
        /// The model's limit.
        limit: usize,
    },
    /// An adapter does not fit the loaded base.
    #[error("the adapter does not fit this base model: {0}")]
    Adapter(String),
    /// A request that the model cannot serve.
    #[error("{0}")]
    Request(String),
    /// A computation failed.
    #[error("{part}: {source}")]
    Compute {
        /// The part of the model or the operation.
        part: String,
        /// The tensor library's reason.
        #[source]
        source: candle_core::Error,
    },
}

impl From<candle_core::Error> for ModelError {
    fn from(source: candle_core::Error) -> Self {
        Self::Compute { part: "computation".into(), source }
    }
}

/// Differences between a checkpoint and what the configuration asks for, by tensor name.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct WeightMismatch {
    /// Tensors that the configuration needs and no file holds.
    pub missing: Vec<String>,
    /// Tensors in the files that nothing asked for.
    pub unexpected: Vec<String>,
    /// Tensors of another shape, with both shapes.
    pub wrong_shape: Vec<String>,
    /// Tensors holding NaN or infinite values.
    pub not_finite: Vec<String>,
}

impl WeightMismatch {
    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.wrong_shape.is_empty()
            && self.not_finite.is_empty()
    }
}

/// How many names of a kind a message lists before it counts the rest.
const NAMES_SHOWN: usize = 5;

impl std::fmt::Display for WeightMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("wrong shape", &self.wrong_shape),
            ("not finite", &self.not_finite),
        ];
        let mut first = true;
        for (label, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            if !first {
                f.write_str("; ")?;
            }
            first = false;
            let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            write!(f, "{} {label}: {shown}", names.len())?;
            if names.len() > NAMES_SHOWN {
                write!(f, " and {} more", names.len() - NAMES_SHOWN)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_first_names_and_counts_the_rest() {
        let missing = (0..7).map(|i| format!("t{i}")).collect();
        let mismatch = WeightMismatch { missing, ..Default::default() };
        assert_eq!(mismatch.to_string(), "7 missing: t0, t1, t2, t3, t4 and 2 more");
    }
}
