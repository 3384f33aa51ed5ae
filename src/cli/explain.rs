//! `node explain`.

use super::output::Output;
use super::tell;
use super::verify::judge_traces;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Command, ValueEnum};
use node_lab::explain::slice::{Around, Asked, cut};
use node_lab::explain::{Error, Merged, RunTable, Source, html, merge, shiviz, text};
use node_lab::registry::Registry;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what happened in a run: a page with a space-time diagram, or text
///
/// Give it the trace of a simulated run (node sim --trace), or those of all real nodes of a
/// cluster (--trace of each): they are merged by cause and effect first, then by the wall clock,
/// then by Lamport value.
///
///   node explain run.jsonl -o run.html
///   node explain n1.jsonl n2.jsonl n3.jsonl --format text | less
///
/// The page is one file that needs no network; its address may end in #event=N, and follows what
/// is shown. For ShiViz (--format shiviz) upload the file as it is: its first line is the parser
/// expression, its second the empty delimiter, and each event then has two lines,
/// "host {vector clock}" and what happened.
///
/// Of a run of more than --events events the page shows the part around the first violation and
/// what it rests on, or the end where there is none, and counts the rest; --around shows another:
///
///   node explain run.jsonl -o part.html --around 12.5s
///   node explain run.jsonl -o part.html --around 1200000 --events 50000
///
/// With --table NAME a table that a protocol's study draws up of the run:
///
///   node explain n1.jsonl n2.jsonl n3.jsonl n4.jsonl --table elections
///
/// Traces of real nodes are judged as node verify judges them without a scenario: what is violated
/// is an event of the page, with what shows it. For a scenario's properties and bounds, and for
/// traces of more than 64 MB, it is node verify --explain that draws the page.
///
/// Exit codes: 0 when it was written, 1 when it cannot be, a trace cannot be read or a line of it
/// is broken, 2 for a wrong command line.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExplainArgs {
    /// The traces
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,

    /// Where to write; standard output when it is not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,

    /// Show the part around an event, by its number, or a time (12.5s, 300ms)
    #[arg(long, value_name = "EVENT|TIME", value_parser = parse_around)]
    around: Option<Around>,

    /// How many events a page shows at most
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    events: usize,

    /// Show this table of the run instead
    #[arg(long, conflicts_with = "format", value_name = "NAME")]
    table: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page with a space-time diagram
    Html,
    /// Columns: time, node, Lamport value, kind, detail
    Text,
    /// A log for ShiViz, with its parser expression
    Shiviz,
}

/// An event's number, or a time after the run's beginning.
fn parse_around(text: &str) -> Result<Around, String> {
    let wrong = || "neither an event's number nor a time such as 12.5s or 300ms".to_string();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => return digits.parse().map(Around::Event).map_err(|_| wrong()),
        "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => return Err(wrong()),
    };
    let amount: f64 = digits.parse().map_err(|_| wrong())?;
    // What is beyond the run is its end.
    if amount >= 0.0 { Ok(Around::Time((amount * unit) as u64)) } else { Err(wrong()) }
}

/// The command with the names of a registry's tables, which its help lists.
pub fn with_tables(command: Command, registry: &Registry) -> Command {
    let name = |table: &RunTable| PossibleValue::new(table.name).help(table.help);
    let names = PossibleValuesParser::new(registry.tables().iter().map(name));
    command.mut_arg("table", |arg| arg.value_parser(names))
}

/// Traces of so many bytes at most are judged before they are shown: larger ones would keep who
/// wants to see them waiting, and `node verify --explain` judges them.
const MAX_JUDGED: usize = 64 << 20;

/// Does it.
pub fn run(args: ExplainArgs, registry: &Registry) -> ExitCode {
    let table = registry.tables().iter().find(|one| args.table.as_deref() == Some(one.name));
    let is_page = args.format == Format::Html && table.is_none();
    if args.output.is_none() && is_page && Output::is_terminal() {
        tell!("node: a page does not belong on a terminal: give -o FILE, or --format text");
        return ExitCode::from(2);
    }
    let mut out = Output::default();
    let code = match explain(&args, registry, table, &mut out) {
        Ok(()) => 0,
        Err(error) => {
            tell!("node: {error}");
            1
        }
    };
    ExitCode::from(out.end("node explain", code, 1))
}

/// What a page shows of a run, which is told; the other forms have all of it.
fn part<'a>(
    run: Merged<'a>,
    args: &ExplainArgs,
    table: Option<&RunTable>,
) -> (Merged<'a>, html::Extras) {
    if table.is_some() || args.format != Format::Html {
        return (run, html::Extras::default());
    }
    let traces = args.traces.iter().map(|file| file.display().to_string());
    let quoted = |name: String| if name.contains(' ') { format!("'{name}'") } else { name };
    let traces: Vec<String> = traces.map(quoted).collect();
    let command = format!("node explain {} -o part.html", traces.join(" "));
    let asked = Asked { around: args.around, events: args.events, command: &command };
    let (run, part) = cut(run, &asked);
    if let Some(part) = &part {
        tell!("node: {} Another part: --around EVENT|TIME, more: --events N", part.says);
    }
    (run, html::Extras { part, ..html::Extras::default() })
}

fn explain(
    args: &ExplainArgs,
    registry: &Registry,
    table: Option<&RunTable>,
    stdout: &mut Output,
) -> Result<(), Error> {
    let sources: Vec<Source> =
        args.traces.iter().map(|file| Source::load(file)).collect::<Result<_, _>>()?;
    let mut run = merge(&sources)?;
    for note in &run.notes {
        tell!("node: note: {}", node_protocols::core::Escaped(note.as_bytes()));
    }
    // A simulated run's trace says itself what was violated.
    let size: usize = sources.iter().map(|source| source.text.len()).sum();
    if table.is_none() && !run.source.contains("sim") && size <= MAX_JUDGED {
        judge_traces(&args.traces, registry, &mut run);
    }
    let (run, extras) = part(run, args, table);
    let write = |out: &mut dyn Write| {
        let mut out = BufWriter::new(out);
        match (table, args.format) {
            (Some(table), _) => (table.write)(&run, &mut out)?,
            (None, Format::Html) => html::write_with(&run, &extras, &mut out)?,
            (None, Format::Text) => text::write(&run, &mut out)?,
            (None, Format::Shiviz) => shiviz::write(&run, &mut out)?,
        }
        out.flush()
    };
    match &args.output {
        Some(file) => File::create(file)
            .and_then(|mut opened| write(&mut opened))
            .map_err(|error| Error::Io(file.display().to_string(), error)),
        None => match write(stdout) {
            // The output remembers it itself.
            Err(_) if stdout.error().is_some() => Ok(()),
            written => written.map_err(|error| Error::Io("standard output".into(), error)),
        },
    }
}
