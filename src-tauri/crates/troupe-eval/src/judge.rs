//! Scores by a language model behind an OpenAI-compatible endpoint that the user names.
//!
//! Off by default: nothing here runs, and nothing leaves the machine, unless an address is given.
//! The scale of 1 to 7 and one dimension a call follow Character-LLM (arXiv:2310.10158); the prompt
//! is this project's own and stands in every report that it made.

use troupe_character::{Character, QuestionKind};

use crate::error::EvalResult;

/// What the judge is told, with `{…}` filled in.
pub const JUDGE_PROMPT: &str = "You grade one answer of an actor who plays a character.\n\nThe character:\n{profile}\n\nSomeone said to the character: {user}\n\nThe actor answered: {reply}\n\nGrade only this: {dimension}\n\nFirst name, in two or three sentences, what in the answer fits or contradicts the description above. Then write a last line of the form `Score: N`, where N is a whole number from 1 (nothing fits) to 7 (could not be better).";
/// What the memorisation grade is about.
pub const MEMORIZATION: &str = "does the answer remember what the description says about the character's life, people, places and things, without inventing facts that contradict it?";
/// What the personality grade is about.
pub const PERSONALITY: &str =
    "does the answer think, feel and speak the way the description says this character does?";

/// Least distance between the scores of a real reply and a stranger's for a judge to be of use.
pub const MIN_ANCHOR_GAP: f64 = 1.5;

/// A named judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judge {
    /// Address up to and including `/v1`.
    pub url: String,
    /// Name of the model.
    pub model: String,
    /// Bearer token, if the endpoint wants one.
    pub key: Option<String>,
}

/// A score with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// 1 to 7; the mean of two calls.
    pub score: f64,
    /// What the judge said in the first call.
    pub reasoning: String,
}

impl Judge {
    /// What a report calls the judge.
    pub fn name(&self) -> String {
        format!("{} at {}", self.model, self.url)
    }

    /// Scores a reply: two calls averaged; `None` when an answer held no score twice in a row.
    ///
    /// # Errors
    /// When the endpoint cannot be reached or refuses.
    pub fn score(
        &self,
        character: &Character,
        kind: QuestionKind,
        user: &str,
        reply: &str,
    ) -> EvalResult<Option<Verdict>> {
        let prompt = filled(character, kind, user, reply);
        let mut scores = Vec::new();
        let mut reasoning = String::new();
        for _ in 0..2 {
            let Some((score, said)) = self.readable(&prompt)? else { return Ok(None) };
            scores.push(score);
            if reasoning.is_empty() {
                reasoning = said;
            }
        }
        Ok(Some(Verdict { score: crate::stats::mean(&scores), reasoning }))
    }

    /// Asks, and once more if the answer holds no score.
    fn readable(&self, prompt: &str) -> EvalResult<Option<(f64, String)>> {
        for _ in 0..2 {
            let said = self.ask(prompt)?;
            if let Some(score) = last_score(&said) {
                return Ok(Some((score, said)));
            }
        }
        Ok(None)
    }

    #[cfg(feature = "judge")]
    fn ask(&self, prompt: &str) -> EvalResult<String> {
        use crate::error::EvalError;
        let failed = |reason: String| EvalError::Judge { reason };
        let body = serde_json::json!({
            "model": self.model, "temperature": 0, "max_tokens": 400,
            "messages": [{"role": "user", "content": prompt}],
        });
        let url = format!("{}/chat/completions", self.url.trim_end_matches('/'));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(std::time::Duration::from_secs(300)))
            .build()
            .into();
        let mut request = agent.post(&url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", &format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).map_err(|e| failed(e.to_string()))?;
        let text = response.body_mut().read_to_string().map_err(|e| failed(e.to_string()))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
        value["choices"][0]["message"]["content"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| failed("its answer has no choices[0].message.content".into()))
    }

    #[cfg(not(feature = "judge"))]
    fn ask(&self, _prompt: &str) -> EvalResult<String> {
        Err(crate::error::EvalError::Judge { reason: "this build has no judge".into() })
    }
}

fn filled(character: &Character, kind: QuestionKind, user: &str, reply: &str) -> String {
    let description = character.description();
    let (dimension, profile) = match kind {
        QuestionKind::Personality => (PERSONALITY, character.personality.as_deref()),
        _ => (MEMORIZATION, character.profile.as_deref()),
    };
    // Filled in one pass: what a text contains is never taken for a placeholder.
    let mut prompt = String::new();
    let mut rest = JUDGE_PROMPT;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        prompt.push_str(before);
        prompt.push_str(match name {
            "profile" => profile.unwrap_or(&description),
            "user" => user,
            "reply" => reply,
            _ => dimension,
        });
        rest = after;
    }
    prompt.push_str(rest);
    prompt
}

/// The last number from 1 to 7 in a text.
fn last_score(text: &str) -> Option<f64> {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let numbers = numbers.filter_map(|part| part.trim_matches('.').parse::<f64>().ok());
    numbers.filter(|score| (1. ..=7.).contains(score)).fold(None, |_, score| Some(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts() {
        assert_eq!(last_score("Two of 7 facts fit.\nScore: 5."), Some(5.));
        assert_eq!(last_score("Score: 6.5"), Some(6.5));
        assert_eq!(last_score("I would say 9"), None);
        assert_eq!(last_score("no idea"), None);
    }

    #[test]
    fn texts_are_never_taken_for_placeholders() {
        let mut pip =
            Character { name: "Pip".into(), persona: "An otter.".into(), ..Default::default() };
        pip.profile = Some("Keeps {reply} in a jar.".into());
        let prompt = filled(&pip, QuestionKind::Memorization, "{profile}?", "Yes.");
        assert!(
            prompt.contains("Keeps {reply} in a jar.") && prompt.contains("character: {profile}?")
        );
        assert!(prompt.contains(MEMORIZATION) && !prompt.contains(PERSONALITY));
    }

    #[cfg(feature = "judge")]
    #[test]
    fn an_endpoint_is_asked_twice_and_averaged() {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let mut bodies = Vec::new();
            for answer in ["Fits.\\nScore: 6", "Score: 7"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                let reply =
                    format!("{{\"choices\":[{{\"message\":{{\"content\":\"{answer}\"}}}}]}}");
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{reply}", reply.len()).unwrap();
            }
            bodies
        });
        let judge = Judge { url: format!("http://{address}/v1"), model: "m".into(), key: None };
        let pip = Character { persona: "An otter.".into(), ..Default::default() };
        let verdict = judge.score(&pip, QuestionKind::Personality, "Hi", "Ahoy").unwrap().unwrap();
        assert_eq!((verdict.score, verdict.reasoning.as_str()), (6.5, "Fits.\nScore: 6"));
        let bodies = served.join().unwrap();
        assert!(bodies[0].contains("\"temperature\":0") && bodies[0].contains("Ahoy"));
        let gone = Judge { url: "http://127.0.0.1:9/v1".into(), ..judge };
        assert!(gone.score(&pip, QuestionKind::Personality, "Hi", "Ahoy").is_err());
    }
}
