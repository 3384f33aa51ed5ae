//! Reading runs of the lottery.

use super::*;
use node_lab::study::read_lines;

#[test]
fn reads_a_lottery_and_refuses_one_that_cannot_have_been() {
    let read = |text: &str| {
        let mut run = Run::default();
        let taken = read_lines(text.as_bytes(), crate::registry().studies(), &mut run);
        taken.map(|_| run).map_err(|error| error.to_string())
    };
    let error = |text: &str| read(text).unwrap_err();
    let good = r#"{"agencies":2,"winning_number":7574,"draws":[9],"files":[{"at_ns":0,"text":""}],
        "asks":[{"agency":2,"ask":{"bets":{"batch":1,"bets":[]}},"invoke_ns":5,
        "answer":{"at_ns":7,"told":{"stored":0}}},
        {"agency":1,"ask":"finished","invoke_ns":5,"answer":null}]}"#;
    let good = good.replace('\n', "");
    let lottery = |text: &str| Known::of(&read(text).unwrap()).lottery.clone().unwrap();
    let whole = lottery(&good);
    assert_eq!((whole.asks.len(), whole.files.len()), (2, 1));
    assert_eq!(serde_json::to_value(&whole).unwrap(), good.parse::<serde_json::Value>().unwrap());
    assert_eq!(lottery(&format!("{good}\n{good}")).asks.len(), 4);
    assert!(error(&good.replace("\"at_ns\":7", "\"at_ns\":4")).contains("before what was asked"));
    assert!(error(&good.replace("\"agency\":2", "\"agency\":3")).contains("no such agency"));
    assert!(error(&good.replace("\"draws\":[9],", "")).contains("missing field `draws`"));
}
