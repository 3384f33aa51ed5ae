//! JUnit's XML, as continuous integration reads it. Two elements deep: a crate would not be
//! shorter.

use crate::cli::grade::judge::Status;
use crate::cli::grade::report::{Report, output};

/// The file.
pub fn write(report: &Report<'_>) -> String {
    let count = |of: &dyn Fn(Status) -> bool| {
        report.tasks.iter().filter(|(_, result)| of(result.status)).count()
    };
    let errors = count(&|one| one == Status::NotGraded);
    let failures = count(&|one| one != Status::NotGraded && one != Status::Passed);
    let (title, tests) = (escaped(&report.assignment.title), report.tasks.len());
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{title}\" {counts}>\n"
    );
    for (task, result) in &report.tasks {
        let class = escaped(&report.name);
        text.push_str(&format!("    <testcase name=\"{}\" classname=\"{class}\"", task.id));
        let tag = match result.status {
            Status::Passed => {
                text.push_str("/>\n");
                continue;
            }
            Status::NotGraded => "error",
            Status::Partial | Status::Failed | Status::OutOfTime => "failure",
        };
        let (word, why) = (result.status.word(), escaped(&output(result)));
        let points = format!("{} of {} points", result.earned, task.most());
        text.push_str(&format!(
            ">\n      <{tag} message=\"{word}, {points}\">{why}</{tag}>\n    </testcase>\n"
        ));
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// For an element or an attribute; what XML cannot have becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '&' => all.push_str("&amp;"),
            '"' => all.push_str("&quot;"),
            '\n' | '\t' => all.push(c),
            '\u{fffe}' | '\u{ffff}' => all.push('\u{fffd}'),
            c if c.is_control() => all.push('\u{fffd}'),
            c => all.push(c),
        }
    }
    all
}
