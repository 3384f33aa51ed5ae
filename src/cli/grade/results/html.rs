//! One page for people: each task, what failed, the smallest plan found, and how to have it again.

use crate::cli::grade::assignment::Task;
use crate::cli::grade::judge::{Found, Result, Status};
use crate::cli::grade::report::Report;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
h2{border-top:1px solid #ccc;padding-top:.5em}pre{background:#f4f4f4;padding:.7em;overflow-x:auto;\
white-space:pre-wrap}.passed{color:#17692b}.failed,.not{color:#a01818}.partial,.out{color:#8a5a00}";

/// The page. `page` says where the page of a task's failure is, if there is one.
pub fn write(report: &Report<'_>, page: &dyn Fn(&Task) -> Option<String>) -> String {
    let title = format!("{}: {}", report.assignment.title, report.name);
    let score = match report.earned() {
        Some(earned) => format!("{earned} of {} points", report.most()),
        None => "not graded".into(),
    };
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\n\
         <style>{STYLE}</style>\n<h1>{0}</h1>\n<p><b>{score}</b></p>\n",
        escaped(&title)
    );
    for (task, result) in &report.tasks {
        one(task, result, report.reveal, page(task), &mut text);
    }
    text.push_str("</html>\n");
    text
}

fn one(task: &Task, result: &Result, reveal: bool, page: Option<String>, text: &mut String) {
    let (word, earned, most) = (result.status.word(), result.earned, task.most());
    text.push_str(&format!(
        "<h2 id=\"{0}\">{0}: <span class=\"{word}\">{word}</span>, {earned} of {most}</h2>\n",
        task.id
    ));
    for reason in &result.reasons {
        text.push_str(&format!("<pre>{}</pre>\n", escaped(reason)));
    }
    let Some(found) = &result.failure else { return };
    if result.status != Status::Passed {
        plan(task, found, reveal, text);
    }
    if let Some(page) = page {
        let page = escaped(&page);
        text.push_str(&format!("<p><a href=\"{page}\">What happened, step by step</a></p>\n"));
    }
}

fn plan(task: &Task, found: &Found, reveal: bool, text: &mut String) {
    if let Some((plan, failed)) = &found.small {
        let faults = &found.faults;
        let faults = if faults.is_empty() { "no fault".into() } else { faults.join("\n") };
        let (clients, operations) = (plan.clients, plan.operations);
        text.push_str(&format!(
            "<p>The smallest run found that breaks {}: {clients} clients, {operations} operations \
             each, and</p>\n<pre>{}</pre>\n",
            escaped(&failed.property),
            escaped(&faults),
        ));
    }
    let again = match (found.seed.is_open(reveal), &found.small) {
        (true, Some(_)) => format!("node sim --replay pages/{}.toml --bin YOUR_PROGRAM", task.id),
        (true, None) => {
            let (scenario, seed) = (task.scenario.display(), found.seed.value);
            format!("node sim {scenario} --seed {seed} --bin YOUR_PROGRAM")
        }
        (false, _) => "the seed is hidden: try other seeds, node sim … --seeds 1..1000".into(),
    };
    text.push_str(&format!("<p>Again: <code>{}</code></p>\n", escaped(&again)));
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
