//! Wire types of import reports: what was read and noticed, as codes that a window says in words.

use std::collections::BTreeMap;

use serde::Serialize;
use troupe_character::rolescape::{
    Action, CharacterImport, FileCount, ImportFinding, ImportReport, Records, Severity,
};
use ts_rs::TS;

/// What an import did to a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum ImportAction {
    /// Only looked at.
    Inspected,
    /// It is new.
    Created,
    /// It was there, and something changed.
    Updated,
    /// It was there, and nothing changed.
    Unchanged,
}

impl From<Action> for ImportAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Inspected => Self::Inspected,
            Action::Created => Self::Created,
            Action::Updated => Self::Updated,
            Action::Unchanged => Self::Unchanged,
        }
    }
}

/// Kind of the records in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub enum ImportRecords {
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

impl From<Records> for ImportRecords {
    fn from(records: Records) -> Self {
        match records {
            Records::Pictures => Self::Pictures,
            Records::Scenes => Self::Scenes,
            Records::ScenesWithReasoning => Self::ScenesWithReasoning,
            Records::PictureQuestions => Self::PictureQuestions,
            Records::PictureChoices => Self::PictureChoices,
            Records::Dialogue => Self::Dialogue,
            Records::Captions => Self::Captions,
            Records::KnowledgeQuestions => Self::KnowledgeQuestions,
            Records::KnowledgeChoices => Self::KnowledgeChoices,
            Records::MemorizationPrompts => Self::MemorizationPrompts,
            Records::PersonalityPrompts => Self::PersonalityPrompts,
            Records::ProfileCopy => Self::ProfileCopy,
            Records::Profile => Self::Profile,
            Records::Stage2Prompts => Self::Stage2Prompts,
            Records::Stage2Questions => Self::Stage2Questions,
            Records::Greetings => Self::Greetings,
            Records::Lorebook => Self::Lorebook,
        }
    }
}

/// Records of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportedFile {
    /// The file, relative to the data set.
    pub file: String,
    /// What its records are.
    pub what: ImportRecords,
    /// Records in the file.
    pub found: u32,
    /// Records that the character has now.
    pub kept: u32,
    /// Those that are good for something, where that is not all.
    pub usable: Option<u32>,
}

impl From<FileCount> for ImportedFile {
    fn from(count: FileCount) -> Self {
        Self {
            file: count.file,
            what: count.what.into(),
            found: count.found as u32,
            kept: count.kept as u32,
            usable: count.usable.map(|usable| usable as u32),
        }
    }
}

/// An error or warning of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportFindingItem {
    /// `error` or `warning`.
    pub severity: String,
    /// Stable name; the window has its words in every language.
    pub code: String,
    /// File with line and place inside it.
    pub place: String,
    /// What was found, in English.
    pub message: String,
    /// What the code does not say: a name, a number, the system's reason.
    pub detail: String,
}

impl From<&ImportFinding> for ImportFindingItem {
    fn from(finding: &ImportFinding) -> Self {
        let line = finding.line.map_or(String::new(), |line| format!(":{line}"));
        let place = format!("{}{line} {}", finding.file, finding.place);
        Self {
            severity: finding.severity.to_string(),
            code: finding.code.clone(),
            place: place.trim_end().into(),
            message: finding.message.clone(),
            detail: finding.detail.clone(),
        }
    }
}

/// How often something was noted that is good to know, no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportNote {
    /// Stable name; the window has its words in every language.
    pub code: String,
    /// How often.
    pub count: u32,
}

/// What was noticed: errors and warnings one by one, notes counted, since there are hundreds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportNoticed {
    /// Errors and warnings.
    pub findings: Vec<ImportFindingItem>,
    /// Notes.
    pub notes: Vec<ImportNote>,
}

impl From<&[ImportFinding]> for ImportNoticed {
    fn from(all: &[ImportFinding]) -> Self {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for note in all.iter().filter(|f| f.severity == Severity::Info) {
            *counts.entry(&note.code).or_default() += 1;
        }
        let note = |(code, count): (&str, u32)| ImportNote { code: code.into(), count };
        Self {
            findings: all.iter().filter(|f| f.severity > Severity::Info).map(Into::into).collect(),
            notes: counts.into_iter().map(note).collect(),
        }
    }
}

/// A character of a data set, or of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportedCharacter {
    /// Its name.
    pub name: String,
    /// Its folder in the data set, or the card's file.
    pub folder: String,
    /// What was done.
    pub action: ImportAction,
    /// Records by file.
    pub files: Vec<ImportedFile>,
    /// What was noticed.
    pub noticed: ImportNoticed,
}

impl From<CharacterImport> for ImportedCharacter {
    fn from(import: CharacterImport) -> Self {
        Self {
            noticed: import.findings.as_slice().into(),
            name: import.prefix,
            folder: import.folder,
            action: import.action.into(),
            files: import.files.into_iter().map(Into::into).collect(),
        }
    }
}

/// A character that was written in another layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ExportedCharacter {
    /// Folder of its training part.
    pub path: String,
    /// What has no place in that layout, in English.
    pub left_out: Vec<String>,
}

/// Outcome of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ImportOutcome {
    /// Ids of the imported characters.
    pub character_ids: Vec<String>,
    /// The report in English.
    pub report: String,
    /// Findings in all.
    pub num_findings: u32,
    /// What became of each character.
    pub characters: Vec<ImportedCharacter>,
    /// What was noticed about no character.
    pub noticed: ImportNoticed,
}

impl From<ImportReport> for ImportOutcome {
    fn from(report: ImportReport) -> Self {
        Self {
            character_ids: report.characters.iter().map(|c| c.id.clone()).collect(),
            report: report.to_string(),
            num_findings: report.all_findings().count() as u32,
            noticed: report.findings.as_slice().into(),
            characters: report.characters.into_iter().map(Into::into).collect(),
        }
    }
}
