//! One raw file in memory, with what is needed to point into it.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::lines::LineIndex;
use super::report::{ImportFinding, Severity};

/// Findings of one character, with helpers to add them.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<ImportFinding>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        code: &str,
        severity: Severity,
        file: &str,
        line: Option<usize>,
        place: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut ImportFinding {
        self.0.push(ImportFinding {
            code: code.into(),
            severity,
            file: file.into(),
            line,
            place: place.into(),
            message: message.into(),
            detail: String::new(),
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// A finding at a path of a JSON file.
    pub(super) fn at(
        &mut self,
        code: &str,
        severity: Severity,
        file: &RawFile,
        path: &str,
        message: impl Into<String>,
    ) -> &mut ImportFinding {
        self.add(code, severity, &file.name, file.line(path), path, message)
    }

    /// A finding about a whole file.
    pub(crate) fn file(
        &mut self,
        code: &str,
        severity: Severity,
        file: &str,
        message: impl Into<String>,
    ) -> &mut ImportFinding {
        self.add(code, severity, file, None, "", message)
    }
}

/// A JSON file that was read.
#[derive(Debug)]
pub(super) struct RawFile {
    /// Path relative to the data set, with `/`.
    pub(super) name: String,
    /// The parsed file.
    pub(super) value: Value,
    text: String,
    lines: OnceCell<LineIndex>,
}

impl RawFile {
    /// Line of a path such as `$.scenes[3]`.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        self.index().line(path)
    }

    fn index(&self) -> &LineIndex {
        self.lines.get_or_init(|| LineIndex::of(&self.text))
    }

    /// The payload array; anything else is an error finding and no records.
    pub(super) fn payload(&self, key: &str, findings: &mut Findings) -> &[Value] {
        match self.value.get(key) {
            Some(Value::Array(items)) => items,
            Some(_) => {
                let path = format!("$.{key}");
                findings.at("JSN-TYPE", Severity::Error, self, &path, "expected a list");
                &[]
            }
            None => {
                let message = format!("has no “{key}”");
                findings.at("JSN-MISSING", Severity::Error, self, "$", message).about(key);
                &[]
            }
        }
    }
}

/// Reads text leniently: bytes that are no UTF-8 are replaced and reported.
pub(super) fn read_text(path: &Path, name: &str, findings: &mut Findings) -> Option<String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            findings.file("LAY-UNREADABLE", Severity::Error, name, error.to_string()).about(error);
            return None;
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
            let message = "not UTF-8; unreadable bytes were replaced";
            findings.add("ENC-UTF8", Severity::Warning, name, Some(line), "", message);
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        }
    };
    Some(match text.strip_prefix('\u{feff}') {
        Some(rest) => {
            findings.file("ENC-BOM", Severity::Info, name, "starts with a byte order mark");
            rest.to_owned()
        }
        None => text,
    })
}

/// Reads a JSON file; `None` when it is missing or damaged, the latter with an error finding.
pub(super) fn read_json(path: &Path, name: &str, findings: &mut Findings) -> Option<RawFile> {
    let text = read_text(path, name, findings)?;
    let num_crlf = text.matches("\r\n").count();
    if num_crlf > 0 {
        let message = format!("{num_crlf} CRLF line ends");
        findings.file("ENC-CRLF", Severity::Info, name, message);
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => {
            let file = RawFile { name: name.into(), value, text, lines: OnceCell::new() };
            for path in file.index().repeated_keys.clone() {
                let message = "the key occurs twice; the last value was used";
                findings.at("JSN-DUPKEY", Severity::Warning, &file, &path, message);
            }
            Some(file)
        }
        Err(error) => {
            let (message, line) = (format!("not valid JSON: {error}"), Some(error.line()));
            findings.add("JSN-SYNTAX", Severity::Error, name, line, "", message).about(error);
            None
        }
    }
}

/// Rows of a jsonl file with their one-based lines. Blank lines and damaged rows are findings.
pub(super) fn read_jsonl(
    path: &Path,
    name: &str,
    findings: &mut Findings,
) -> Option<Vec<(usize, Value)>> {
    let text = read_text(path, name, findings)?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() {
            findings.add("ENC-BLANKLINE", Severity::Info, name, Some(number), "", "blank line");
            continue;
        }
        match serde_json::from_str(line) {
            Ok(value) => rows.push((number, value)),
            Err(error) => {
                let (message, line) = (format!("not valid JSON: {error}"), Some(number));
                findings.add("JSN-SYNTAX", Severity::Error, name, line, "", message).about(error);
            }
        }
    }
    Some(rows)
}
