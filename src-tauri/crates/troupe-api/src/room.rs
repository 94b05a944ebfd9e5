//! Whether a run fits into this machine's memory and disk, asked before it starts.

use crate::{
    Studio,
    error::{ApiError, ApiResult, ErrorCause, ErrorCode},
    memory,
    wire::FindingItem,
};

/// Code of the finding that there is too little disk.
const DISK: &str = "disk";
/// Bytes of disk that stay free for everything else.
const SPARE_DISK: f64 = 2e8;

/// What a run needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) memory: f64,
    pub(crate) disk: f64,
}

impl Needs {
    pub(crate) fn new(memory_bytes: usize, disk_bytes: usize) -> Self {
        Self { memory: memory_bytes as f64, disk: disk_bytes as f64 }
    }

    /// Memory in millions of bytes.
    pub(crate) fn memory_mb(&self) -> f64 {
        self.memory / 1e6
    }

    /// Disk in millions of bytes.
    pub(crate) fn disk_mb(&self) -> f64 {
        self.disk / 1e6
    }
}

/// What the machine has, in bytes; `None` where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Room {
    /// Memory that can be had now, with what our own model gives back.
    available: Option<f64>,
    /// All memory, with swap.
    total: Option<f64>,
    /// Free disk under the data folder.
    disk: Option<f64>,
}

fn gb(bytes: f64) -> String {
    format!("{:.1} GB", bytes / 1e9)
}

impl Room {
    /// What stands in the way of `needs`, the gravest first.
    fn findings(&self, needs: Needs) -> Vec<FindingItem> {
        let mut found = Vec::new();
        let mut add = |severity: &str, code: &str, message: String, hint: &str, had: f64| {
            let needed = if code == DISK { needs.disk } else { needs.memory };
            let values = [("needed", needed), ("had", had)]
                .map(|(name, bytes)| (name.to_owned(), format!("{:.1}", bytes / 1e9)));
            let (severity, code, hint) = (severity.into(), code.into(), hint.into());
            found.push(FindingItem { severity, code, message, hint, values: values.into() });
        };
        let Needs { memory, disk } = needs;
        if let Some(total) = self.total.filter(|total| *total < memory) {
            let message = format!(
                "This needs about {} of memory; this machine has {} in all",
                gb(memory),
                gb(total)
            );
            let hint = "Lower pictures and text per step or the rank under Expert, or choose a \
                        smaller or quantised base.";
            add("error", "memory", message, hint, total);
        }
        if let Some(free) = self.disk.filter(|free| *free < disk + SPARE_DISK) {
            let message = format!(
                "This needs about {} of disk; {} are free where the data folder is",
                gb(disk),
                gb(free)
            );
            add("error", DISK, message, "Delete what you no longer need, then try again.", free);
        }
        let is_enough = self.total.is_none_or(|total| total >= memory);
        if let Some(available) = self.available.filter(|x| is_enough && *x < memory) {
            let message = format!(
                "This needs about {} of memory; {} can be had now",
                gb(memory),
                gb(available)
            );
            add(
                "warning",
                "memory-now",
                message,
                "Close other programs before you start.",
                available,
            );
        }
        found
    }
}

/// The error that a finding becomes.
fn refusal(found: FindingItem) -> ApiError {
    let cause = match found.code.as_str() {
        DISK => ErrorCause::TooLittleDisk,
        _ => ErrorCause::TooLittleMemory,
    };
    let error = ApiError::new(ErrorCode::BadRequest, found.message, found.hint).because(cause);
    ApiError { values: found.values, ..error }
}

impl Studio {
    fn room(&self) -> Room {
        let own = self.engine().loaded().and_then(|_| memory::resident_mb()).unwrap_or_default();
        Room {
            available: memory::available_mb().map(|available| (available + own) * memory::MB),
            total: memory::total_mb().map(|total| total * memory::MB),
            disk: memory::free_disk(self.home()),
        }
    }

    /// Why a run that needs so much would not fit, or only barely.
    pub(crate) fn room_findings(&self, needs: Needs) -> Vec<FindingItem> {
        self.room().findings(needs)
    }

    /// Refuses a run that cannot fit.
    pub(crate) fn refuse_what_cannot_fit(&self, needs: Needs) -> ApiResult<()> {
        match self.room_findings(needs).into_iter().find(|f| f.severity == "error") {
            Some(found) => Err(refusal(found)),
            None => Ok(()),
        }
    }

    /// Frees the chat's model when a run would not fit beside it. The next message loads it again.
    pub(crate) fn make_room(&self, needs: Needs) -> ApiResult<()> {
        let available = memory::available_mb().map(|available| available * memory::MB);
        let is_tight = available.is_some_and(|available| available < needs.memory);
        if is_tight && self.engine().loaded().is_some() {
            tracing::info!("memory is tight: the chat's model makes room");
            self.engine().submit(|slot| slot.unload())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(room: Room) -> Vec<String> {
        let needs = Needs::new(2_000_000_000, 1_000_000_000);
        room.findings(needs).into_iter().map(|f| format!("{} {}", f.severity, f.code)).collect()
    }

    #[test]
    fn what_is_missing_is_said_once() {
        let enough = Room { available: Some(2e9), total: Some(4e9), disk: Some(1e9 + SPARE_DISK) };
        assert!(codes(enough).is_empty());
        assert!(codes(Room::default()).is_empty(), "what is not told is no reason");
        assert_eq!(codes(Room { available: Some(1.9e9), ..enough }), ["warning memory-now"]);
        let small = Room { available: Some(9e8), total: Some(1.9e9), disk: Some(1e8) };
        assert_eq!(codes(small), ["error memory", "error disk"]);
    }
}
