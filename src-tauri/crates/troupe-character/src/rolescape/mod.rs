//! tmp
pub(crate) const RECORD_FILE: &str = "import.json";
