//! Chats as files: Markdown, one HTML page, SillyTavern's JSON lines.
//!
//! The shown thread is written; SillyTavern's format also takes the alternatives of each message.
//! A message that was edited by hand says so: its text is not what its model wrote.
//! Pictures, drawn or attached, go to a folder beside the file that is named after it; into the page
//! itself with HTML. One whose file cannot be read is left out and counted.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use serde_json::{Value, json};
use troupe_store::{Message, Picture, Role};

use crate::{
    Studio, chat,
    error::ApiResult,
    wire::{ChatSettings, ExportFormat, ExportOutcome},
};

/// What stands for the person without a name.
const NAMELESS: &str = "You";

/// A chat with everything that is written of it.
struct Export {
    title: String,
    character: String,
    user: String,
    settings: ChatSettings,
    thread: Vec<Message>,
    siblings: HashMap<Option<String>, Vec<Message>>,
    pictures: HashMap<String, Picture>,
    /// Contents of the pictures that can be read, by file name.
    files: HashMap<String, Vec<u8>>,
}

impl Studio {
    /// Writes a chat to `path`, and its pictures beside it where the format wants that.
    ///
    /// # Errors
    /// When chat or character do not exist, or something cannot be written.
    pub fn export_chat(
        &self,
        chat_id: &str,
        format: ExportFormat,
        path: &Path,
    ) -> ApiResult<ExportOutcome> {
        let mut export = self.gather(chat_id)?;
        let (files, num_missing) = self.read_pictures(&export, format);
        export.files = files;
        let folder = folder_beside(path);
        let text = match format {
            ExportFormat::Markdown => export.markdown(&folder_name(&folder)),
            ExportFormat::Html => export.html(),
            ExportFormat::SillyTavern => export.silly_tavern(&folder_name(&folder)),
        };
        if format != ExportFormat::Html {
            for (file, bytes) in &export.files {
                crate::write_atomic(&folder.join(file), bytes)?;
            }
        }
        crate::write_atomic(path, text.as_bytes())?;
        Ok(ExportOutcome {
            path: path.display().to_string(),
            num_messages: export.thread.len() as u32,
            num_pictures: export.files.len() as u32,
            num_missing,
        })
    }

    /// Contents of the pictures that `format` tells of, and how many cannot be read.
    fn read_pictures(
        &self,
        export: &Export,
        format: ExportFormat,
    ) -> (HashMap<String, Vec<u8>>, u32) {
        let (mut files, mut num_missing) = (HashMap::new(), 0);
        for message in export.told(format) {
            let drawn = export.picture(message).map(|p| (self.pictures_dir(), &p.file));
            let attached = message.attachment.as_ref().map(|name| (self.attachments_dir(), name));
            for (folder, file) in drawn.into_iter().chain(attached) {
                match std::fs::read(folder.join(file)) {
                    Ok(bytes) => drop(files.insert(file.clone(), bytes)),
                    Err(error) => {
                        tracing::warn!("{file} is left out of an exported chat: {error}");
                        num_missing += 1;
                    }
                }
            }
        }
        (files, num_missing)
    }

    fn gather(&self, chat_id: &str) -> ApiResult<Export> {
        let (chat, thread, tree, pictures) = {
            let store = self.store();
            let chat = store.chat(chat_id)?;
            (chat, store.thread(chat_id)?, store.tree(chat_id)?, store.chat_pictures(chat_id)?)
        };
        let character = self.library().load(&chat.character_id)?.name;
        let settings = chat::settings(&chat);
        let named = settings.user_name.trim();
        let user = if named.is_empty() { NAMELESS } else { named }.to_owned();
        let mut siblings: HashMap<Option<String>, Vec<Message>> = HashMap::new();
        for message in tree {
            siblings.entry(message.parent_id.clone()).or_default().push(message);
        }
        let pictures = pictures.into_iter().map(|p| (p.id.clone(), p)).collect();
        let files = HashMap::new();
        Ok(Export {
            title: chat.title,
            character,
            user,
            settings,
            thread,
            siblings,
            pictures,
            files,
        })
    }
}

/// `talk.md` has its pictures in `talk-pictures`.
fn folder_beside(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-pictures"))
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Export {
    fn name(&self, message: &Message) -> &str {
        if message.role == Role::User { &self.user } else { &self.character }
    }

    fn picture(&self, message: &Message) -> Option<&Picture> {
        self.pictures.get(message.picture_id.as_ref()?)
    }

    fn alternatives<'a>(&'a self, message: &'a Message) -> Vec<&'a Message> {
        match self.siblings.get(&message.parent_id) {
            Some(all) => all.iter().collect(),
            None => vec![message],
        }
    }

    /// Messages that a format tells of.
    fn told(&self, format: ExportFormat) -> Vec<&Message> {
        match format {
            ExportFormat::SillyTavern => {
                self.thread.iter().flat_map(|m| self.alternatives(m)).collect()
            }
            ExportFormat::Markdown | ExportFormat::Html => self.thread.iter().collect(),
        }
    }

    /// Files of a message's pictures, as far as they can be read: the attached one, then the drawn one.
    fn files<'a>(
        &'a self,
        message: &'a Message,
    ) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
        let drawn = self.picture(message).map(|picture| &picture.file);
        let names = message.attachment.as_ref().into_iter().chain(drawn);
        names.filter_map(|name| self.files.get_key_value(name))
    }

    fn markdown(&self, folder: &str) -> String {
        let mut text = format!("# {}\n", self.title);
        for message in &self.thread {
            let edited = if message.edited_ms.is_some() { " (edited)" } else { "" };
            let name = self.name(message);
            text.push_str(&format!("\n**{name}{edited}:**\n\n{}\n", message.text));
            for (file, _) in self.files(message) {
                // In angle brackets, since the folder's name may hold blanks.
                text.push_str(&format!("\n![](<{folder}/{file}>)\n"));
            }
        }
        text
    }

    fn html(&self) -> String {
        let mut body = String::new();
        for message in &self.thread {
            let class = if message.role == Role::User { "user" } else { "character" };
            let (name, text) = (escape(self.name(message)), escape(&message.text));
            let edited = if message.edited_ms.is_some() { " <small>edited</small>" } else { "" };
            body.push_str(&format!(
                "<article class=\"{class}\"><div><h2>{name}{edited}</h2><p>{text}</p></div>"
            ));
            for (_, bytes) in self.files(message) {
                let data = base64::engine::general_purpose::STANDARD.encode(bytes);
                body.push_str(&format!("<img alt=\"\" src=\"data:image/png;base64,{data}\">"));
            }
            body.push_str("</article>\n");
        }
        let title = escape(&self.title);
        format!(
            "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }

    fn silly_tavern(&self, folder: &str) -> String {
        let mut metadata = json!({});
        if !self.settings.author_note.trim().is_empty() {
            metadata = json!({
                "note_prompt": self.settings.author_note.trim(), "note_interval": 1,
                "note_position": 1, "note_depth": 0, "note_role": 0,
            });
        }
        let header = json!({
            "chat_metadata": metadata, "user_name": self.user, "character_name": self.character,
        });
        let lines = std::iter::once(header)
            .chain(self.thread.iter().map(|message| self.silly_line(message, folder)))
            .map(|line| line.to_string());
        // No line break at the end: some readers take an empty last line for a broken one.
        lines.collect::<Vec<_>>().join("\n")
    }

    fn silly_line(&self, message: &Message, folder: &str) -> Value {
        let all = self.alternatives(message);
        let shown = all.iter().position(|m| m.id == message.id).unwrap_or_default();
        let urls = |m: &Message| -> Vec<String> {
            self.files(m).map(|(file, _)| format!("{folder}/{file}")).collect()
        };
        let extra = |m: &Message| {
            let mut extra = json!({});
            if let Some(hash) = &m.base_hash {
                extra["api"] = json!("troupe");
                extra["model"] = json!(hash);
            }
            if m.edited_ms.is_some() {
                extra["edited"] = json!(true); // "model" wrote what was changed then
            }
            let urls = urls(m);
            if let Some(url) = urls.first() {
                extra["image"] = json!(url);
                extra["inline_image"] = json!(true);
                let media = |url| json!({"type": "image", "url": url});
                extra["media"] = urls.iter().map(media).collect();
            }
            extra
        };
        let mut line = json!({
            "name": self.name(message),
            "is_user": message.role == Role::User,
            "is_system": false,
            "mes": message.text,
            "send_date": iso_time(message.created_ms),
            "extra": extra(message),
        });
        if message.role == Role::Character {
            let info =
                |m: &&Message| json!({"send_date": iso_time(m.created_ms), "extra": extra(m)});
            line["swipe_id"] = json!(shown);
            line["swipes"] = all.iter().map(|m| json!(m.text)).collect();
            line["swipe_info"] = all.iter().map(info).collect();
        }
        line
    }
}

const STYLE: &str = "body{max-width:52rem;margin:2rem auto;padding:0 1rem;\
font:1rem/1.6 system-ui,sans-serif;background:#faf5ec;color:#2b2030}\
article{display:flex;gap:1rem;margin:1rem 0;align-items:flex-start}\
article>div{flex:1;padding:.5rem 1rem;border-radius:.6rem;background:#fffdf8}\
.user>div{background:#efe4f4}h2{font-size:.9rem;margin:0}p{white-space:pre-wrap;margin:.2rem 0}\
img{width:14rem;border-radius:.6rem}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Milliseconds since 1970 as ISO 8601 in UTC.
///
/// Source of the calendar: Howard Hinnant, "chrono-compatible low-level date algorithms"
/// (`civil_from_days`).
fn iso_time(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (secs, millis) = (in_day / 1000, in_day % 1000);
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hours:02}:{minutes:02}:{secs:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use troupe_store::NewMessage;

    use super::*;

    fn message(id: &str, parent: Option<&str>, role: Role, text: &str, picture: bool) -> Message {
        let new = NewMessage { role, ..NewMessage::user("c", parent, text) };
        let picture_id = picture.then(|| "p".into());
        Message { id: id.into(), picture_id, ..chat::unsaved(new) }
    }

    fn export() -> Export {
        let said = message("u", None, Role::User, "<b>Hi</b> & \"you\"", false);
        let other = message("r1", Some("u"), Role::Character, "Other.", false);
        let shown = message("r2", Some("u"), Role::Character, "Two\nlines.", true);
        let picture = Picture {
            id: "p".into(),
            character_id: "x".into(),
            file: "f.png".into(),
            prompt: String::new(),
            seed: 1,
            settings: "{}".into(),
            base_hash: "b".into(),
            adapter_hash: None,
            created_ms: 0,
            kind: troupe_store::PictureKind::Chat,
            label: String::new(),
            reference_id: None,
            is_favourite: false,
            rating: None,
            is_approved: false,
        };
        Export {
            title: "A <talk>".into(),
            character: "Dot".into(),
            user: "Ines".into(),
            settings: ChatSettings { author_note: "It rains.".into(), ..Default::default() },
            thread: vec![said.clone(), shown.clone()],
            siblings: [(None, vec![said]), (Some("u".into()), vec![other, shown])].into(),
            pictures: [("p".into(), picture)].into(),
            files: [("f.png".into(), vec![1, 2, 3])].into(),
        }
    }

    #[test]
    fn markdown_names_speakers_and_pictures() {
        assert_eq!(
            export().markdown("talk-pictures"),
            "# A <talk>\n\n**Ines:**\n\n<b>Hi</b> & \"you\"\n\n**Dot:**\n\nTwo\nlines.\n\n\
             ![](<talk-pictures/f.png>)\n"
        );
    }

    #[test]
    fn html_carries_pictures_and_no_foreign_markup() {
        let page = export().html();
        assert!(page.contains("<p>&lt;b&gt;Hi&lt;/b&gt; &amp; &quot;you&quot;</p>"), "{page}");
        assert!(page.contains("src=\"data:image/png;base64,AQID\""));
        assert!(!page.contains("<b>") && !page.contains("<talk>"));
    }

    #[test]
    fn silly_tavern_lines_follow_its_rules() {
        let text = export().silly_tavern("talk-pictures");
        assert!(!text.ends_with('\n'));
        let lines: Vec<Value> =
            text.split('\n').map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0]["chat_metadata"]["note_prompt"], "It rains.");
        assert!(lines[0].get("mes").is_none(), "line 0 is the header");
        assert_eq!((&lines[1]["is_user"], &lines[1]["name"]), (&json!(true), &json!("Ines")));
        let reply = &lines[2];
        assert_eq!(reply["swipes"], json!(["Other.", "Two\nlines."]));
        assert_eq!(
            reply["swipes"][reply["swipe_id"].as_u64().expect("a number") as usize],
            reply["mes"]
        );
        assert_eq!(reply["swipe_info"].as_array().map(Vec::len), Some(2));
        assert_eq!(reply["extra"]["media"][0]["url"], "talk-pictures/f.png");
        assert_eq!(reply["send_date"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn attached_pictures_go_along_and_missing_ones_leave_no_trace() {
        let mut export = export();
        export.thread[0].attachment = Some("a.png".into());
        export.siblings.insert(None, vec![export.thread[0].clone()]);
        assert!(!export.markdown("t").contains("a.png"), "its file cannot be read");
        export.files.insert("a.png".into(), vec![9]);
        assert!(export.markdown("t").contains("![](<t/a.png>)"));
        assert!(export.html().contains("base64,CQ=="));
        assert!(export.silly_tavern("t").contains("\"image\":\"t/a.png\""));
        export.files.clear();
        for text in [export.markdown("t"), export.html(), export.silly_tavern("t")] {
            assert!(!text.contains("a.png") && !text.contains("f.png") && !text.contains("<img"));
        }
    }

    #[test]
    fn every_format_tells_of_edits() {
        let mut export = export();
        let edited = export.thread.last_mut().expect("a reply");
        (edited.edited_ms, edited.base_hash) = (Some(1), Some("b".into()));
        export.siblings.insert(edited.parent_id.clone(), vec![edited.clone()]);
        let text = export.markdown("f");
        assert!(text.contains("**Ines:**") && text.contains("**Dot (edited):**"), "{text}");
        let page = export.html();
        assert!(
            page.contains("<h2>Ines</h2>") && page.contains("<h2>Dot <small>edited</small></h2>")
        );
        let text = export.silly_tavern("f");
        let lines: Vec<Value> =
            text.split('\n').map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(lines[1]["extra"].get("edited").is_none(), "{text}");
        assert_eq!(lines[2]["extra"]["edited"], true, "{text}");
        assert_eq!(lines[2]["swipe_info"][0]["extra"]["edited"], true, "{text}");
    }

    #[test]
    fn times_follow_the_calendar() {
        // 2024-02-29T12:34:56.789Z is 1 709 210 096 789 ms: a leap day.
        assert_eq!(iso_time(1_709_210_096_789), "2024-02-29T12:34:56.789Z");
        assert_eq!(iso_time(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(iso_time(-1), "1969-12-31T23:59:59.999Z");
    }
}
