//! `[[checker]]`: properties of a scenario's own, each judged by a program of any language. It
//! reads a run's history as JSON lines and answers with one line of JSON: what is none is never
//! "held".
//!
//! ```text
//!   {"run":1,"scenario":…,"seed":…,"nodes":[…],"clients":…}      the head
//!   {"op":0,"client":…,"node":…,"protocol":…,"request":…,"reply":…,"invoke_ns":…,"return_ns":…}
//!   {"fact":…,"node":…,"at_ns":…,"value":…}                      and {"start":…}, {"down":…}
//!   {"end":true}                 ──►  {"verdict":"held"|"violated"|"unknown","run":1,…}
//! ```
//!
//! One process judges many runs where its answers say of which run they are; see [`process`].

mod history;
mod process;

use self::process::{Answer, Program, Word};
use super::plan::Known;
use crate::registry::Registry;
use crate::study::{Needs, Property, Run, Verdict, Violation};
use node_core::Escaped;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A table `[[checker]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    name: String,
    command: Vec<String>,
    /// How long it may take for one run, in milliseconds of real time.
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
}

fn default_timeout_ms() -> u64 {
    10_000
}

/// Each has a process for each thread that runs seeds.
pub(super) const MAX_CHECKERS: usize = 8;
/// Longer ones fill a line of a verdict.
const MAX_NAME: usize = 64;
/// Whoever waits longer for one run's verdict shrinks nothing.
const MAX_TIMEOUT_MS: u64 = 600_000;
/// The most that is shown of what a program says, in characters.
const MAX_WHY: usize = 400;

/// A property of a scenario's own.
#[derive(Debug)]
pub struct Checker {
    property: &'static Property,
    program: Program,
}

/// What a program is told of a run beside it.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub scenario: &'a Path,
    pub registry: &'a Registry,
    pub known: Known,
    /// See [`Clients::has_finals`](crate::study::Clients::has_finals).
    pub has_finals: bool,
}

impl Checker {
    /// Checks what a scenario says; its program runs in the scenario's folder.
    ///
    /// # Errors
    /// Which key breaks which rule, in one line.
    pub(super) fn new(
        settings: Settings,
        scenario: &Path,
        registry: &Registry,
    ) -> Result<Checker, String> {
        let Settings { name, command, timeout_ms } = settings;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
            return Err(format!("name: 1 to {MAX_NAME} of a to z, 0 to 9 and _"));
        }
        if registry.property(&name).is_some() {
            return Err(format!("{name}: there is already a property of that name"));
        }
        if command.first().is_none_or(String::is_empty) {
            return Err(format!("{name}: command: name a program and its arguments"));
        }
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            return Err(format!("{name}: timeout_ms is 1 to {MAX_TIMEOUT_MS}"));
        }
        let folder = scenario.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).map_err(|error| format!("{name}: {error}"))?;
        let timeout = Duration::from_millis(timeout_ms);
        Ok(Checker { property: property(&name), program: Program { folder, command, timeout } })
    }

    /// As everything else that is asked of a run.
    pub fn property(&self) -> &'static Property {
        self.property
    }

    /// What the program says of a run.
    pub(super) fn judge(&self, run: &Run, beside: Beside<'_>) -> Verdict {
        let head = history::head(run, beside);
        let lines = history::lines(run, beside);
        match process::ask(&self.program, head, &lines) {
            Ok(answer) => verdict(answer, run.operations.len()),
            Err(why) => Verdict::Undecided { why: clipped(&why) },
        }
    }
}

/// What an answer means.
fn verdict(answer: Answer, operations: usize) -> Verdict {
    if let Some(place) = answer.operations.iter().find(|place| **place >= operations) {
        let why = format!("it names operation {place}, and the run has {operations}");
        return Verdict::Undecided { why };
    }
    let why = match answer.why.as_str() {
        "" => "its program does not say why".into(),
        why => clipped(why),
    };
    match answer.verdict {
        Word::Held => Verdict::Held,
        Word::Violated => Verdict::Violated(Violation::of(answer.operations, why)),
        Word::Unknown => Verdict::Unknown { why },
    }
}

/// One line, never with raw bytes.
fn clipped(why: &str) -> String {
    let end = why.char_indices().nth(MAX_WHY).map_or(why.len(), |(end, _)| end);
    let more = if end < why.len() { "…" } else { "" };
    format!("{}{more}", Escaped(&why.as_bytes()[..end]))
}

/// The property of that name. Properties live as long as the program: this one is made once,
/// however often scenarios with it are loaded.
fn property(name: &str) -> &'static Property {
    static KNOWN: Mutex<BTreeMap<String, &'static Property>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name.into()).or_insert_with(|| {
        Box::leak(Box::new(Property {
            name: Box::leak(name.into()),
            statement: "what the program of the scenario's [[checker]] says",
            source: "the scenario",
            needs: Needs::OPERATIONS.and(Needs::NODES),
            bounds: &[],
            is_promised: true,
            missing: |_| None,
            shows: |_| true,
            judge: |_| Verdict::Undecided { why: "only its scenario knows its program".into() },
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Asked;
    use node_core::protocol_tag;
    use std::path::PathBuf;

    /// A checker that is a script of the shell, which reads `run` and `ops` of each run.
    fn shell(verdict: &str, timeout_ms: u64) -> Checker {
        let script = format!(
            "ops=0; while read -r line; do case $line in \
               *'\"run\":'*) run=${{line#*\\\"run\\\":}}; run=${{run%%,*}};; \
               *'\"op\":'*) ops=$((ops+1));; \
               *'\"end\":true'*) {verdict}; ops=0;; esac; done"
        );
        let command = vec!["sh".into(), "-c".into(), script];
        let settings = Settings { name: "shell".into(), command, timeout_ms };
        Checker::new(settings, Path::new("x.toml"), &crate::testing::registry()).unwrap()
    }

    fn run() -> Run {
        let mut run = Run::default();
        let place = run.ask(Asked {
            client: 1,
            connection: 1,
            sequence: 1,
            tag: protocol_tag("echo"),
            is_seen_at_node: false,
            node: Some(2),
            is_twin: false,
            at_ns: 5,
            request: &[1, b'a'],
        });
        run.answer(place, 9, &[1, b'b']);
        run
    }

    fn judge(checker: &Checker, run: &Run) -> Verdict {
        let registry = crate::testing::registry();
        let known = Known { seed: Some(7), clients: Some(1) };
        let scenario = Path::new("x.toml");
        checker.judge(run, Beside { scenario, registry: &registry, known, has_finals: false })
    }

    /// Ten seconds are for a machine that is busy: nothing here waits for them.
    const LONG: u64 = 10_000;

    #[test]
    fn an_answer_is_the_verdict_and_a_process_that_names_its_run_judges_many() {
        let held = shell(r#"echo "{\"verdict\":\"held\",\"run\":$run}""#, LONG);
        assert_eq!(judge(&held, &run()), Verdict::Held);
        // The number of the run counts those of one process.
        let choose = "if [ $run = 3 ]; then v=violated; else v=unknown; fi;";
        let tell = r#""{\"verdict\":\"$v\",\"why\":\"run $run\",\"run\":$run,\"operations\":[0]}""#;
        let second = shell(&format!("{choose} echo {tell}"), LONG);
        for n in 1..=3 {
            let expected = match n {
                3 => Verdict::Violated(Violation::of(vec![0], "run 3".into())),
                n => Verdict::Unknown { why: format!("run {n}") },
            };
            assert_eq!(judge(&second, &run()), expected);
        }
        let anew =
            shell(r#"echo "{\"verdict\":\"unknown\",\"why\":\"run $run, $ops ops\"}""#, LONG);
        for _ in 0..2 {
            assert_eq!(judge(&anew, &run()), Verdict::Unknown { why: "run 1, 1 ops".into() });
        }
    }

    #[test]
    fn a_process_that_ends_between_runs_is_started_again() {
        let once = r#"echo "{\"verdict\":\"held\",\"run\":$run}"; exit 0"#;
        let once = shell(once, LONG);
        for _ in 0..3 {
            assert_eq!(judge(&once, &run()), Verdict::Held);
        }
    }

    #[test]
    fn anything_else_is_undecided_with_its_reason() {
        let held = r#"echo "{\"verdict\":\"held\"}""#;
        for (verdict, reason) in [
            ("echo held", "no verdict"),
            ("echo '[]'", "no verdict"),
            (r#"echo '["held","",[],null]'"#, "no verdict"),
            ("echo", "no verdict"),
            (r#"echo '{"verdict":"maybe"}'"#, "no verdict"),
            (r#"echo '{"verdict":"held","x":1}'"#, "unknown field `x`"),
            (r#"echo '{"verdict":"held","run":9}'"#, "run 9"),
            (r#"echo '{"verdict":"violated","operations":[1]}'"#, "operation 1"),
            ("exit 0", "without a verdict"),
            ("echo oh dear >&2; exit 3", "exit status: 3 without a verdict: oh dear"),
            (&format!("{held}; exit 4"), "exit status: 4 after its verdict"),
            (&format!("{held}; {held}"), "says more"),
            ("head -c 2000000 /dev/zero | tr '\\0' x", "1048576 bytes"),
        ] {
            let said = judge(&shell(verdict, LONG), &run());
            let Verdict::Undecided { why } = &said else { panic!("{verdict}: {said:?}") };
            assert!(why.contains(reason), "{verdict}: {why}");
        }
        let silent = judge(&shell("sleep 100", 50), &run());
        assert_eq!(silent, Verdict::Undecided { why: "no verdict within 50 ms".into() });
        let settings = |command: &str| Settings {
            name: "none".into(),
            command: vec![command.into()],
            timeout_ms: LONG,
        };
        let registry = crate::testing::registry();
        let none = Checker::new(settings("./no-such-program"), Path::new("x.toml"), &registry);
        let said = judge(&none.unwrap(), &run());
        assert!(matches!(&said, Verdict::Undecided { why } if why.contains("no-such")), "{said:?}");
    }

    #[test]
    fn a_program_that_reads_nothing_blocks_nobody() {
        let mut long = Run::default();
        for _ in 0..5_000 {
            long.ask(Asked {
                client: 1,
                connection: 1,
                sequence: 1,
                tag: protocol_tag("echo"),
                is_seen_at_node: false,
                node: None,
                is_twin: false,
                at_ns: 5,
                request: &[1, b'a'],
            });
        }
        let command = vec!["sleep".into(), "100".into()];
        let settings = Settings { name: "deaf".into(), command, timeout_ms: 50 };
        let deaf = Checker::new(settings, Path::new("x.toml"), &crate::testing::registry());
        let said = judge(&deaf.unwrap(), &long);
        assert_eq!(said, Verdict::Undecided { why: "no verdict within 50 ms".into() });
    }

    #[test]
    fn what_a_program_says_reaches_no_console_raw() {
        let answer = |why: &str| Answer {
            verdict: Word::Unknown,
            why: why.into(),
            operations: Vec::new(),
            run: None,
        };
        let said = verdict(answer("a\n\u{1b}[2J"), 0);
        assert_eq!(said, Verdict::Unknown { why: "a\\n\\u{1b}[2J".into() });
        let Verdict::Unknown { why } = verdict(answer(&"é".repeat(1_000)), 0) else { panic!() };
        assert_eq!(why.chars().count(), MAX_WHY + 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let registry = crate::testing::registry();
        for (name, command, timeout_ms, why) in [
            ("", "x", 1, "name"),
            ("A b", "x", 1, "name"),
            ("a", "", 1, "command"),
            ("a", "x", 0, "timeout_ms"),
        ] {
            let settings =
                Settings { name: name.into(), command: vec![command.into()], timeout_ms };
            let error = Checker::new(settings, &PathBuf::from("x"), &registry).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(std::ptr::eq(property("same"), property("same")));
    }
}
