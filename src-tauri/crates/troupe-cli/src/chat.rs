//! `troupe chat`, `draw` and `ask`.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc::channel,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use troupe_api::{
    DrawOptions, Studio,
    wire::{ChatEvent, ChatSettings, MessageItem, PictureMode, SamplingPreset, SendMessage},
};

use crate::output::Output;

/// When a reply gets a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pictures {
    /// With every reply.
    Always,
    /// Never.
    Never,
}

/// How freely a character speaks; see [`SamplingPreset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manner {
    /// Stays close to what is likely.
    Careful,
    /// In between.
    Balanced,
    /// More surprises.
    Lively,
    /// As surprising as still makes sense.
    Wild,
}

impl From<Manner> for SamplingPreset {
    fn from(manner: Manner) -> Self {
        match manner {
            Manner::Careful => Self::Careful,
            Manner::Balanced => Self::Balanced,
            Manner::Lively => Self::Lively,
            Manner::Wild => Self::Wild,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    /// Name or id.
    character: String,
    /// Say this once instead of talking line by line.
    #[arg(long)]
    say: Option<String>,
    /// A picture to show with what is said.
    #[arg(long, value_name = "FILE", requires = "say")]
    attach: Option<PathBuf>,
    /// When a reply gets a picture.
    #[arg(long, value_enum, default_value_t = Pictures::Always)]
    picture: Pictures,
    /// How freely the character speaks.
    #[arg(long, value_enum, default_value_t = Manner::Balanced)]
    manner: Manner,
    /// Seed; drawn when absent.
    #[arg(long)]
    seed: Option<u32>,
    /// Folder for pictures and transcript.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DrawArguments {
    /// Name or id.
    character: String,
    /// What to draw, naming the character.
    prompt: String,
    /// Seed of the noise.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Sampling steps; the model's when absent.
    #[arg(long)]
    steps: Option<usize>,
    /// Pictures to draw together, with seeds that count up; files then end in -1, -2, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    count: u32,
    /// Let the model plan in words before it draws. A base that was not taught to says little.
    #[arg(long)]
    think: bool,
    /// File to write (PNG).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct AskArguments {
    /// Name or id.
    character: String,
    /// The question.
    question: String,
    /// A picture that the question is about.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// A picture's file name for the n-th reply that does not exist yet in `folder`.
fn free_name(folder: &Path, n: usize) -> PathBuf {
    let mut n = n;
    loop {
        let path = folder.join(format!("reply-{n:03}.png"));
        if !path.exists() {
            return path;
        }
        n += 1;
    }
}

pub(crate) fn chat(studio: &Studio, arguments: &ChatArguments, output: &Output) -> Result<()> {
    let character = studio.character(&arguments.character)?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
    }
    let chat = studio.create_chat(&character.id)?;
    if arguments.manner != Manner::Balanced {
        let settings = ChatSettings { preset: arguments.manner.into(), ..ChatSettings::default() };
        studio.set_chat_settings(&chat.chat.id, &settings)?;
    }
    let name = &character.draft.name;
    let mut session =
        Session { studio, arguments, output, chat_id: chat.chat.id, name, num_replies: 0 };
    if let Some(text) = &arguments.say {
        return session.say(text);
    }
    let interactive = std::io::stdin().is_terminal();
    if interactive && !output.json {
        output.note(&format!("Talking with {name}. An empty line ends."));
        if let Some(greeting) = chat.messages.first() {
            output.line(&format!("{name}: {}", greeting.text));
        }
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if interactive && !output.json {
            output.raw("You: ");
        }
        match lines.next().transpose().context("reading your line")? {
            Some(line) if !line.trim().is_empty() => session.say(&line)?,
            _ => return Ok(()),
        }
    }
}

struct Session<'a> {
    studio: &'a Studio,
    arguments: &'a ChatArguments,
    output: &'a Output,
    chat_id: String,
    name: &'a str,
    num_replies: usize,
}

impl Session<'_> {
    /// Says one thing and prints the answer as it comes.
    fn say(&mut self, text: &str) -> Result<()> {
        let picture_mode = match self.arguments.picture {
            Pictures::Always => PictureMode::Always,
            Pictures::Never => PictureMode::Never,
        };
        let attach = |file: &PathBuf| -> Result<String> {
            let bytes =
                std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            Ok(self.studio.attach_picture(&bytes)?)
        };
        let request = SendMessage {
            chat_id: self.chat_id.clone(),
            parent_id: None,
            text: text.into(),
            attachment: self.arguments.attach.as_ref().map(attach).transpose()?,
            picture_mode,
            seed: self.arguments.seed,
            ..SendMessage::default()
        };
        let (sender, events) = channel();
        // Events that nobody waits for any more are dropped.
        let sink = Box::new(move |event| drop(sender.send(event)));
        self.studio.send_message(request, sink)?;
        let bar = self.output.progress(0);
        let mut begun = false;
        for event in events {
            if self.output.json {
                self.output.json(&without_preview(&event));
            }
            match event {
                ChatEvent::Phase { label, .. } => bar.set_message(label),
                ChatEvent::TextDelta { delta, .. } if !self.output.json => {
                    let start = if begun { String::new() } else { format!("{}: ", self.name) };
                    let delta = if begun { delta.as_str() } else { delta.trim_start() };
                    begun = true;
                    bar.suspend(|| self.output.raw(&format!("{start}{delta}")));
                }
                ChatEvent::TextDone { .. } if !self.output.json => self.output.line(""),
                ChatEvent::PictureProgress { step, num_steps, .. } => {
                    bar.set_length(u64::from(num_steps));
                    bar.set_position(u64::from(step));
                    bar.set_message("drawing");
                }
                ChatEvent::Done { message } => {
                    bar.finish_and_clear();
                    return self.finish(text, &message);
                }
                ChatEvent::Failed { error, .. } => {
                    bar.finish_and_clear();
                    return Err(error.into());
                }
                ChatEvent::TextDelta { .. }
                | ChatEvent::TextDone { .. }
                | ChatEvent::PictureDone { .. } => {}
            }
        }
        bail!("the engine ended before the reply was complete")
    }

    /// Copies the picture out and adds to the transcript.
    fn finish(&mut self, said: &str, message: &MessageItem) -> Result<()> {
        self.num_replies += 1;
        let mut picture = None;
        if let Some(drawn) = &message.picture {
            let file = self.studio.drawn_picture_file(&drawn.id)?;
            let shown = match &self.arguments.out {
                Some(folder) => {
                    let to = free_name(folder, self.num_replies);
                    std::fs::copy(&file, &to)
                        .with_context(|| format!("writing {}", to.display()))?;
                    to
                }
                None => file,
            };
            if !self.output.json {
                self.output.note(&format!("picture: {}", shown.display()));
            }
            picture = Some(shown);
        }
        if self.output.json {
            self.output.json(&json!({"type": "result", "text": message.text, "picture": picture}));
        }
        if let Some(folder) = &self.arguments.out {
            let path = folder.join("transcript.md");
            let picture = picture.and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
            let picture = picture.map_or(String::new(), |p| format!("\n![picture]({p})\n"));
            let text =
                format!("**You:** {said}\n\n**{}:** {}\n{picture}\n", self.name, message.text);
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// The event without its picture data, which no pipe wants.
fn without_preview(event: &ChatEvent) -> ChatEvent {
    match event {
        ChatEvent::PictureProgress { message_id, step, num_steps, eta_secs, .. } => {
            ChatEvent::PictureProgress {
                message_id: message_id.clone(),
                step: *step,
                num_steps: *num_steps,
                eta_secs: *eta_secs,
                preview: None,
            }
        }
        other => other.clone(),
    }
}

pub(crate) fn draw(studio: &Studio, arguments: &DrawArguments, output: &Output) -> Result<()> {
    let bar = output.progress(0);
    let shown = bar.clone();
    let DrawArguments { character, prompt, seed, steps, count, think, out } = arguments;
    let options = DrawOptions { seed: *seed, num_steps: *steps, count: *count, thinks: *think };
    let drawn = studio.draw(character, prompt, options, move |step, num_steps| {
        shown.set_length(num_steps as u64);
        shown.set_position(step as u64);
    })?;
    bar.finish_and_clear();
    for (number, picture) in (1..).zip(&drawn) {
        let file = if drawn.len() == 1 { out.clone() } else { numbered(out, number) };
        std::fs::write(&file, &picture.png)
            .with_context(|| format!("writing {}", file.display()))?;
        let result = json!({
            "file": file, "thoughts": picture.thoughts, "settings": picture.settings,
            "baseHash": picture.base_hash, "adapterHash": picture.adapter_hash,
        });
        output.result(&result, || {
            let thoughts = picture.thoughts.iter().map(|t| format!("{t}\n")).collect::<String>();
            format!("{thoughts}{}", file.display())
        });
    }
    Ok(())
}

/// `picture.png` as `picture-2.png`.
fn numbered(file: &Path, number: usize) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        file.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    file.with_file_name(format!("{stem}-{number}{extension}"))
}

pub(crate) fn ask(studio: &Studio, arguments: &AskArguments, output: &Output) -> Result<()> {
    let load = |path: &PathBuf| troupe_model::image_ops::load_picture(path);
    let picture =
        arguments.picture.as_ref().map(load).transpose().map_err(troupe_api::ApiError::from)?;
    let asked = studio.ask(&arguments.character, &arguments.question, picture)?;
    let result = json!({
        "answer": asked.text, "baseHash": asked.base_hash, "adapterHash": asked.adapter_hash,
    });
    output.result(&result, || asked.text.clone());
    Ok(())
}
