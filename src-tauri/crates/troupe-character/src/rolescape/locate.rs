//! Finding the characters of a data set, whichever folder of it was given.

use std::fs;
use std::path::{Path, PathBuf};

use super::raw::Findings;
use super::report::{ImportFinding, Severity};
use crate::error::{Error, Result};

/// File that makes a folder a character: the prefix is what comes before it.
const MARK: &str = "_with_image.json";

/// Where one character's files are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Folder name, F.
    pub(super) folder: String,
    /// File prefix, P.
    pub(super) prefix: String,
    pub(super) train: PathBuf,
    pub(super) test: Option<PathBuf>,
    /// Name and path of the folder with the stage-2 prompts.
    pub(super) grpo: Option<(String, PathBuf)>,
    /// Folder with the training configurations.
    pub(super) configs: Option<PathBuf>,
}

/// A located data set.
#[derive(Debug, Default)]
pub(super) struct Dataset {
    pub(super) characters: Vec<Place>,
    pub(super) findings: Vec<ImportFinding>,
}

/// Finds every character below, or the one that `folder` is.
pub(super) fn locate(folder: &Path) -> Result<Dataset> {
    let given = folder;
    let folder = fs::canonicalize(folder).map_err(|e| Error::io("opening a data set", given, e))?;
    let mut dataset = Dataset::default();
    for root in
        [folder.clone(), folder.join("personalized_data"), folder.join("data/personalized_data")]
    {
        if root.join("train").is_dir() {
            dataset = all_of(&root)?;
            if !dataset.characters.is_empty() {
                return Ok(dataset);
            }
        }
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = folder.parent().unwrap_or(&folder);
    if name == "train" || name == "test" {
        dataset = all_of(parent)?;
    } else if prefix_of(&folder).is_some() {
        let in_split = parent.file_name().is_some_and(|p| p == "train" || p == "test");
        dataset.characters = match parent.parent().filter(|_| in_split) {
            Some(root) => {
                all_of(root)?.characters.into_iter().filter(|c| c.folder == name).collect()
            }
            None => place(&name, folder.clone(), None).into_iter().collect(),
        };
    }
    if dataset.characters.is_empty() {
        let damaged = dataset.findings.iter().find(|f| f.severity == Severity::Error);
        return Err(Error::NotADataset {
            folder: given.to_path_buf(),
            looked_for: match damaged {
                Some(finding) => format!("*{MARK} ({}: {})", finding.file, finding.message),
                None => format!(
                    "data/personalized_data/train/<name>/*{MARK}, train/<name>/*{MARK} and *{MARK}"
                ),
            },
        });
    }
    Ok(dataset)
}

/// The characters to import.
pub(super) fn choose<'a>(dataset: &'a Dataset, only: Option<&str>) -> Result<Vec<&'a Place>> {
    let Some(only) = only.map(str::trim).filter(|name| !name.is_empty()) else {
        return Ok(dataset.characters.iter().collect());
    };
    let wanted = only.to_lowercase();
    let is_it = |place: &&Place| {
        let grpo = place.grpo.as_ref().map(|(name, _)| name.as_str()).unwrap_or_default();
        [&place.folder, &place.prefix, grpo].iter().any(|name| name.to_lowercase() == wanted)
    };
    let chosen: Vec<&Place> = dataset.characters.iter().filter(is_it).collect();
    if chosen.is_empty() {
        let available = dataset.characters.iter().map(|place| place.prefix.clone()).collect();
        return Err(Error::NoSuchDatasetCharacter { asked: only.into(), available });
    }
    Ok(chosen)
}

fn all_of(root: &Path) -> Result<Dataset> {
    let mut found = Vec::new();
    let mut findings = Findings::default();
    let train = root.join("train");
    for (name, path) in entries(&train)? {
        let file = format!("train/{name}");
        if name == ".DS_Store" {
            findings.file("LAY-DSSTORE", Severity::Info, &file, "left by a file browser, ignored");
        } else if name.starts_with('.') {
            // Hidden files are nobody's data.
        } else if !path.is_dir() {
            findings.file("LAY-STRAY", Severity::Info, &file, "not a character folder, ignored");
        } else if let Some(place) = place(&name, path, Some(root)) {
            found.push(place);
        } else {
            let message = format!("no *{MARK}, so this is not a character that can be imported");
            findings.file("LAY-NOMARK", Severity::Error, &file, message);
        }
    }
    for (name, path) in entries(&root.join("test")).unwrap_or_default() {
        let known = found.iter().any(|place| place.folder == name);
        if path.is_dir() && !name.starts_with('.') && !known {
            let message = "has no counterpart in train and was not imported";
            findings.file("LAY-TESTONLY", Severity::Warning, &format!("test/{name}"), message);
        }
    }
    Ok(Dataset { characters: found, findings: findings.0 })
}

fn place(folder: &str, train: PathBuf, root: Option<&Path>) -> Option<Place> {
    let prefix = prefix_of(&train)?;
    let test = root.map(|root| root.join("test").join(folder)).filter(|dir| dir.is_dir());
    let grpo = root.and_then(|root| grpo_folder(root, &prefix));
    let configs = root
        .and_then(Path::parent)
        .map(|data| data.join("configs").join(folder))
        .filter(|dir| dir.is_dir());
    Some(Place { folder: folder.into(), prefix, train, test, grpo, configs })
}

/// The prefix, from the first file of the marking name.
fn prefix_of(folder: &Path) -> Option<String> {
    entries(folder)
        .ok()?
        .into_iter()
        .find_map(|(name, _)| name.strip_suffix(MARK).filter(|p| !p.is_empty()).map(str::to_owned))
}

/// The stage-2 folder that belongs to a prefix: by name, else by the name its rows carry.
fn grpo_folder(root: &Path, prefix: &str) -> Option<(String, PathBuf)> {
    let below = Path::new("flow_grpo/dataset/personalized_t2i");
    let base =
        root.ancestors().skip(1).take(2).map(|top| top.join(below)).find(|dir| dir.is_dir())?;
    let folders = entries(&base).ok()?;
    let plain = prefix.replace(' ', "_");
    let by_name = folders.iter().find(|(name, _)| *name == plain || name == prefix);
    let found = by_name.or_else(|| {
        folders.iter().find(|(name, dir)| {
            let rows = fs::read_to_string(dir.join(format!("{name}_pure_t2i.jsonl")));
            let first = rows.ok().and_then(|text| {
                serde_json::from_str::<serde_json::Value>(text.lines().next()?).ok()
            });
            let character = first.as_ref().and_then(|row| row["character"].as_str());
            character.is_some_and(|character| character == prefix || character == plain)
        })
    });
    found.cloned().filter(|(_, dir)| dir.is_dir())
}

/// Names and paths in a folder, sorted by name.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let doing = "reading a data set";
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(doing, folder, e))? {
        let entry = entry.map_err(|e| Error::io(doing, folder, e))?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}
