//! What a chat turns into for the model, and what of it is left out.

use troupe_character::{
    Character, Scene, Speaker, Split,
    prompts::{self, HistoryTurn, RolePlay, ScenePicture},
};
use troupe_model::{
    config::ModelConfig,
    runtime::TextSampling,
    tokens::{TextRole, TextTokenizer},
};
use troupe_store::{Message, Role, Sent};

use crate::{
    Studio,
    error::{ApiError, ApiResult},
    wire::{ChatSettings, PromptPart, PromptReport, SamplingPreset, SentPrompt},
};

/// Earlier turns that a prompt carries, beside pinned ones.
const MAX_HISTORY_TURNS: usize = 6;

/// Exchanges of the character's dialogue that a base reads which was not taught the character.
const MAX_EXAMPLES: usize = 6;
/// Letters that an example's two lines may have together.
const MAX_EXAMPLE_LENGTH: usize = 320;

/// What the greeting answers: in a conversation somebody else speaks first.
const GREETED: &str = "Hello!";

/// Share of a preset's temperature, and penalty of repeated tokens, of a base that was not taught.
const UNTAUGHT_HEAT: f32 = 0.6;
const UNTAUGHT_PENALTY: f32 = 1.15;
/// Tokens of its replies.
pub(crate) const MAX_UNTAUGHT_TOKENS: usize = 96;

/// What a model writes when it goes on with the prompt's form instead of the character's words.
const FORM: [&str; 4] = ["\nUser Input:", "\nuser:", "\nmachine:", "\nCharacter Description:"];

/// Tokens that a reply has at least: the end token is no answer.
const MIN_REPLY_TOKENS: usize = 1;

/// A way of choosing tokens, with where a reply ends.
fn ended(sampling: TextSampling) -> TextSampling {
    let stop = FORM.iter().map(|&text| text.to_owned()).collect();
    TextSampling { stop, min_tokens: MIN_REPLY_TOKENS, ..sampling }
}

/// Share of a preset's temperature that small bases speak with, the likeliest words that they choose from,
/// and penalty of repeated tokens. What is unlikely is mostly nonsense with them: taught `mini` answers
/// "Hello, who are you?" with strangers' names at 0.7.
const SMALL_HEAT: f32 = 0.6;
const SMALL_TOP_P: f32 = 0.9;
const SMALL_PENALTY: f32 = 1.05;

/// How a taught model of this configuration chooses tokens under a preset, and where a reply ends at the
/// latest.
pub(crate) fn reply_sampling(
    config: &ModelConfig,
    preset: SamplingPreset,
    seed: u32,
) -> TextSampling {
    let mut sampling = ended(sampling(preset, seed));
    if config.is_small() {
        sampling.temperature *= SMALL_HEAT;
        sampling.top_p = Some(SMALL_TOP_P);
        sampling.repetition_penalty = sampling.repetition_penalty.max(SMALL_PENALTY);
    }
    sampling
}

/// The same for a base that reads examples instead of having been taught. It wanders and repeats
/// itself, so a reply is one short paragraph of likelier words.
pub(crate) fn untaught_sampling(preset: SamplingPreset, seed: u32) -> TextSampling {
    let mut sampling = ended(sampling(preset, seed));
    sampling.stop.push("\n".into());
    sampling.temperature *= UNTAUGHT_HEAT;
    sampling.repetition_penalty = sampling.repetition_penalty.max(UNTAUGHT_PENALTY);
    sampling
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
    examples: Vec<(&'a str, &'a str)>,
}

/// What the model is asked, block by block.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    /// Blocks before the prompt.
    pub(crate) before: Vec<(TextRole, String)>,
    /// The prompt.
    pub(crate) prompt: String,
}

impl Asked {
    /// All of it as one text, for people.
    pub(crate) fn text(&self) -> String {
        let block = |(role, text): &(TextRole, String)| match role {
            TextRole::System => format!("[instructions]\n{text}\n\n"),
            TextRole::Reply => format!("[character]\n{text}\n\n"),
            TextRole::Prompt | TextRole::Caption => format!("[you]\n{text}\n\n"),
        };
        let label = if self.before.is_empty() { "" } else { "[you]\n" };
        let before: String = self.before.iter().map(block).collect();
        format!("{before}{label}{}", self.prompt)
    }
}

/// What the picture beside a reply is drawn from: the scene, as it is taught. A base that was not
/// taught the character has seen captions only, and gets the character's looks as one.
pub(crate) fn picture(
    character: &Character,
    scene: &ScenePicture,
    is_taught: bool,
    tokenizer: &TextTokenizer,
) -> String {
    let cues = &character.visual_cues;
    let looks = [&cues.appearance, &cues.outfit];
    let looks: Vec<&str> = looks
        .into_iter()
        .map(|text| text.trim().trim_end_matches('.'))
        .filter(|text| !text.is_empty())
        .collect();
    if is_taught || looks.is_empty() || !tokenizer.tells_roles() {
        return prompts::scene_picture(scene);
    }
    format!("{}.", looks.join(", wearing "))
}

/// The first exchanges of scenes that are learned from, as far as they are short.
fn examples(scenes: &[Scene]) -> Vec<(&str, &str)> {
    let learned = scenes.iter().filter(|scene| scene.split == Split::Train);
    let first = learned.filter_map(|scene| match scene.turns.as_slice() {
        [user, reply, ..] if user.role == Speaker::User && reply.role == Speaker::Character => {
            Some((user.text.trim(), reply.text.trim()))
        }
        _ => None,
    });
    first
        .filter(|(user, reply)| !user.is_empty() && !reply.is_empty())
        .filter(|(user, reply)| user.chars().count() + reply.chars().count() <= MAX_EXAMPLE_LENGTH)
        .take(MAX_EXAMPLES)
        .collect()
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
        let (opening, before) = match before.split_first() {
            // Another greeting than the character's own may have been chosen, or written.
            Some((first, rest)) if first.role == Role::Character => {
                let is_own = first.text == character.greeting.trim();
                (if is_own { &character.greeting } else { &first.text }, rest)
            }
            _ => (&character.greeting, before),
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
            opening,
            num_left_out: before.len() - history.len(),
            history,
            message,
            note: if note.is_empty() { String::new() } else { format!("\n\n[{note}]") },
            name: character.prompt_name(),
            examples: examples(&character.scenes),
        }
    }

    /// What the model is asked. Who was taught the character gets the prompt that it was taught with,
    /// and so does a base that tells no roles; a base tuned for chat, which has never seen that form,
    /// gets instructions and some of the character's dialogue as an ordinary conversation.
    pub(crate) fn asked(&self, is_taught: bool, tokenizer: &TextTokenizer) -> Asked {
        if is_taught || !tokenizer.tells_roles() {
            return Asked { before: Vec::new(), prompt: self.text() };
        }
        let name = self.name;
        let mut before = vec![(
            TextRole::System,
            format!(
                "You are {name}. {}{}\n\nSpeak as {name}, in one or two short sentences, and stay in character.",
                self.description, self.about_user
            ),
        )];
        let mut say = |role, text: &str| before.push((role, text.to_owned()));
        for (user, reply) in &self.examples {
            say(TextRole::Prompt, user);
            say(TextRole::Reply, reply);
        }
        if !self.opening.is_empty() {
            say(TextRole::Prompt, GREETED);
            say(TextRole::Reply, self.opening);
        }
        for turn in &self.history {
            let role = if turn.role == "user" { TextRole::Prompt } else { TextRole::Reply };
            say(role, turn.text);
        }
        Asked { before, prompt: format!("{}{}", self.message, self.note) }
    }

    /// The prompt of the method.
    pub(crate) fn text(&self) -> String {
        prompts::role_play(&RolePlay {
            description: &format!("{}{}", self.description, self.about_user),
            opening: self.opening,
            history: &self.history,
            user: &format!("{}{}", self.message, self.note),
            name: self.name,
        })
    }

    fn examples_text(&self) -> String {
        self.examples.iter().map(|(user, reply)| format!("{user}\n{reply}\n")).collect()
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
        let (chat, (mut thread, num_far)) = {
            let store = self.store();
            (store.chat(chat_id)?, store.thread_end(chat_id, MAX_HISTORY_TURNS)?)
        };
        let character = self.library().load(&chat.character_id)?;
        let settings = crate::chat::settings(&chat);
        let template = troupe_store::NewMessage::user(chat_id, None, draft);
        thread.push(crate::chat::unsaved(template));
        let parts = ReplyParts::new(&character, &settings, &thread);
        let is_taught = !crate::characters::adapter_dirs(&character.dir).is_empty();
        let asked = parts.asked(is_taught, self.tokenizer()?);
        let prompt = asked.text();
        let count = |text: &str| Ok::<_, ApiError>(self.tokenizer()?.encode(text)?.len() as u32);
        let num_tokens = count(&prompt)?;
        let named = [
            ("character", parts.description.clone()),
            ("you", parts.about_user.clone()),
            (
                "examples",
                if asked.before.is_empty() { String::new() } else { parts.examples_text() },
            ),
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
            num_left_out: (parts.num_left_out + num_far) as u32,
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
    use troupe_character::{Draft, Turn};

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
    fn an_untaught_base_reads_a_conversation() {
        let scene = |split, user: &str, reply: &str| Scene {
            split,
            turns: vec![Turn::new(Speaker::User, user), Turn::new(Speaker::Character, reply)],
            ..Scene::default()
        };
        let mut dot = snail();
        dot.scenes = vec![
            scene(Split::Test, "Kept back?", "Yes."),
            scene(Split::Train, "Fast?", "Never."),
            scene(Split::Train, "Long?", &"slime ".repeat(100)),
        ];
        let thread = [
            message("Mind the trail.", Role::Character, false),
            message("Where to?", Role::User, false),
            message("North.", Role::Character, false),
            message("Why?", Role::User, false),
        ];
        let settings = ChatSettings::default();
        let parts = ReplyParts::new(&dot, &settings, &thread);
        let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../assets/models/mini");
        let tokenizer = troupe_model::runtime::load_tokenizer(mini.as_ref()).expect("mini");
        let asked = parts.asked(false, &tokenizer);
        let (system, told) = asked.before.split_first().expect("instructions");
        assert!(system.0 == TextRole::System && system.1.starts_with("You are Dot. A snail."));
        let told: Vec<_> = told.iter().map(|(role, text)| (*role, text.as_str())).collect();
        use TextRole::{Prompt, Reply};
        let want = [
            (Prompt, "Fast?"),
            (Reply, "Never."),
            (Prompt, GREETED),
            (Reply, "Mind the trail."),
            (Prompt, "Where to?"),
            (Reply, "North."),
        ];
        assert_eq!((told.as_slice(), asked.prompt.as_str()), (&want[..], "Why?"));
        let taught = parts.asked(true, &tokenizer);
        assert_eq!((taught.before, taught.prompt), (Vec::new(), parts.text()));
        dot.visual_cues.appearance = "a brown snail.".into();
        dot.visual_cues.outfit = "a red scarf".into();
        let scene = ScenePicture { description: "A snail.", user: "Why?", response: "Moss." };
        let drawn = |is_taught| picture(&dot, &scene, is_taught, &tokenizer);
        assert_eq!(drawn(false), "a brown snail, wearing a red scarf.");
        assert_eq!(drawn(true), prompts::scene_picture(&scene));
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
    fn the_greeting_that_is_shown_opens_the_prompt() {
        let (mut dot, settings) = (snail(), ChatSettings::default());
        dot.greeting = "Mind the trail.\n".into();
        let opening = |said: &str| {
            let thread = [message(said, Role::Character, false), message("Hi.", Role::User, false)];
            ReplyParts::new(&dot, &settings, &thread).opening.to_owned()
        };
        assert_eq!(opening("Mind the trail."), "Mind the trail.\n", "as it was taught");
        assert_eq!(opening("Slow day."), "Slow day.");
        assert_eq!(ReplyParts::new(&dot, &settings, &[]).opening, "Mind the trail.\n");
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

    #[test]
    fn small_bases_speak_with_likelier_words() {
        let preset = SamplingPreset::Balanced;
        let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../assets/models/mini");
        let mut config = ModelConfig::from_dir(std::path::Path::new(mini)).unwrap();
        let small = reply_sampling(&config, preset, 3);
        config.llm_config.hidden_size = 3584;
        let wide = reply_sampling(&config, preset, 3);
        assert_eq!(wide.temperature, sampling(preset, 3).temperature);
        assert!(
            small.temperature < wide.temperature && small.top_p < Some(1.) && wide.top_p.is_none()
        );
        assert_eq!(small.stop, wide.stop);
    }
}
