//! What the grader asks of a worker, and what that answers: JSON over pipes that no submission
//! holds.

use super::launch::Confines;
use node_lab::hosted;
use node_lab::sim::plan::Plan;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a worker has to do: one task of one submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The scenario: a file, or a name of one that comes with the binary.
    pub scenario: PathBuf,
    /// What is judged.
    pub program: Program,
    /// What its nodes may use.
    pub limits: hosted::Limits,
    /// What the worker and all that it starts may use.
    pub confines: Confines,
    /// Measures and the most that they may be.
    pub measures: Vec<(String, u64)>,
    /// What is to be done.
    pub work: Work,
}

/// What is judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Program {
    /// The nodes of the scenario are processes of it.
    Hosted {
        /// The program.
        bin: PathBuf,
        /// Whose it is.
        user: Option<u32>,
    },
    /// It simulates by itself and writes a trace, which is judged.
    Traced {
        /// The program: the teacher's `main.rs` with the submission's package.
        bin: PathBuf,
        /// Whose it is.
        user: Option<u32>,
        /// A folder of that user.
        folder: PathBuf,
    },
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Run seeds.
    Seeds {
        /// In this order.
        seeds: Vec<u64>,
        /// Whether the first that fails is the last.
        until_failure: bool,
        /// How often each; most of them decide.
        repeats: u32,
    },
    /// Make a failure small, and write its trace.
    Explain {
        /// The seed that fails.
        seed: u64,
        /// The property that it breaks.
        property: String,
        /// How long that may take.
        seconds: u64,
        /// Where the trace goes.
        trace: PathBuf,
    },
}

/// A line of a worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// A seed is over.
    Ran(Ran),
    /// A failure is as small as it was made.
    Explained {
        /// What fails.
        plan: Plan,
        /// Its faults, for people.
        faults: Vec<String>,
        /// How.
        failure: Failed,
    },
    /// That failure did not show again.
    Gone,
    /// The worker cannot do it: nobody's verdict.
    Cannot(String),
    /// All is done.
    Done,
}

/// What a seed showed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// What broke.
    pub failure: Option<Failed>,
    /// What nobody could decide or see.
    pub undecided: Vec<String>,
    /// Which properties held.
    pub held: Vec<String>,
    /// Of which there was no evidence, and what it lacks.
    pub lacks: Vec<(String, String)>,
    /// What came of the measures, in their order.
    pub measured: Vec<Measured>,
}

/// What broke.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// The property, or what else a run can break.
    pub property: String,
    /// In one line.
    pub why: String,
    /// When, in nanoseconds of the run.
    pub at_ns: u64,
}

/// What came of a measure in a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Measured {
    /// It is small enough.
    Kept,
    /// It is too large.
    Exceeded(String),
    /// There was nothing to measure.
    Nothing(String),
}

impl Failed {
    /// Whether it is that the program needed more real time than a turn has: on a slower or busier
    /// machine any program does.
    pub fn is_of_time(&self) -> bool {
        self.property == PROGRAM && self.why.contains("(turn_ms)")
    }
}

/// What a run names that ends because of its program.
pub const PROGRAM: &str = "program";
