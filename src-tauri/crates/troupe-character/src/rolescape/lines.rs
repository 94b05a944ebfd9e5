//! Which line of a JSON text each value starts on.
//!
//! serde_json forgets positions; a finding without a line is hard to act on in a file of seven
//! thousand lines. The text is known to be valid JSON here.

use std::collections::HashMap;

/// Lines by path, such as `$.scenes[3][1].text`.
#[derive(Debug, Default)]
pub(super) struct LineIndex {
    line_from_path: HashMap<String, usize>,
    /// Paths of keys that occur twice in one object.
    pub(super) repeated_keys: Vec<String>,
}

impl LineIndex {
    pub(super) fn of(text: &str) -> Self {
        let mut scanner = Scanner {
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
            path: "$".into(),
            index: Self::default(),
        };
        scanner.value();
        scanner.index
    }

    pub(super) fn line(&self, path: &str) -> Option<usize> {
        self.line_from_path.get(path).copied()
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    path: String,
    index: LineIndex,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'\n' {
                self.line += 1;
            }
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn value(&mut self) {
        let Some(byte) = self.peek() else { return };
        if self.index.line_from_path.insert(self.path.clone(), self.line).is_some() {
            self.index.repeated_keys.push(self.path.clone());
        }
        match byte {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => drop(self.string()),
            _ => self.scalar(),
        }
    }

    fn object(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let key = self.string();
                    if self.peek() == Some(b':') {
                        self.at += 1;
                    }
                    let len = self.path.len();
                    self.path.push('.');
                    self.path.push_str(&key);
                    self.value();
                    self.path.truncate(len);
                }
                b'}' => {
                    self.at += 1;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }

    fn array(&mut self) {
        self.at += 1;
        let mut index = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b']' => {
                    self.at += 1;
                    return;
                }
                b',' => self.at += 1,
                _ => {
                    let len = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value();
                    self.path.truncate(len);
                    index += 1;
                }
            }
        }
    }

    fn string(&mut self) -> String {
        let start = self.at + 1;
        self.at = start;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        let end = self.at.min(self.bytes.len());
        self.at = end + 1;
        String::from_utf8_lossy(&self.bytes[start..end]).into_owned()
    }

    fn scalar(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            if matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace() {
                return;
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_lines() {
        let text = "{\n \"a\": [1,\n  {\"b\": \"x\\\"]\"}\n ],\n \"c\": null, \"c\": 2}";
        let index = LineIndex::of(text);
        assert_eq!(index.line("$"), Some(1));
        assert_eq!(index.line("$.a"), Some(2));
        assert_eq!(index.line("$.a[1].b"), Some(3));
        assert_eq!(index.line("$.c"), Some(5));
        assert_eq!(index.repeated_keys, ["$.c"]);
    }
}
