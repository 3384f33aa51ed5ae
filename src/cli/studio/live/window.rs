//! The last events of all traces together, and the verdicts on them. What came before is not there,
//! so what it could explain is unknown, and never violated.

use super::follow::{Context, Follow, Kept, MAX_LINES};
use crate::cli::page::judge;
use node_lab::explain::{Merged, Source};
use node_lab::registry::Registry;
use node_lab::study::{Needs, Property, Run, Verdict};
use node_lab::trace::Line;
use node_lab::trace::history::Traces;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Parts of traces, one for each.
pub(super) struct Window {
    pub sources: Vec<Source>,
    /// When it begins, in nanoseconds; none when it has all that there was.
    pub from: Option<u64>,
    /// When its last event was.
    pub to: u64,
    /// How many events it has.
    pub events: usize,
}

impl Window {
    /// The last `most` events.
    pub fn last<'a>(follows: impl Iterator<Item = (&'a str, &'a Follow)>, most: usize) -> Window {
        let follows: Vec<(&str, &Follow)> = follows.collect();
        let most = most.clamp(1, MAX_LINES);
        let mut times: Vec<u64> =
            follows.iter().flat_map(|(_, one)| one.lines.iter().map(|line| line.at)).collect();
        let is_cut = times.len() > most || follows.iter().any(|(_, one)| one.past.is_some());
        times.sort_unstable();
        // Of no trace there is anything missing after that.
        let whole = follows.iter().filter(|(_, one)| one.past.is_some());
        let whole = whole.filter_map(|(_, one)| one.lines.front()).map(|line| line.at).max();
        let from = times.len().checked_sub(most).and_then(|place| times.get(place)).copied();
        let from = is_cut.then(|| from.unwrap_or(0).max(whole.unwrap_or(0)));
        let mut events = 0;
        let sources = follows.iter().filter_map(|(name, one)| {
            let head = one.head.clone()?;
            Some(Source { name: (*name).into(), text: part(one, head, from, &mut events) })
        });
        Window { sources: sources.collect(), from, to: times.last().copied().unwrap_or(0), events }
    }

    /// The verdicts on it, as the table shows them.
    ///
    /// # Errors
    /// It cannot be judged, in one line.
    pub fn judge(&self, registry: &Registry) -> Result<Vec<Value>, String> {
        let told = |(property, verdict): (&Property, Verdict)| {
            let (word, why) = match verdict {
                Verdict::Held => ("held", None),
                Verdict::Unknown { why } | Verdict::Undecided { why } => ("unknown", Some(why)),
                Verdict::Violated(found) => ("violated", Some(found.why)),
            };
            json!({"property": property.name, "statement": property.statement,
                   "verdict": word, "why": why})
        };
        Ok(self.judged(registry)?.verdicts.into_iter().map(told).collect())
    }

    /// Adds the verdicts to its page, where it can be judged.
    pub fn add_to(&self, page: &mut Merged<'_>, registry: &Registry) {
        if let Ok(Judged { run, begin, verdicts }) = self.judged(registry) {
            judge(page, &run, begin, &verdicts);
        }
    }

    fn judged(&self, registry: &Registry) -> Result<Judged, String> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.verdicts(registry)));
        judged.unwrap_or_else(|_| Err("a checker gave up".into()))
    }

    fn verdicts(&self, registry: &Registry) -> Result<Judged, String> {
        let (mut traces, mut run) = (Traces::default(), Run::default());
        for Source { name, text } in &self.sources {
            traces.read(text.as_bytes(), &mut run).map_err(|why| format!("{name}: {why}"))?;
        }
        let begin = traces.begin();
        traces.finish(&mut run);
        let is_meant = |one: &&'static Property| one.is_promised && (one.shows)(&run);
        let verdicts = registry.properties().filter(is_meant).map(|property| {
            let verdict = (property.judge)(&run).told(&run, || registry.json_forms());
            (property, self.doubt(property, verdict, begin))
        });
        let verdicts = verdicts.collect();
        Ok(Judged { run, begin, verdicts })
    }

    /// What was before the window may explain what it shows.
    fn doubt(&self, property: &Property, verdict: Verdict, begin: u64) -> Verdict {
        let Verdict::Violated(found) = &verdict else { return verdict };
        let rests_on_all = [Needs::OPERATIONS, Needs::FILES, Needs::REPLICAS];
        let is_doubtful = self.from.is_some_and(|from| {
            rests_on_all.iter().any(|needs| property.needs.contains(*needs))
                || found.at.is_none_or(|at| begin.saturating_add(at) < from)
        });
        if !is_doubtful {
            return verdict;
        }
        let why = format!("{}; or what was before the window explains it", found.why);
        Verdict::Undecided { why }
    }
}

/// What was found out of a window: times of the run are from `begin` on.
struct Judged {
    run: Run,
    begin: u64,
    verdicts: Vec<(&'static Property, Verdict)>,
}

/// What a window has of a trace: what holds at its beginning, and what comes then.
fn part(follow: &Follow, head: String, from: Option<u64>, events: &mut usize) -> String {
    let mut context: Context = follow.past.clone().unwrap_or_default();
    let from = from.unwrap_or(0);
    let is_before = |kept: &&Kept| kept.at < from;
    for kept in follow.lines.iter().take_while(is_before) {
        if let Ok(line) = serde_json::from_str::<Line<'_>>(&kept.text) {
            context.take(&line, kept);
        }
    }
    let mut text = head;
    text.push('\n');
    let past = context.lines().into_iter();
    for kept in past.chain(follow.lines.iter().skip_while(is_before).inspect(|_| *events += 1)) {
        text.push_str(&kept.text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client 2 does not read what client 1 has PUT.
    const STALE: &str = r#"{"at":0,"kind":"run","source":"clients","scenario":"x","nodes":[1,2]}
{"at":10,"kind":"invoke","op":"1-1","client":1,"to":1,"protocol":"kv_replication","label":"{\"put\":{\"key\":\"k\",\"value\":\"v\"}}"}
{"at":25,"kind":"return","op":"1-1","label":"{\"put_ok\":{\"timestamp\":7}}"}
{"at":30,"kind":"invoke","op":"2-1","client":2,"to":2,"protocol":"kv_replication","label":"{\"get\":{\"key\":\"k\"}}"}
{"at":35,"kind":"return","op":"2-1","label":"{\"null\":{}}"}
"#;

    #[test]
    fn what_may_have_been_before_a_window_is_in_doubt() {
        let registry = node_studies::registry();
        let judged = |from| {
            let sources = vec![Source { name: "clients".into(), text: STALE.into() }];
            let verdicts = Window { sources, from, to: 35, events: 4 }.judge(&registry).unwrap();
            let of = |one: &&Value| one["property"] == "regular_register";
            verdicts.iter().find(of).expect("it is promised")["verdict"].clone()
        };
        assert_eq!(judged(None), "violated");
        assert_eq!(judged(Some(5)), "unknown");
    }

    #[test]
    fn the_last_events_of_all_traces_are_a_window() {
        let folder = tempfile::tempdir().unwrap();
        let follow = |id: u64| {
            let path = folder.path().join(format!("{id}.jsonl"));
            let run = r#"{"at":0,"kind":"run","source":"node","scenario":"x","nodes":[1,2]}"#;
            let start = format!(r#"{{"at":{id},"node":{id},"kind":"start","incarnation":1}}"#);
            let line = |at: u64| {
                format!("{{\"at\":{at},\"node\":{id},\"kind\":\"sync\",\"bytes\":1,\"ok\":true}}\n")
            };
            let lines: String = (1..=5).map(|n| line(10 * n + id)).collect();
            std::fs::write(&path, format!("{run}\n{start}\n{lines}")).unwrap();
            let mut follow = Follow::new(path);
            follow.read_on().unwrap();
            follow
        };
        let both = [("one", follow(1)), ("two", follow(2))];
        let window = |most| Window::last(both.iter().map(|(name, one)| (*name, one)), most);
        let all = window(100);
        assert_eq!((all.from, all.to, all.events), (None, 52, 12));
        let last = window(3);
        assert_eq!((last.from, last.to, last.events), (Some(42), 52, 3));
        // Each knows that its node has started.
        for source in &last.sources {
            assert_eq!(source.text.matches("start").count(), 1, "{}", source.text);
        }
        let shown: usize = last.sources.iter().map(|one| one.text.matches("sync").count()).sum();
        assert_eq!(shown, 3);
    }
}
