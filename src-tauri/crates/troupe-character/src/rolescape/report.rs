//! What an import did and noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Odd, and handled.
    Warning,
    /// Something is missing or wrong.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFinding {
    /// Short code such as `REF-DANGLING`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// File, relative to the data set.
    pub file: String,
    /// One-based line, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Place inside the file: an id or a path such as `$.scenes[3]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// In words.
    pub message: String,
}

impl fmt::Display for ImportFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7} {:<14} {}", self.severity, self.code, self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.place.is_empty() {
            write!(f, " {}", self.place)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Records of one raw file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCount {
    /// File, relative to the data set.
    pub file: String,
    /// What its records are.
    pub what: String,
    /// Records in the file.
    pub found: usize,
    /// Records that are in the character now.
    pub kept: usize,
}

/// What happened to the character in the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Only looked at.
    Inspected,
    /// New in the library.
    Created,
    /// Was there, and something changed.
    Updated,
    /// Was there, and nothing changed.
    Unchanged,
}

/// One character of the data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharacterImport {
    /// Folder name in the data set.
    pub folder: String,
    /// File prefix in the data set, which is also the name.
    pub prefix: String,
    /// Id in the library; empty when only inspected.
    pub id: String,
    /// Folder in the library; empty when only inspected.
    pub dir: PathBuf,
    /// What happened.
    pub action: Action,
    /// Records per raw file.
    pub files: Vec<FileCount>,
    /// What was noticed.
    pub findings: Vec<ImportFinding>,
}

impl CharacterImport {
    /// Records of a file, found by the end of its name.
    pub fn count(&self, file_ending: &str) -> Option<&FileCount> {
        self.files.iter().find(|count| count.file.ends_with(file_ending))
    }
}

/// Everything an import did and noticed. `{}` prints it for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// One entry a character.
    pub characters: Vec<CharacterImport>,
    /// Findings that belong to no character.
    pub findings: Vec<ImportFinding>,
}

impl ImportReport {
    /// All findings, the data set's first.
    pub fn all_findings(&self) -> impl Iterator<Item = &ImportFinding> {
        self.findings.iter().chain(self.characters.iter().flat_map(|c| &c.findings))
    }

    /// Number of findings of a severity.
    pub fn num_findings(&self, severity: Severity) -> usize {
        self.all_findings().filter(|finding| finding.severity == severity).count()
    }

    /// Records found in all files that are not in the library.
    pub fn num_lost(&self) -> usize {
        let files = self.characters.iter().flat_map(|character| &character.files);
        files.map(|count| count.found.saturating_sub(count.kept)).sum()
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in &self.characters {
            let action = match character.action {
                Action::Inspected => "read",
                Action::Created => "imported",
                Action::Updated => "updated",
                Action::Unchanged => "unchanged",
            };
            writeln!(f, "{} ({}): {action}", character.prefix, character.folder)?;
            for count in &character.files {
                write!(f, "  {:>5} {:<24} {}", count.kept, count.what, count.file)?;
                if count.kept != count.found {
                    write!(f, "  ({} in the file)", count.found)?;
                }
                writeln!(f)?;
            }
            write_findings(f, &character.findings)?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "Data set:")?;
            write_findings(f, &self.findings)?;
        }
        write!(
            f,
            "characters: {}, errors: {}, warnings: {}, notes: {}",
            self.characters.len(),
            self.num_findings(Severity::Error),
            self.num_findings(Severity::Warning),
            self.num_findings(Severity::Info)
        )
    }
}

/// Errors and warnings in full; notes as one line a code, since there are hundreds.
fn write_findings(f: &mut fmt::Formatter<'_>, findings: &[ImportFinding]) -> fmt::Result {
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        if finding.severity == Severity::Info {
            *notes.entry(&finding.code).or_default() += 1;
        } else {
            writeln!(f, "  {finding}")?;
        }
    }
    for (code, num) in notes {
        writeln!(f, "  note    {code:<14} {num} times (listed with --json)")?;
    }
    Ok(())
}
