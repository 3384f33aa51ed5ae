//! The scenarios show what they say.

use node_lab::config::Config;
use node_lab::sim::try_scenario;

/// The bar of the example: 500 seeds find it, and what is left of it is small and names the two.
#[test]
fn a_token_that_is_only_late_lets_two_in() {
    let report = try_scenario("configs/sim/naive.toml", ring::registry(), 1..=500);
    let report = report.expect("the scenario is right");
    assert!(report.is_as_promised(), "{report}");
    let found = report.finding("mutual_exclusion").expect("some seed shows it");
    assert!(found.plan.faults.len() <= 2, "{report}");
    assert!(found.why.starts_with("nodes ") && found.why.contains(" both inside"), "{report}");
}

#[test]
fn with_consent_no_two_get_in_and_the_token_comes_back() {
    let report = try_scenario("configs/sim/mended.toml", ring::registry(), 1..=500);
    let report = report.expect("the scenario is right");
    assert!(report.is_as_promised(), "{report}");
}

#[test]
fn a_lost_token_is_made_anew() {
    let report = try_scenario("configs/sim/lost.toml", ring::registry(), 1..=20);
    let report = report.expect("the scenario is right");
    assert!(report.is_as_promised(), "{report}");
}

/// What a node must not forget needs a folder to be kept in.
#[test]
fn a_node_that_persists_needs_a_folder() {
    let text = std::fs::read_to_string("configs/mended.toml").expect("a config");
    let bare = text.replace("data_dir = \"run/ring/data-1\"\n", "");
    let parse = |text: String| Config::parse("ring.toml".as_ref(), text, &ring::registry());
    assert!(parse(text).is_ok());
    let error = parse(bare).expect_err("there is no folder").to_string();
    assert!(error.contains("set data_dir under [node]"), "{error}");
}
