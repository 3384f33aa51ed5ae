//! Whether a node takes part in elections, from what it runs. Knows the facts that elections are
//! about, and no protocol.

use node_lab::check::timeline::Running;
use node_protocols::core::FactKind;
use node_protocols::facts::{Coordinator, Rank};

/// What makes a node the coordinator, if it can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Elects {
    /// It takes no part: nothing that it runs publishes who coordinates.
    No,
    /// Its id; also what is assumed of a node of which nothing says what it runs.
    #[default]
    Id,
    /// Its rank, which what elects there needs: it takes part from when it has published its own.
    Rank,
}

impl Elects {
    /// What a node that runs this goes by.
    pub fn of(runs: &[Running]) -> Elects {
        let publishes = |one: &&Running| one.publishes(FactKind::of::<Coordinator>());
        match runs.iter().find(publishes) {
            None if runs.is_empty() => Elects::Id,
            None => Elects::No,
            Some(elector) if elector.needs(FactKind::of::<Rank>()) => Elects::Rank,
            Some(_) => Elects::Id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_lab::config::Config;
    use std::path::Path;

    /// What shipped configs run, as their nodes' starts say it.
    #[test]
    fn a_node_elects_that_runs_what_publishes_a_coordinator_and_by_rank_if_that_needs_one() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let registry = crate::registry();
        let elects = |name: &str| {
            let config = Config::load(&configs.join(name), &registry).expect("a config");
            let host = config.host(&registry, &config.env(1, 1, 1)).expect("it builds");
            Elects::of(&Running::all_on(&host))
        };
        assert_eq!(elects("election/node-1.toml"), Elects::Id);
        assert_eq!(elects("board/server-1.toml"), Elects::Rank);
        assert_eq!(elects("membership/reference.toml"), Elects::No);
        assert_eq!(Elects::of(&[]), Elects::Id);
    }
}
