//! `{{char}}` and `{{user}}`, the places that a card leaves for names.

use std::collections::BTreeSet;

/// Puts names in, and remembers what it did not know.
#[derive(Debug)]
pub(super) struct Macros {
    character: String,
    /// Macros that were left as they are.
    pub(super) unknown: BTreeSet<String>,
    /// A place for the person's name was filled.
    pub(super) named_user: bool,
}

impl Macros {
    pub(super) fn new(character: &str) -> Self {
        Self { character: character.into(), unknown: BTreeSet::new(), named_user: false }
    }

    /// One pass from left to right: a name that looks like a macro stays a name.
    ///
    /// `user` is the word for the person.
    pub(super) fn expand(&mut self, text: &str, user: &str) -> String {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '<']) {
            done.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some((inner, len)) = place(rest) else {
                let len = rest.chars().next().map_or(1, char::len_utf8);
                done.push_str(&rest[..len]);
                rest = &rest[len..];
                continue;
            };
            let is_macro = rest.starts_with('{');
            match inner.trim().to_ascii_lowercase().as_str() {
                "char" => done.push_str(&self.character),
                "bot" if !is_macro => done.push_str(&self.character),
                "user" => {
                    self.named_user = true;
                    done.push_str(user);
                }
                _ => {
                    if is_macro {
                        self.unknown.insert(rest[..len].to_owned());
                    }
                    done.push_str(&rest[..len]);
                }
            }
            rest = &rest[len..];
        }
        done.push_str(rest);
        done
    }
}

/// What stands in the `{{…}}` or `<…>` that the text begins with, and the length of the whole.
fn place(text: &str) -> Option<(&str, usize)> {
    let (open, close) = if text.starts_with('<') { ("<", ">") } else { ("{{", "}}") };
    let inner = text.strip_prefix(open)?;
    let end = inner.find(close)?;
    let inner = &inner[..end];
    (!inner.contains(open)).then_some((inner, open.len() + end + close.len()))
}
