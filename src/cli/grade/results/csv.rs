//! Rows for a class: the same bytes for the same results, so no times.

use crate::cli::grade::assignment::Task;
use crate::cli::grade::judge::Status;
use crate::cli::grade::report::Report;

/// The first row: columns of tasks go by their ids.
pub fn head(tasks: &[&Task]) -> String {
    let mut columns = vec!["submission".to_string(), "score".into(), "max".into()];
    for task in sorted(tasks) {
        columns.push(task.id.clone());
        columns.push(format!("{} status", task.id));
    }
    line(&columns)
}

/// A submission's row. What could not be graded has no number.
pub fn row(report: &Report<'_>) -> String {
    let score = report.earned().map_or_else(String::new, |earned| earned.to_string());
    let mut cells = vec![report.name.clone(), score, report.most().to_string()];
    let mut tasks: Vec<_> = report.tasks.iter().collect();
    tasks.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    for (_, result) in tasks {
        let is_graded = result.status != Status::NotGraded;
        cells.push(if is_graded { result.earned.to_string() } else { String::new() });
        cells.push(result.status.word().into());
    }
    line(&cells)
}

fn sorted<'a>(tasks: &[&'a Task]) -> Vec<&'a Task> {
    let mut tasks = tasks.to_vec();
    tasks.sort_by(|one, other| one.id.cmp(&other.id));
    tasks
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|one| cell(one)).collect();
    format!("{}\n", cells.join(","))
}

/// A cell of RFC 4180. One that a table program would compute is text: names are students'.
fn cell(text: &str) -> String {
    let computes = text.starts_with(['=', '+', '-', '@', '\t']);
    let text = if computes { format!("'{text}") } else { text.to_string() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_text() {
        assert_eq!(cell("ada"), "ada");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}
