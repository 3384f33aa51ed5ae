//! What came of a submission, as every form of results reads it. Knows no form.

use super::assignment::{Assignment, Task};
use super::judge::{Result, Status};
use super::points::Points;

/// A graded submission.
pub struct Report<'a> {
    /// The assignment.
    pub assignment: &'a Assignment,
    /// The submission's name.
    pub name: String,
    /// Its tasks, in the assignment's order, and what came of each.
    pub tasks: Vec<(&'a Task, Result)>,
    /// Whether values of hidden seeds are shown.
    pub reveal: bool,
}

impl Report<'_> {
    /// All its points; none where some task could not be graded: that is not the same as none.
    pub fn earned(&self) -> Option<Points> {
        let is_graded = |(_, result): &(&Task, Result)| result.status != Status::NotGraded;
        let all = self.tasks.iter().all(is_graded);
        let sum = self.tasks.iter().fold(Points::default(), |sum, (_, one)| sum + one.earned);
        all.then_some(sum)
    }

    /// The points that these tasks can give.
    pub fn most(&self) -> Points {
        self.tasks.iter().fold(Points::default(), |sum, (task, _)| sum + task.most())
    }

    /// 0 all points, 1 not all, 2 not graded.
    pub fn code(&self) -> u8 {
        match self.earned() {
            None => 2,
            Some(earned) if earned == self.most() => 0,
            Some(_) => 1,
        }
    }
}

/// A task's reasons, or that there is none, in lines.
pub fn output(result: &Result) -> String {
    match (result.reasons.is_empty(), result.status) {
        (true, status) => status.word().to_string(),
        (false, Status::Passed) => result.reasons.join("\n"),
        (false, status) => format!("{}: {}", status.word(), result.reasons.join("\n")),
    }
}
