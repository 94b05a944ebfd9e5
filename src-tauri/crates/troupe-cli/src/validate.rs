//! `troupe validate`: findings in plain words, for characters and folders.

use std::{
    path::{MAIN_SEPARATOR, Path},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use troupe_api::{ApiError, Studio};
use troupe_character::{
    Character,
    checks::{self, Check, FolderChecks},
    rolescape::Severity,
};

use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// Name or id; or a folder: one character's, one with characters in it, or a RoleScape-20 data
    /// set.
    character: String,
    /// Mend what can be mended without deciding anything for the author.
    #[arg(long)]
    fix: bool,
}

/// One character with its findings.
struct Checked {
    name: String,
    fixed: Vec<String>,
    checks: Vec<Check>,
}

impl Checked {
    fn of(character: &mut Character, fix: bool) -> Result<Self> {
        let fixed =
            if fix { checks::fix_and_save(character).map_err(ApiError::from)? } else { Vec::new() };
        let checks = checks::check_with_files(character);
        Ok(Self { name: character.name.clone(), fixed, checks })
    }

    fn findings(&self) -> Value {
        let item = |c: &Check| {
            json!({
                "severity": c.severity.to_string(), "code": c.code, "message": c.message,
                "hint": c.hint, "canFix": c.can_fix,
            })
        };
        self.checks.iter().map(item).collect()
    }

    fn has_errors(&self) -> bool {
        self.checks.iter().any(|check| check.severity == Severity::Error)
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> =
            self.fixed.iter().map(|what| format!("mended: {what}")).collect();
        for check in &self.checks {
            let fix = if check.can_fix { " (--fix does it)" } else { "" };
            let Check { severity, message, hint, .. } = check;
            lines.push(format!("{severity}: {message}. {hint}{fix}"));
        }
        if self.checks.is_empty() {
            lines.push("No findings: ready to be taught.".into());
        }
        lines.join("\n")
    }
}

pub(crate) fn validate(
    open: impl FnOnce() -> Result<Studio>,
    arguments: &ValidateArguments,
    output: &Output,
) -> Result<ExitCode> {
    let wanted = arguments.character.as_str();
    let folder = Path::new(wanted);
    let looks_like_path = wanted.contains(['/', MAIN_SEPARATOR]);
    if looks_like_path && folder.is_dir() {
        return of_folder(folder, arguments.fix, output);
    }
    let studio = open()?;
    let character = match studio.library().load(wanted) {
        Ok(character) => character,
        Err(_) if folder.is_dir() => return of_folder(folder, arguments.fix, output),
        Err(error) => return Err(ApiError::from(error).into()),
    };
    // A bundled character is copied before anything in it changes.
    let mut character = if arguments.fix && !checks::fix(&mut character.clone()).is_empty() {
        studio.library().editable(&character.id).map_err(ApiError::from)?
    } else {
        character
    };
    let checked = Checked::of(&mut character, arguments.fix)?;
    let value = if arguments.fix {
        json!({"fixed": checked.fixed, "findings": checked.findings()})
    } else {
        checked.findings()
    };
    output.result(&value, || checked.text());
    Ok(exit(checked.has_errors()))
}

fn exit(has_errors: bool) -> ExitCode {
    if has_errors { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn of_folder(folder: &Path, fix: bool, output: &Output) -> Result<ExitCode> {
    let found = checks::check_folder(folder).map_err(ApiError::from)?;
    let characters = match found {
        FolderChecks::Rolescape { report } => {
            if fix {
                output.note("A data set is not changed: importing it handles what is odd.");
            }
            let errors = report.num_findings(Severity::Error);
            output.result(&json!({"kind": "rolescape", "report": report}), || report.to_string());
            return Ok(exit(errors > 0));
        }
        FolderChecks::Characters { characters } => characters,
    };
    let mut all = Vec::new();
    for found in characters {
        let loaded = Character::load(&found.folder).ok().filter(|_| fix);
        all.push(match loaded {
            Some(mut character) => Checked::of(&mut character, true)?,
            None => Checked { name: found.name, fixed: Vec::new(), checks: found.checks },
        });
    }
    let item = |c: &Checked| json!({"name": c.name, "fixed": c.fixed, "findings": c.findings()});
    let value: Value = all.iter().map(item).collect();
    output.result(&json!({"kind": "characters", "characters": value}), || {
        let one = |c: &Checked| format!("{}\n{}", c.name, c.text());
        all.iter().map(one).collect::<Vec<_>>().join("\n\n")
    });
    Ok(exit(all.iter().any(Checked::has_errors)))
}
