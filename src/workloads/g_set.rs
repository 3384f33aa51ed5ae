//! The workload `g-set`: a set that only grows. Its checker is that of `broadcast`.

use crate::broadcast::Elements;
use crate::crew::Crew;
use node_lab::hosted::Program;
use node_lab::study::{Cast, Clients, Property, Study};

/// The study.
pub struct GSet;

crate::settings! {
    /// `[workload] kind = "g-set"`.
    Settings {}
}

impl Study for GSet {
    type Protocol = Program;
    const NAME: &'static str = "g-set";
    type Settings = Settings;
    const PROPERTIES: &'static [Property] = &[];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        let asks = Elements { kind: "add", key: "element", ..Elements::default() };
        Crew::clients(Self::NAME, settings.pace(), cast, asks)
    }
}
