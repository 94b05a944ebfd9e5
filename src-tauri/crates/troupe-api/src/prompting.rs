//! What a chat turns into for the model, and what of it is left out.

use troupe_character::{
    Character,
    prompts::{self, HistoryTurn, RolePlay},
};
use troupe_model::{config::ModelConfig, runtime::TextSampling, tokens::TextTokenizer};
use troupe_store::{Message, Role, Sent};

use crate::{
    Studio,
    error::{ApiError, ApiResult},
    wire::{ChatSettings, PromptPart, PromptReport, SamplingPreset, SentPrompt},
};

/// Earlier turns that a prompt carries, beside pinned ones.
const MAX_HISTORY_TURNS: usize = 6;

/// What a model writes when it goes on with the prompt's form instead of the character's words.
const FORM: [&str; 4] = ["\nUser Input:", "\nuser:", "\nmachine:", "\nCharacter Description:"];

/// Tokens that a reply has at least: the end token is no answer.
const MIN_REPLY_TOKENS: usize = 1;

/// How tokens are chosen under a preset, and where a reply ends at the latest.
pub(crate) fn reply_sampling(preset: SamplingPreset, seed: u32) -> TextSampling {
    let stop = FORM.iter().map(|&text| text.to_owned()).collect();
    TextSampling { stop, min_tokens: MIN_REPLY_TOKENS, ..sampling(preset, seed) }
}

/// How tokens are chosen under a preset.
fn sampling(preset: SamplingPreset, seed: u32) -> TextSampling {
    let base = TextSampling { seed: u64::from(seed), ..TextSampling::default() };
    match preset {
        SamplingPreset::Careful => {
            TextSampling { temperature: 0.4, top_p: Some(0.9), repetition_penalty: 1.05, ..base }
        }
        SamplingPreset::Balanced => base,
        SamplingPreset::Lively => {
            TextSampling { temperature: 1., min_p: Some(0.05), repetition_penalty: 1.05, ..base }
        }
        SamplingPreset::Wild => {
            TextSampling { temperature: 1.3, min_p: Some(0.1), repetition_penalty: 1.1, ..base }
        }
    }
}

/// Everything that a reply is made from, before it becomes one text.
pub(crate) struct ReplyParts<'a> {
    description: String,
    about_user: String,
    opening: &'a str,
    history: Vec<HistoryTurn<'a>>,
    num_left_out: usize,
    message: &'a str,
    note: String,
    name: &'a str,
}

/// Who the person is, as a sentence behind the character's description; empty when nothing is known.
fn about_user(settings: &ChatSettings) -> String {
    let (name, persona) = (settings.user_name.trim(), settings.user_persona.trim());
    match (name.is_empty(), persona.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("\n\nThe user is called {name}."),
        (true, false) => format!("\n\nAbout the user: {persona}"),
        (false, false) => format!("\n\nAbout the user, who is called {name}: {persona}"),
    }
}

impl<'a> ReplyParts<'a> {
    /// Parts of the answer to the last message of `thread`, which the person wrote.
    ///
    /// The greeting is told as the opening, not as history. Of the rest, pinned messages and the
    /// most recent ones go along.
    pub(crate) fn new(
        character: &'a Character,
        settings: &ChatSettings,
        thread: &'a [Message],
    ) -> Self {
        let (message, before) = match thread.split_last() {
            Some((last, before)) if last.role == Role::User => (last.text.as_str(), before),
            _ => ("", thread),
        };
        let before = match before.split_first() {
            Some((first, rest)) if first.role == Role::Character => rest,
            _ => before,
        };
        let first_recent = before.len().saturating_sub(MAX_HISTORY_TURNS);
        let history: Vec<HistoryTurn> = before
            .iter()
            .enumerate()
            .filter(|(at, m)| *at >= first_recent || m.pinned_ms.is_some())
            .map(|(_, m)| HistoryTurn {
                role: if m.role == Role::User { "user" } else { "machine" },
                text: &m.text,
            })
            .collect();
        let note = settings.author_note.trim();
        Self {
            description: character.description(),
            about_user: about_user(settings),
            opening: &character.greeting,
            num_left_out: before.len() - history.len(),
            history,
            message,
            note: if note.is_empty() { String::new() } else { format!("\n\n[{note}]") },
            name: character.prompt_name(),
        }
    }

    /// The prompt.
    pub(crate) fn text(&self) -> String {
        prompts::role_play(&RolePlay {
            description: &format!("{}{}", self.description, self.about_user),
            opening: self.opening,
            history: &self.history,
            user: &format!("{}{}", self.message, self.note),
            name: self.name,
        })
    }

    fn history_text(&self) -> String {
        self.history.iter().map(|turn| format!("{}: {}\n", turn.role, turn.text)).collect()
    }
}

impl Studio {
    /// The base's tokenizer, without loading the base.
    pub(crate) fn tokenizer(&self) -> ApiResult<&TextTokenizer> {
        if let Some(known) = self.inner.tokenizer.get() {
            return Ok(known);
        }
        let read = troupe_model::runtime::load_tokenizer(self.model_dir())?;
        Ok(self.inner.tokenizer.get_or_init(|| read))
    }

    /// What would be sent if `draft` were said at the end of a chat.
    ///
    /// # Errors
    /// When chat or character do not exist, or the base has no usable tokenizer.
    pub fn preview_prompt(&self, chat_id: &str, draft: &str) -> ApiResult<PromptReport> {
        let (chat, mut thread) = {
            let store = self.store();
            (store.chat(chat_id)?, store.thread(chat_id)?)
        };
        let character = self.library().load(&chat.character_id)?;
        let settings = crate::chat::settings(&chat);
        let template = troupe_store::NewMessage::user(chat_id, None, draft);
        thread.push(crate::chat::unsaved(template));
        let parts = ReplyParts::new(&character, &settings, &thread);
        let prompt = parts.text();
        let count = |text: &str| Ok::<_, ApiError>(self.tokenizer()?.encode(text)?.len() as u32);
        let num_tokens = count(&prompt)?;
        let named = [
            ("character", parts.description.clone()),
            ("you", parts.about_user.clone()),
            ("opening", parts.opening.to_owned()),
            ("history", parts.history_text()),
            ("message", parts.message.to_owned()),
            ("note", parts.note.clone()),
        ];
        let mut counted = Vec::new();
        for (name, text) in named {
            counted.push(PromptPart { name: name.into(), num_tokens: count(&text)? });
        }
        let known: u32 = counted.iter().map(|part| part.num_tokens).sum();
        let frame = num_tokens.saturating_sub(known);
        counted.push(PromptPart { name: "frame".into(), num_tokens: frame });
        let config = ModelConfig::from_dir(self.model_dir())?;
        Ok(PromptReport {
            num_turns: parts.history.len() as u32,
            num_left_out: parts.num_left_out as u32,
            limit: config.llm_config.max_position_embeddings as u32,
            parts: counted,
            num_tokens,
            prompt,
        })
    }

    /// What was really sent for a message.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sent_prompts(&self, message_id: &str) -> ApiResult<Vec<SentPrompt>> {
        let item = |sent: Sent| SentPrompt {
            kind: sent.kind,
            prompt: sent.prompt,
            num_tokens: sent.num_tokens as u32,
            settings: sent.settings,
        };
        Ok(self.store().sent(message_id)?.into_iter().map(item).collect())
    }
}

#[cfg(test)]
mod tests {
    use troupe_character::Draft;

    use super::*;

    fn message(text: &str, role: Role, is_pinned: bool) -> Message {
        let new =
            troupe_store::NewMessage { role, ..troupe_store::NewMessage::user("c", None, text) };
        Message { pinned_ms: is_pinned.then_some(1), ..crate::chat::unsaved(new) }
    }

    fn snail() -> Character {
        let draft = Draft {
            name: "Dot".into(),
            persona: "A snail.".into(),
            greeting: "Mind the trail.".into(),
            ..Default::default()
        };
        Character::new(draft, Default::default()).expect("a name")
    }

    #[test]
    fn a_plain_chat_sends_the_published_prompt() {
        let (dot, settings) = (snail(), ChatSettings::default());
        let thread = [
            message("Mind the trail.", Role::Character, false),
            message("Hello?", Role::User, false),
        ];
        assert_eq!(
            ReplyParts::new(&dot, &settings, &thread).text(),
            prompts::role_play(&RolePlay {
                description: "A snail.",
                opening: "Mind the trail.",
                history: &[],
                user: "Hello?",
                name: "Dot",
            })
        );
    }

    #[test]
    fn pinned_lines_stay_when_others_are_left_out() {
        let (dot, settings) = (snail(), ChatSettings::default());
        let mut thread = vec![message("Mind the trail.", Role::Character, false)];
        for turn in 0..10 {
            thread.push(message(&format!("line {turn}"), Role::User, turn == 1));
        }
        thread.push(message("Now?", Role::User, false));
        let parts = ReplyParts::new(&dot, &settings, &thread);
        let texts: Vec<&str> = parts.history.iter().map(|turn| turn.text).collect();
        assert_eq!(texts, ["line 1", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9"]);
        assert_eq!(parts.num_left_out, 3);
    }

    #[test]
    fn persona_and_note_are_told() {
        let settings = ChatSettings {
            user_name: "Ines".into(),
            user_persona: "A gardener.".into(),
            author_note: " It rains. ".into(),
            ..Default::default()
        };
        let (dot, thread) = (snail(), [message("Hello?", Role::User, false)]);
        let text = ReplyParts::new(&dot, &settings, &thread).text();
        assert!(text.contains("A snail.\n\nAbout the user, who is called Ines: A gardener."));
        assert!(text.contains("User Input: Hello?\n\n[It rains.]\n\n"), "{text}");
    }

    #[test]
    fn presets_differ_and_the_middle_one_is_the_methods() {
        let of = |preset| sampling(preset, 3);
        assert_eq!(of(SamplingPreset::Balanced), TextSampling { seed: 3, ..Default::default() });
        let heat = [
            SamplingPreset::Careful,
            SamplingPreset::Balanced,
            SamplingPreset::Lively,
            SamplingPreset::Wild,
        ]
        .map(|preset| of(preset).temperature);
        assert!(heat.windows(2).all(|pair| pair[0] < pair[1]), "{heat:?}");
    }
}
