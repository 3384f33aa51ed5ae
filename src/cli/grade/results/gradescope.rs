//! Gradescope's `results.json`.

use crate::cli::grade::judge::Status;
use crate::cli::grade::report::{Report, output};
use serde_json::json;

/// The file. Where something could not be graded there is no score: Gradescope then says that the
/// autograder failed, and reads no zero.
pub fn write(report: &Report<'_>) -> String {
    let tests = report.tasks.iter().map(|(task, result)| {
        let is_graded = result.status != Status::NotGraded;
        let is_passed = result.status == Status::Passed;
        json!({
            "name": task.id,
            "number": task.id,
            "score": is_graded.then(|| result.earned.number()),
            "max_score": task.most().number(),
            "status": if is_passed { "passed" } else { "failed" },
            "visibility": task.visibility.word(),
            "output": output(result),
        })
    });
    let mut all = json!({
        "stdout_visibility": "hidden",
        "tests": tests.collect::<Vec<_>>(),
    });
    match report.earned() {
        Some(earned) => all["score"] = earned.number().into(),
        None => all["output"] = "It could not be graded: tell your teacher.".into(),
    }
    format!("{all:#}\n")
}
