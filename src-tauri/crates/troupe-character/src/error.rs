//! What can go wrong with a character on disk, said in words.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything this crate can fail with. Paths come last in a message, so that they can be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text file that a person may have edited does not have the expected form.
    #[error("line {line}: {problem}: {}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// One-based line.
        line: usize,
        /// What was expected and found.
        problem: String,
    },
    /// The folder was written by a newer Troupe.
    #[error("written by a newer version of Troupe (format {found}, this one reads up to {known}): {}", file.display())]
    NewerSchema {
        /// Format version in the file.
        found: u32,
        /// Newest version this build reads.
        known: u32,
        /// The file.
        file: PathBuf,
    },
    /// No space left while writing.
    #[error("the disk is full; nothing was changed while {doing}: {}", path.display())]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("no permission while {doing}: {}", path.display())]
    PermissionDenied {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Something that must exist does not.
    #[error("not found while {doing}: {}", path.display())]
    Missing {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("failed while {doing}: {source}: {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// No character has this id or name.
    #[error("there is no character called “{asked}”{}", suggestion(similar))]
    NoSuchCharacter {
        /// What was asked for.
        asked: String,
        /// Names that look alike, best first.
        similar: Vec<String>,
    },
    /// Several characters have this name.
    #[error("{} characters are called “{asked}”; use an id: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Bundled characters are not changed in place.
    #[error("“{name}” came with Troupe and is read-only")]
    ReadOnly {
        /// Display name.
        name: String,
    },
    /// A character needs a name.
    #[error("a character needs a name")]
    NoName,
    /// The id belongs to no record of this character.
    #[error("“{name}” has no {what} with the id “{id}”")]
    NoSuchRecord {
        /// Display name of the character.
        name: String,
        /// Kind of record.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The bytes are no picture that Troupe can read.
    #[error("not a picture that can be read ({reason}): {label}")]
    NotAPicture {
        /// Where it came from.
        label: String,
        /// What the decoder said.
        reason: String,
    },
    /// The picture has too many pixels.
    #[error("the picture is {width}×{height}, more than {limit_megapixels} megapixels: {label}")]
    PictureTooLarge {
        /// Where it came from.
        label: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit.
        limit_megapixels: u64,
    },
    /// The folder is not the RoleScape-20 layout.
    #[error("no RoleScape characters found; looked for {looked_for}: {}", folder.display())]
    NotADataset {
        /// What was given.
        folder: PathBuf,
        /// What was looked for, in words.
        looked_for: String,
    },
    /// The file holds no character card that can be read.
    #[error("no character card was read: {problem}: {}", file.display())]
    NotACard {
        /// The file.
        file: PathBuf,
        /// Why, in words.
        problem: String,
    },
    /// The dataset has no character of that name.
    #[error("the dataset has no character “{asked}”; it has {}", available.join(", "))]
    NoSuchDatasetCharacter {
        /// What was asked for.
        asked: String,
        /// Names of the characters there.
        available: Vec<String>,
    },
    /// A target that must not be overwritten exists.
    #[error("already exists, and nothing was overwritten: {}", path.display())]
    AlreadyExists {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// Sorts an I/O error by what a person can do about it.
    pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { doing, path },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied { doing, path }
            }
            ErrorKind::NotFound => Self::Missing { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// What to try next, one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "Open the file in a text editor and repair that line.",
            Self::NewerSchema { .. } => "Update Troupe, or use the version that wrote it.",
            Self::DiskFull { .. } => "Free some space and try again.",
            Self::PermissionDenied { .. } => {
                "Check who owns the folder, or choose another data folder."
            }
            Self::Missing { .. } => "Check the path; the file may have been moved.",
            Self::Io { .. } => "Check the disk and try again.",
            Self::NoSuchCharacter { .. } => "List the characters to see their names and ids.",
            Self::Ambiguous { .. } => "Use one of the ids, or rename one of them.",
            Self::ReadOnly { .. } => "Make a copy first; editing a bundled character does that.",
            Self::NoName => "Type a name.",
            Self::NoSuchRecord { .. } => "It may have been removed; reload the character.",
            Self::NotAPicture { .. } => "Use a PNG, JPEG or WebP file.",
            Self::PictureTooLarge { .. } => "Make the picture smaller and add it again.",
            Self::NotADataset { .. } => {
                "Choose the folder that holds data/personalized_data, or one character's folder in train/."
            }
            Self::NotACard { .. } => {
                "Choose a card saved as PNG or JSON; a plain picture can be added to a new character."
            }
            Self::NoSuchDatasetCharacter { .. } => "Use one of the names listed.",
            Self::AlreadyExists { .. } => "Choose another folder.",
        }
    }
}

fn suggestion(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        [one] => format!("; did you mean “{one}”?"),
        many => format!("; did you mean one of {}?", many.join(", ")),
    }
}
