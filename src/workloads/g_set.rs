//! The workload `g-set`: a set that only grows. Its checker is that of `broadcast`.

use crate::broadcast::{Elements, of_sets};
use crate::crew::Crew;
use crate::set;
use node_lab::hosted::Program;
use node_lab::study::{Cast, Clients, Property, Study};

/// The study.
pub struct GSet;

crate::settings! {
    /// `[workload] kind = "g-set"`.
    Settings {}
}

fn missing(cast: &Cast<'_>) -> Option<String> {
    const RUN: &str = "the scenario say [workload] kind = \"g-set\"";
    cast.lacks_clients(GSet::NAME, "clients of a set", RUN)
}

/// Whether nothing is lost.
pub const G_SET_DELIVERS: Property = of_sets(
    "g_set_delivers",
    "an element whose addition was acknowledged, or that was read, is in all reads that begin late \
     enough, and in every node's last",
    missing,
    |run| set::adds(run, "add"),
    set::delivers,
);
/// Whether nothing comes from nowhere.
pub const G_SET_NO_PHANTOMS: Property = of_sets(
    "g_set_no_phantoms",
    "a read of a set shows nothing that nobody had added, and nothing that was refused",
    missing,
    |run| set::adds(run, "add"),
    set::no_phantoms,
);
/// Whether nothing is there twice.
pub const G_SET_NO_DUPLICATES: Property = of_sets(
    "g_set_no_duplicates",
    "a read of a set shows nothing twice",
    missing,
    |run| set::adds(run, "add"),
    set::no_duplicates,
);

impl Study for GSet {
    type Protocol = Program;
    const NAME: &'static str = "g-set";
    type Settings = Settings;
    const PROPERTIES: &'static [Property] =
        &[G_SET_DELIVERS, G_SET_NO_PHANTOMS, G_SET_NO_DUPLICATES];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        let asks = Elements { kind: "add", key: "element", ..Elements::default() };
        Crew::clients(Self::NAME, settings.pace(), cast, asks)
    }
}
