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

/// Codes that [`ImportFinding::code`] can be.
pub const CODES: [&str; 88] = [
    "CFG-USED",
    "CNT-EXT",
    "CNT-KQA",
    "CNT-MCQ",
    "CNT-TQ",
    "CNT-VMCQ",
    "CNT-VQA",
    "DUP-EXT",
    "DUP-KQA",
    "DUP-LEAK",
    "DUP-MCQ",
    "EDIT-CONFLICT",
    "EDIT-DELETED",
    "EDIT-KEPT",
    "ENC-BLANKLINE",
    "ENC-BOM",
    "ENC-CRLF",
    "ENC-UTF8",
    "GRP-ANSWER",
    "GRP-CASE",
    "GRP-CHARNAME",
    "GRP-CHOICES",
    "GRP-CONFLICT",
    "GRP-DIFFERS",
    "GRP-DUPPROMPT",
    "GRP-NEG",
    "GRP-REPEAT",
    "GRP-YESNO",
    "HEAD-DIFFERS",
    "IMG-ALPHA",
    "IMG-ALPHA-EDGE",
    "IMG-BROKEN",
    "IMG-DUPLICATE",
    "IMG-FORMAT",
    "IMG-LARGE",
    "IMG-META",
    "IMG-NAME",
    "IMG-NONSQUARE",
    "IMG-SMALL",
    "JSN-ANSWERKEY",
    "JSN-DUPKEY",
    "JSN-EVIDENCE",
    "JSN-EXTRAKEY",
    "JSN-KEY",
    "JSN-MISSING",
    "JSN-OPTTYPE",
    "JSN-QATYPE",
    "JSN-ROLE",
    "JSN-SYNTAX",
    "JSN-TYPE",
    "LAY-DERIVED",
    "LAY-DIFFERS",
    "LAY-DSSTORE",
    "LAY-EXTRA",
    "LAY-FULLPREFIX",
    "LAY-MISSING",
    "LAY-NOGRPO",
    "LAY-NOMARK",
    "LAY-NOTEST",
    "LAY-PREFIX",
    "LAY-SPACE",
    "LAY-STRAY",
    "LAY-TESTONLY",
    "LAY-UNREADABLE",
    "LNG-CJK",
    "LNG-VI",
    "REF-DANGLING",
    "REF-EVIDENCE",
    "REF-PATHBASE",
    "REF-PICTURE",
    "SCN-DIFFERS",
    "SRC-GONE",
    "STL-FULL",
    "TXT-EMPTY",
    "TXT-NEWLINE",
    "TXT-PREAMBLE",
    "TXT-TQ-BLOCKQUOTE",
    "TXT-TQ-BOLD",
    "TXT-TQ-EMPTY",
    "TXT-TQ-ITALIC",
    "TXT-TQ-META",
    "TXT-TQ-NUMBERED",
    "TXT-TQ-QUOTED",
    "TXT-TQ-RATER_NOTE",
    "TXT-TQ-REPEAT",
    "TXT-TQ-RUBRIC",
    "TXT-TQ-SUSPECT",
    "TXT-WS",
];

/// One thing that was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportFinding {
    /// One of [`CODES`], or of [those of cards](crate::cards::CODES).
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
    /// In English words.
    pub message: String,
    /// What the code does not say: a name, a number, the system's reason. Part of the message, too.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl ImportFinding {
    /// Says what the code does not.
    pub(crate) fn about(&mut self, detail: impl ToString) {
        self.detail = detail.to_string();
    }
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

/// Kind of the records in a raw file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Records {
    /// Pictures.
    Pictures,
    /// Scenes with pictures.
    Scenes,
    /// The same with reasoning and questions.
    ScenesWithReasoning,
    /// Questions about pictures.
    PictureQuestions,
    /// Multiple choice about pictures.
    PictureChoices,
    /// Scenes without pictures.
    Dialogue,
    /// Captions.
    Captions,
    /// Questions about the character.
    KnowledgeQuestions,
    /// Multiple choice about the character.
    KnowledgeChoices,
    /// Open prompts on what it remembers.
    MemorizationPrompts,
    /// Open prompts on how it behaves.
    PersonalityPrompts,
    /// The profile in the test folder.
    ProfileCopy,
    /// A profile.
    Profile,
    /// Picture prompts of stage 2.
    Stage2Prompts,
    /// Their questions.
    Stage2Questions,
    /// Lines that a chat may begin with.
    Greetings,
    /// Entries of a lorebook.
    Lorebook,
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pictures => "pictures",
            Self::Scenes => "scenes",
            Self::ScenesWithReasoning => "scenes with reasoning",
            Self::PictureQuestions => "picture questions",
            Self::PictureChoices => "picture multiple choice",
            Self::Dialogue => "dialogue scenes",
            Self::Captions => "picture captions",
            Self::KnowledgeQuestions => "knowledge questions",
            Self::KnowledgeChoices => "knowledge multiple choice",
            Self::MemorizationPrompts => "memorization prompts",
            Self::PersonalityPrompts => "personality prompts",
            Self::ProfileCopy => "copy of the profile",
            Self::Profile => "profile",
            Self::Stage2Prompts => "stage-2 prompts",
            Self::Stage2Questions => "stage-2 questions",
            Self::Greetings => "greetings",
            Self::Lorebook => "lorebook entries",
        })
    }
}

/// Records of one raw file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCount {
    /// File, relative to the data set.
    pub file: String,
    /// What its records are.
    pub what: Records,
    /// Records in the file.
    pub found: usize,
    /// Records that are in the character now.
    pub kept: usize,
    /// Those among them that are good for something, where that is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable: Option<usize>,
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

/// One character of the data set, or one card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharacterImport {
    /// Folder name in the data set, or file name of the card.
    pub folder: String,
    /// File prefix in the data set, which is also the name; the name of a card.
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
                if let Some(usable) = count.usable {
                    write!(f, "  ({usable} usable)")?;
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
