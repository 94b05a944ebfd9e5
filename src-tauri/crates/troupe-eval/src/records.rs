//! The run's memory: one JSON line for every measured item, written as soon as it is known.
//!
//! A killed run goes on where it ended. A last line that was cut off is dropped; every aggregate is
//! made from these lines and nothing else.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{EvalError, EvalResult};

/// File of the records in a run's folder.
pub const RECORDS_FILE: &str = "records.jsonl";

/// One measured item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Model that was measured: `base`, `sft`, `grpo`, or a baseline such as `real`.
    pub stage: String,
    /// Name of the character.
    pub character: String,
    /// What was measured.
    pub task: String,
    /// Which item of the character.
    pub item_id: String,
    /// Seed of the noise; 0 where there is none.
    pub seed: u64,
    /// The measured value.
    pub value: f64,
    /// Parts of the material that the item belongs to, such as `easy` or `clean`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<String>,
    /// What a report shows beside the value: texts, a picture's file.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}

/// What makes an item the same in a resumed run.
pub type RecordKey = (String, String, String, String, u64);

impl Record {
    /// A record without slices and detail.
    pub fn new(
        stage: &str,
        character: &str,
        task: &str,
        item_id: &str,
        seed: u64,
        value: f64,
    ) -> Self {
        Self {
            stage: stage.into(),
            character: character.into(),
            task: task.into(),
            item_id: item_id.into(),
            seed,
            value,
            slices: Vec::new(),
            detail: Map::new(),
        }
    }

    /// What makes it the same item.
    pub fn key(&self) -> RecordKey {
        let Self { stage, character, task, item_id, seed, .. } = self;
        (stage.clone(), character.clone(), task.clone(), item_id.clone(), *seed)
    }

    /// Text of a detail.
    pub fn text(&self, key: &str) -> &str {
        self.detail.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The records of a run, open for more.
#[derive(Debug)]
pub struct RecordLog {
    file: File,
    path: PathBuf,
    done: HashSet<RecordKey>,
    records: Vec<Record>,
}

impl RecordLog {
    /// Opens the records of a run's folder, creating the file if needed.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line other than the last is damaged.
    pub fn open(folder: &Path) -> EvalResult<Self> {
        let path = folder.join(RECORDS_FILE);
        let (records, whole) = if path.exists() { read_whole(&path)? } else { (Vec::new(), 0) };
        let doing = "opening the run's records";
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| EvalError::io(doing, &path, e))?;
        file.set_len(whole as u64).map_err(|e| EvalError::io(doing, &path, e))?;
        drop(file);
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|e| EvalError::io(doing, &path, e))?;
        let done = records.iter().map(Record::key).collect();
        Ok(Self { file, path, done, records })
    }

    /// True when the item was measured already.
    pub fn has(&self, key: &RecordKey) -> bool {
        self.done.contains(key)
    }

    /// All records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Appends records of one item, all or none of which a crash keeps readable. Items that are
    /// there already are left alone.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn append(&mut self, records: Vec<Record>) -> EvalResult<()> {
        let mut bytes = Vec::new();
        let mut fresh = Vec::new();
        for record in records {
            if self.done.insert(record.key()) {
                let line = serde_json::to_string(&record).map_err(|e| {
                    EvalError::io("writing a record", &self.path, std::io::Error::other(e))
                })?;
                bytes.extend(line.into_bytes());
                bytes.push(b'\n');
                fresh.push(record);
            }
        }
        self.file
            .write_all(&bytes)
            .map_err(|e| EvalError::io("writing a record", &self.path, e))?;
        self.records.append(&mut fresh);
        Ok(())
    }
}

/// Reads the records of a run's folder.
///
/// # Errors
/// As [`RecordLog::open`].
pub fn read(folder: &Path) -> EvalResult<Vec<Record>> {
    Ok(read_whole(&folder.join(RECORDS_FILE))?.0)
}

/// The records, and the number of bytes that hold whole lines.
fn read_whole(path: &Path) -> EvalResult<(Vec<Record>, usize)> {
    let bytes =
        std::fs::read(path).map_err(|e| EvalError::io("reading the run's records", path, e))?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let mut records = Vec::new();
    for (index, line) in bytes[..whole].split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = serde_json::from_slice(line).map_err(|e| EvalError::Malformed {
            line: index + 1,
            problem: e.to_string(),
            path: path.to_path_buf(),
        })?;
        records.push(record);
    }
    Ok((records, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_dropped_and_items_are_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RecordLog::open(dir.path()).unwrap();
        log.append(vec![Record::new("base", "Pip", "t", "a", 0, 1.)]).unwrap();
        log.append(vec![Record::new("base", "Pip", "t", "a", 0, 9.)]).unwrap();
        drop(log);
        let path = dir.path().join(RECORDS_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"{\"stage\":\"ba");
        std::fs::write(&path, &bytes).unwrap();
        let mut log = RecordLog::open(dir.path()).unwrap();
        log.append(vec![Record::new("base", "Pip", "t", "b", 0, 2.)]).unwrap();
        let values: Vec<f64> = read(dir.path()).unwrap().iter().map(|r| r.value).collect();
        assert_eq!(values, [1., 2.]);
        std::fs::write(&path, "oops\n").unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().starts_with("line 1 "));
    }
}
