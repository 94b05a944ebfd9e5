//! How fast this machine computes: measured once, kept in the data folder.

use std::{sync::OnceLock, time::Instant};

use serde::{Deserialize, Serialize};
use troupe_nn::{threads::num_threads, trial::Trial};

use crate::Studio;

/// File in the data folder.
const FILE: &str = "machine.json";
/// Most runs of the trial, of which the fastest counts; the first warms up.
const RUNS: usize = 8;
/// Seconds after which no further run begins: on a busy machine few runs must do.
const LONGEST_SECS: f64 = 0.4;
/// Speed of a machine that refuses to be measured: two cores of a small server.
const OTHERWISE: f64 = 1.5e11;

/// A measurement and what it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    processor: String,
    num_threads: usize,
    operations_per_second: f64,
}

impl Studio {
    /// Operations of a [`Trial`] a second. Command line and window read the same file. What is measured
    /// while another process of ours computes is not kept.
    pub(crate) fn trial_speed(&self) -> f64 {
        let path = self.home().join(FILE);
        let (processor, num_threads) = (processor(), num_threads());
        let kept = std::fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok());
        if let Some(Measured { processor: known, num_threads: n, operations_per_second }) = kept
            && (known.as_str(), n) == (processor.as_str(), num_threads)
        {
            return operations_per_second;
        }
        let mut measured = self.inner.trial_speed.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(speed) = *measured {
            return speed;
        }
        let is_quiet = self.refuse_when_busy().is_ok();
        let speed = measure().unwrap_or(OTHERWISE);
        *measured = Some(speed);
        if is_quiet {
            let found = Measured { processor, num_threads, operations_per_second: speed };
            let bytes = serde_json::to_vec(&found).unwrap_or_default();
            if let Err(error) = crate::write_atomic(&path, &bytes) {
                tracing::warn!("the machine's speed is not kept: {error}");
            }
        }
        speed
    }
}

/// Takes about a sixth of a second on two cores. Counted is the time that the threads computed, not the
/// time that passed: other programs would make a fast machine look slow for good.
fn measure() -> Option<f64> {
    let mut trial = Trial::new()
        .inspect_err(|error| tracing::warn!("the machine's speed is unknown: {error}"))
        .ok()?;
    let started = Instant::now();
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let before = trial.on_every_thread(computed_secs);
        trial.run();
        let after = trial.on_every_thread(computed_secs);
        let secs: f64 = before.iter().zip(&after).map(|(before, after)| after - before).sum();
        fastest = fastest.min(secs / after.len() as f64);
        if started.elapsed().as_secs_f64() > LONGEST_SECS {
            break;
        }
    }
    let speed = Trial::OPERATIONS / fastest;
    speed.is_finite().then_some(speed)
}

/// Seconds that the calling thread has computed; where the system does not tell, seconds since the first
/// call.
fn computed_secs() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |n| n / 1e9)
}

/// The processor's name, empty where the system does not tell.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or(String::new(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_measured_and_known_again() {
        let speed = measure().unwrap_or_default();
        // From a single old core to a large server.
        assert!((1e8..1e14).contains(&speed), "{speed}");
        // The second speed is one that is off by a digit when numbers are read in a hurry.
        for operations_per_second in [speed, 63_928_751_161.540_596] {
            let measured =
                Measured { processor: processor(), num_threads: 2, operations_per_second };
            let text = serde_json::to_string(&measured).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Measured>(&text).ok(), Some(measured));
        }
    }
}
