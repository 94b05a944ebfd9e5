//! The troupe command line.
//!
//! Everything that the window does, for scripts and for machines without a display. People get
//! words and progress bars on standard error, results on standard output; `--json` gives one JSON
//! document, or one a line for streams.

mod chat;
mod eval;
mod output;
mod pretrain;
mod train;
mod validate;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use serde_json::json;
use troupe_api::{ApiError, Studio, StudioOptions};
use troupe_model::runtime::{LoadOptions, Model, Precision};

use crate::output::Output;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Characters that speak and draw themselves.
#[derive(Debug, Parser)]
#[command(
    name = "troupe",
    version,
    after_help = "Example: troupe chat Marzipan --say \"Good morning!\""
)]
struct Arguments {
    /// Data folder; the system's place for this user when absent.
    #[arg(long, global = true, env = "TROUPE_HOME", value_name = "FOLDER")]
    home: Option<PathBuf>,
    /// Base model folder; the built-in `mini` when absent.
    #[arg(long, global = true, env = "TROUPE_MODEL", value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Print JSON for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring characters in from elsewhere.
    #[command(after_help = "Example: troupe import rolescape ~/RoleScape-20 --character Bo")]
    Import {
        #[command(subcommand)]
        source: ImportSource,
    },
    /// Write a character down for others: as one file, or in another layout.
    #[command(after_help = "Example: troupe export file Marzipan Marzipan.troupe")]
    Export {
        #[command(subcommand)]
        target: ExportTarget,
    },
    /// List the characters.
    #[command(after_help = "Example: troupe list --json")]
    List,
    /// Show one character.
    #[command(after_help = "Example: troupe show Marzipan")]
    Show {
        /// Name or id.
        character: String,
    },
    /// Check a character, or a folder of them, before teaching or importing.
    #[command(after_help = "Example: troupe validate Marzipan --fix")]
    Validate(validate::ValidateArguments),
    /// Teach a character.
    #[command(after_help = "Example: troupe train Marzipan --steps 300 --seed 7")]
    Train(train::TrainArguments),
    /// Talk with a character; without --say, line by line.
    #[command(
        after_help = "Example: troupe chat Marzipan --say \"What is fresh today?\" --out replies"
    )]
    Chat(chat::ChatArguments),
    /// Draw a character from a prompt.
    #[command(
        after_help = "Example: troupe draw Marzipan \"Marzipan asleep on flour sacks\" --out nap.png"
    )]
    Draw(chat::DrawArguments),
    /// Ask a character a question, perhaps about a picture.
    #[command(after_help = "Example: troupe ask Marzipan \"What do you sell?\"")]
    Ask(chat::AskArguments),
    /// Train the parts of a base model on captioned pictures.
    #[command(
        after_help = "Example: troupe pretrain vision --model my-model --data pictures --held held --out run"
    )]
    Pretrain {
        #[command(subcommand)]
        command: pretrain::PretrainCommand,
    },
    /// Measure characters before and after teaching, and write a report.
    #[command(after_help = "Example: troupe eval Marzipan --quick")]
    Eval(eval::EvalArguments),
    /// Look at base models.
    #[command(after_help = "Example: troupe model inspect assets/models/mini")]
    Model {
        #[command(subcommand)]
        action: ModelAction,
    },
    /// Run a folder of golden numerical cases.
    #[command(after_help = "Example: troupe golden tests/golden/tiny-a")]
    Golden {
        /// Folder with cases.json.
        folder: PathBuf,
    },
    /// Work on an evaluation in this process; started by the studio.
    #[command(hide = true)]
    EvalWorker {
        /// The evaluation's folder.
        #[arg(long)]
        run: PathBuf,
    },
    /// Work on a run in this process; started by the studio.
    #[command(hide = true)]
    TrainWorker {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ImportSource {
    /// Characters of the RoleScape-20 data set.
    #[command(after_help = "Example: troupe import rolescape ~/RoleScape-20 --character Bo")]
    Rolescape {
        /// The repository's top, its data folder, or one character's folder.
        folder: PathBuf,
        /// Only this one (folder name or file prefix).
        #[arg(long)]
        character: Option<String>,
    },
    /// Character cards as SillyTavern and others save them (PNG or JSON, V1 to V3), and files that
    /// `export file` wrote.
    #[command(after_help = "Example: troupe import card Pip.png Dot.troupe ~/cards")]
    Card {
        /// The files, or folders of cards.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum ExportTarget {
    /// One file with all that belongs to it and all it learned, for passing on.
    #[command(after_help = "Example: troupe export file Marzipan Marzipan.troupe")]
    File {
        /// Name or id.
        character: String,
        /// The file; one that is there is replaced.
        file: PathBuf,
    },
    /// The layout of the RoleScape-20 data set; importing it again gives the same character.
    #[command(after_help = "Example: troupe export rolescape Bo ~/RoleScape-20-copy")]
    Rolescape {
        /// Name or id.
        character: String,
        /// Where `data` and `flow_grpo` are written; other characters there are left alone.
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ModelAction {
    /// Print architecture, types and sizes of a model folder.
    #[command(after_help = "Example: troupe model inspect assets/models/mini")]
    Inspect {
        /// The folder.
        folder: PathBuf,
    },
    /// Write a smaller copy of a model folder with the layers of both experts quantised.
    #[command(
        after_help = "Example: troupe model quantize BAGEL-7B-MoT --to q4-k --out BAGEL-7B-MoT-q4"
    )]
    Quantize {
        /// The folder.
        folder: PathBuf,
        /// Format of the layers; widths that do not fit q4-k take q8-0.
        #[arg(long, value_enum, default_value = "q8-0")]
        to: QuantFormat,
        /// The new folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write a small copy of what a character has learned, for passing on.
    #[command(after_help = "Example: troupe model compact adapters/run-1 --out small")]
    Compact {
        /// The adapter's folder.
        adapter: PathBuf,
        /// The new folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write initial values of the weights that a model folder lacks.
    #[command(
        after_help = "Example: troupe model init my-model --out my-model/generation.safetensors"
    )]
    Init {
        /// The folder.
        folder: PathBuf,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// Seed of the values.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Quantised formats by their names on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum QuantFormat {
    /// 8 bits a weight.
    #[value(name = "q8-0", alias = "q8_0")]
    Q8_0,
    /// 4 bits a weight.
    #[value(name = "q4-k", alias = "q4_k")]
    Q4K,
}

/// `mi_option_purge_delay` of mimalloc.h (versions 2 and 3), which the bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed pages instead of giving them back to the system: a training step allocates and frees
/// the same gigabytes again and again, and fresh pages cost more than the arithmetic on them.
fn keep_freed_pages() {
    #[expect(unsafe_code, reason = "the allocator's options are a C function")]
    // SAFETY: sets one integer option; mimalloc documents it as callable at any time.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

/// How long candle's own pool of threads turns round waiting for work before it sleeps, in turns.
const CANDLE_SPINS: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// Lets idle threads of candle sleep soon: by default they turn round for up to a millisecond after
/// every operation, on cores that our own products need (a quarter of a pretraining step on two
/// cores).
fn let_idle_threads_sleep() {
    if std::env::var_os(CANDLE_SPINS).is_none() {
        #[expect(unsafe_code, reason = "candle takes the setting from the environment alone")]
        // SAFETY: the first thing that `main` does; no other thread exists that could read.
        unsafe {
            std::env::set_var(CANDLE_SPINS, "100");
        }
    }
}

fn main() -> ExitCode {
    let_idle_threads_sleep();
    keep_freed_pages();
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("TROUPE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let output = Output { json: arguments.json };
    match run(arguments, &output) {
        Ok(code) => code,
        Err(error) => {
            report(&error, &output);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error with its hint.
fn report(error: &anyhow::Error, output: &Output) {
    let api = error.downcast_ref::<ApiError>();
    if output.json {
        let (code, hint) =
            api.map_or((json!("internal"), ""), |e| (json!(e.code), e.hint.as_str()));
        output
            .json(&json!({"error": {"code": code, "message": format!("{error:#}"), "hint": hint}}));
        return;
    }
    output.note(&format!("error: {error:#}"));
    if let Some(hint) = api.map(|e| e.hint.as_str()).filter(|hint| !hint.is_empty()) {
        output.note(&format!("hint: {hint}"));
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<ExitCode> {
    let worker = std::env::current_exe().ok();
    let options = StudioOptions { home: arguments.home, model_dir: arguments.model, worker };
    let open = || Studio::open(&options).map_err(anyhow::Error::from);
    match arguments.command {
        Command::Import { source: ImportSource::Rolescape { folder, character } } => {
            let outcome = open()?.import_rolescape(&folder, character.as_deref())?;
            output.result(&outcome, || outcome.report.clone());
        }
        Command::Import { source: ImportSource::Card { paths } } => {
            let outcome = open()?.import_character_files(&paths)?;
            output.result(&outcome, || outcome.report.clone());
        }
        Command::Export { target: ExportTarget::File { character, file } } => {
            open()?.export_character(&character, &file)?;
            output.result(&json!({ "path": file }), || file.display().to_string());
        }
        Command::Export { target: ExportTarget::Rolescape { character, folder } } => {
            let written = open()?.export_rolescape(&character, &folder)?;
            output.result(&written, || {
                let left = written.left_out.iter().map(|what| format!("left out: {what}"));
                std::iter::once(written.path.clone()).chain(left).collect::<Vec<_>>().join("\n")
            });
        }
        Command::List => {
            let characters = open()?.list_characters()?;
            output.result(&characters, || list_text(&characters));
        }
        Command::Show { character } => {
            let detail = open()?.character(&character)?;
            output.result(&detail, || show_text(&detail));
        }
        Command::Validate(arguments) => return validate::validate(open, &arguments, output),
        Command::Train(arguments) => return train::train(&open()?, &arguments, output),
        Command::Pretrain { command } => {
            return pretrain::pretrain(&command, options.model_dir.as_deref(), output);
        }
        Command::EvalWorker { run } => return eval::worker(&run, output, open),
        Command::TrainWorker { run } => return train::worker(&run, output, open),
        Command::Chat(arguments) => chat::chat(&open()?, &arguments, output)?,
        Command::Draw(arguments) => chat::draw(&open()?, &arguments, output)?,
        Command::Ask(arguments) => chat::ask(&open()?, &arguments, output)?,
        Command::Eval(arguments) => return eval::eval(open, &arguments, output),
        Command::Model { action: ModelAction::Inspect { folder } } => inspect(&folder, output)?,
        Command::Model { action: ModelAction::Quantize { folder, to, out } } => {
            quantize(&folder, to, &out, output)?;
        }
        Command::Model { action: ModelAction::Compact { adapter, out } } => {
            compact(open()?.model_dir(), &adapter, &out, output)?;
        }
        Command::Model { action: ModelAction::Init { folder, out, seed } } => {
            let names = troupe_train::init::write_fresh_weights(&folder, &out, seed)
                .map_err(ApiError::from)?;
            let text = || format!("{} tensors written to {}", names.len(), out.display());
            output.result(&json!({"tensors": names.len(), "file": out}), text);
        }
        Command::Golden { folder } => {
            let passed = troupe_train::golden::run(&folder, &mut std::io::stdout())
                .with_context(|| format!("running the cases of {}", folder.display()))?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_text(characters: &[troupe_api::wire::CharacterSummary]) -> String {
    if characters.is_empty() {
        return "No characters yet. Import some with: troupe import rolescape <folder>, or troupe import card <file>".into();
    }
    let line = |c: &troupe_api::wire::CharacterSummary| {
        let marks =
            [(c.is_taught, "taught"), (c.is_bundled, "bundled"), (c.problem.is_some(), "damaged")];
        let marks: Vec<&str> = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark).collect();
        format!("{:<24} {:>3} pictures  {:<16} {}", c.name, c.num_pictures, marks.join(", "), c.id)
    };
    characters.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn show_text(detail: &troupe_api::wire::CharacterDetail) -> String {
    let draft = &detail.draft;
    let mut lines = vec![format!("{}  ({})", draft.name, detail.id)];
    let fields = [
        ("Persona", &draft.persona),
        ("Speaking style", &draft.speaking_style),
        ("Appearance", &draft.appearance),
        ("Outfit", &draft.outfit),
        ("Greeting", &draft.greeting),
        ("Licence", &detail.licence),
    ];
    for (label, text) in fields.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
        lines.push(format!("{label}: {}", text.trim()));
    }
    lines.push(format!(
        "{} pictures, {} scenes, {} questions, {} picture prompts, {} adapters",
        detail.pictures.len(),
        detail.scenes.len(),
        detail.num_questions,
        detail.num_prompts,
        detail.adapters.len()
    ));
    lines.join("\n")
}

fn quantize(
    folder: &std::path::Path,
    to: QuantFormat,
    out: &std::path::Path,
    output: &Output,
) -> Result<()> {
    let kind = match to {
        QuantFormat::Q8_0 => troupe_nn::quant::QuantKind::Q8_0,
        QuantFormat::Q4K => troupe_nn::quant::QuantKind::Q4K,
    };
    let written = troupe_model::quantize::quantize(folder, out, kind).map_err(ApiError::from)?;
    output.result(&written, || {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let types: Vec<String> = written.dtypes.iter().map(|(t, n)| format!("{t} × {n}")).collect();
        format!(
            "{}: {:.1} MB (before {:.1} MB), stored as {}",
            written.file.display(),
            megabytes(written.bytes_after),
            megabytes(written.bytes_before),
            types.join(", ")
        )
    });
    Ok(())
}

fn compact(
    model: &std::path::Path,
    adapter: &std::path::Path,
    out: &std::path::Path,
    output: &Output,
) -> Result<()> {
    let options = LoadOptions { precision: Precision::F32, ..LoadOptions::default() };
    let mut base = Model::load(model, &options).map_err(ApiError::from)?;
    let written =
        troupe_model::adapter::compact(&mut base, adapter, out).map_err(ApiError::from)?;
    output.result(&written, || {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{}: {:.1} MB (before {:.1} MB), {} differences to the base within {:.1} %",
            out.display(),
            megabytes(written.bytes_after),
            megabytes(written.bytes_before),
            written.num_differences,
            100. * written.error
        )
    });
    Ok(())
}

fn inspect(folder: &std::path::Path, output: &Output) -> Result<()> {
    let report = troupe_model::inspect::inspect(folder).map_err(ApiError::from)?;
    output.result(&report, || report.to_string());
    Ok(())
}
