//! Values that PEFT gives to modules by patterns of their names.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use tokenizers::utils::SysRegex;

use crate::error::{ModelError, ModelResult};

/// `rank_pattern` and `alpha_pattern` of an adapter's description: a JSON object whose order counts.
///
/// A pattern is a regular expression of the end of a module's name, from a dot or from its beginning
/// on; the first one that matches gives the value (PEFT, `get_pattern_key`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patterns(Vec<(String, f64)>);

impl Patterns {
    /// Adds a pattern that wins over the present ones.
    pub fn put_first(&mut self, pattern: String, value: f64) {
        self.0.retain(|(present, _)| *present != pattern);
        self.0.insert(0, (pattern, value));
    }

    /// Readies the patterns for matching; `field` is their name in messages.
    pub(super) fn matcher(&self, field: &str) -> ModelResult<Matcher> {
        let entry = |(pattern, value): &(String, f64)| {
            let is_name = pattern.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
            let ending = if is_name {
                Ending::Name(pattern.clone())
            } else {
                let whole = SysRegex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"));
                Ending::Expression(whole.map_err(|error| {
                    ModelError::Adapter(format!("{field} `{pattern}` is no pattern: {error}"))
                })?)
            };
            Ok((ending, *value))
        };
        Ok(Matcher(self.0.iter().map(entry).collect::<ModelResult<_>>()?))
    }
}

/// Patterns, ready to be matched.
#[derive(Debug)]
pub(super) struct Matcher(Vec<(Ending, f64)>);

/// The end of a module's name.
#[derive(Debug)]
enum Ending {
    Name(String),
    Expression(SysRegex),
}

impl Matcher {
    /// The value of a module, if a pattern matches its name.
    pub(super) fn value(&self, module: &str) -> Option<f64> {
        let matches = |(ending, _): &&(Ending, f64)| match ending {
            Ending::Name(name) => module
                .strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            Ending::Expression(expression) => expression.find_iter(module).next().is_some(),
        };
        self.0.iter().find(matches).map(|(_, value)| *value)
    }
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(pattern, value)| (pattern, Number(*value))))
    }
}

/// A number that is written as an integer when it is one: PEFT reads ranks as such.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0. && self.0.abs() < 1e9 {
            to.serialize_i64(self.0 as i64)
        } else {
            to.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of patterns and numbers")
            }

            fn visit_unit<E>(self) -> Result<Patterns, E> {
                Ok(Patterns::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Patterns, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Patterns(entries))
            }
        }
        from.deserialize_any(InOrder)
    }
}

impl FromIterator<(String, f64)> for Patterns {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(text: &str) -> Matcher {
        serde_json::from_str::<Patterns>(text).unwrap().matcher("alpha_pattern").unwrap()
    }

    #[test]
    fn names_match_whole_parts_at_the_end() {
        let matcher = matcher(r#"{"q_proj": 1, "layers.1.mlp.up_proj": 2}"#);
        assert_eq!(matcher.value("model.layers.0.self_attn.q_proj"), Some(1.));
        assert_eq!(matcher.value("q_proj"), Some(1.));
        assert_eq!(matcher.value("model.layers.0.self_attn.xq_proj"), None);
        assert_eq!(matcher.value("model.layers.0.self_attn.q_proj_moe_gen"), None);
        assert_eq!(matcher.value("model.layers.1.mlp.up_proj"), Some(2.));
        assert_eq!(matcher.value("model.layers.11.mlp.up_proj"), None);
    }

    #[test]
    fn the_first_of_several_expressions_counts() {
        let matcher = matcher(r#"{"layers\\.[01]\\..*": 3, ".*_proj": 4, "v_proj": 5}"#);
        assert_eq!(matcher.value("model.layers.1.self_attn.v_proj"), Some(3.));
        assert_eq!(matcher.value("model.layers.2.self_attn.v_proj"), Some(4.));
        assert_eq!(matcher.value("lm_head"), None);
        let broken: Patterns = serde_json::from_str(r#"{"(": 1}"#).unwrap();
        let error = broken.matcher("alpha_pattern").unwrap_err().to_string();
        assert!(error.contains("alpha_pattern `(`"), "{error}");
    }

    #[test]
    fn order_and_integers_survive_writing() {
        let text = r#"{"z":8,"a":0.5}"#;
        let patterns: Patterns = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&patterns).unwrap(), text);
        assert_eq!(serde_json::from_str::<Patterns>("null").unwrap(), Patterns::default());
    }
}
