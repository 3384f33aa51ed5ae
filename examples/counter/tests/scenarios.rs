//! The scenarios show what they say.

use node_lab::sim::try_scenario;

#[test]
fn nothing_is_lost_while_no_node_crashes() {
    let report = try_scenario("configs/sim/holds.toml", counter::registry(), 1..=200);
    let report = report.expect("the scenario is right");
    assert!(report.is_as_promised(), "{report}");
}

#[test]
fn a_crash_loses_a_share() {
    let report = try_scenario("configs/sim/crash.toml", counter::registry(), 1..=50);
    let report = report.expect("the scenario is right");
    assert!(report.is_as_promised(), "{report}");
    let found = report.finding("total_equals_acknowledged_adds").expect("some seed shows it");
    assert_eq!(found.plan.faults.len(), 1, "{report}");
}
