//! Files that users write: configs, scenarios and plans.

use super::Input;
use node_lab::config::Config;
use node_lab::registry::Registry;
use node_lab::sim::plan::Plan;
use node_lab::sim::scenario::Scenario;
use std::path::Path;

thread_local! {
    static REGISTRY: Registry = node_studies::registry();
}

/// The first byte says what the text is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (what, seed) = (input.byte(), input.byte());
    let Ok(text) = str::from_utf8(input.rest()) else { return };
    REGISTRY.with(|registry| match what % 3 {
        0 => config(text, registry),
        1 => scenario(text, seed.into(), registry),
        _ => plan(text),
    });
}

/// What is shown of a config is one that says the same.
fn config(text: &str, registry: &Registry) {
    let path = Path::new("node.toml");
    match Config::parse(path, text.into(), registry) {
        Ok(config) => {
            let shown = config.show();
            let again = Config::parse(path, shown.clone(), registry);
            let again = again.unwrap_or_else(|error| panic!("{error}, in what is shown:\n{shown}"));
            assert_eq!(again.show(), shown);
        }
        Err(error) => drop(error.to_string()),
    }
}

/// What a seed makes of a scenario is a plan of it, and is read as it was written.
fn scenario(text: &str, seed: u64, registry: &Registry) {
    let load = &mut |path: &Path| {
        let name = path.to_str().unwrap_or_default();
        let found = NODES.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| format!("{name}: there is no such file"))?;
        Config::parse(path, (*text).into(), registry).map_err(|error| error.to_string())
    };
    let Ok(scenario) = Scenario::parse(Path::new("scenario.toml"), text, registry, None, load)
    else {
        return;
    };
    let plan = scenario.plan(seed);
    assert_eq!(scenario.check(&plan), Ok(()), "a plan of the scenario's own");
    scenario.draw_clocks(seed);
    let text = toml::to_string(&plan).expect("a plan is TOML");
    assert_eq!(toml::from_str(&text).as_ref(), Ok(&plan), "{text}");
}

fn plan(text: &str) {
    let Ok(plan) = toml::from_str::<Plan>(text) else { return };
    let text = toml::to_string(&plan).expect("a plan is TOML");
    assert_eq!(toml::from_str(&text).as_ref(), Ok(&plan), "{text}");
    for fault in &plan.faults {
        let _ = (fault.name(), fault.nodes(), fault.excess());
    }
}

macro_rules! nodes {
    ($($name:literal),* $(,)?) => {
        /// The configs that scenarios can name.
        const NODES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../configs/", $name)))),*];
    };
}

nodes![
    "kv-leader.toml",
    "kv-follower-2.toml",
    "kv-disk/node-1.toml",
    "kv-disk/node-2.toml",
    "clocks/node-1.toml",
    "clocks/node-2.toml",
    "clocksync/server.toml",
    "election/node-1.toml",
    "election/node-2.toml",
    "lottery/central.toml",
    "membership/reference.toml",
    "membership/server-1.toml",
    "board/broker.toml",
    "board/proxy.toml",
    "board/reference.toml",
    "board/server-1.toml",
];
