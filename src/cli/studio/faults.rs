//! The families of a scenario's faults as sliders: what each stands at, and its text with another
//! number in one place. Comments and everything else of the text stay. Knows no run.

use serde_json::{Value, json};
use toml_edit::{Array, DocumentMut, Item};

/// What can be set of `[faults]`, what it means, and to what it reaches on a slider.
const FAMILIES: [(&str, Form, &str); 27] = [
    ("crash", Form::Range(20), "nodes stop, and start again"),
    ("wipe_percent", Form::Number(100), "of a hundred crashes lose the disk too"),
    ("pause", Form::Range(20), "nodes do nothing for a while"),
    ("partition", Form::Range(20), "the network is cut in two"),
    ("flap", Form::Range(20), "a node is cut off and back, five times"),
    ("one_way", Form::Range(20), "nothing passes in one direction"),
    ("clog", Form::Range(20), "what is sent is held back"),
    ("loss", Form::Range(20), "spells in which messages are lost"),
    ("loss_percent", Form::Number(100), "the most that is lost, in percent"),
    ("duplicate", Form::Range(20), "spells in which messages come twice"),
    ("delay", Form::Range(20), "spells in which messages overtake"),
    ("delay_ms", Form::Number(10_000), "the longest such delay, in ms"),
    ("reset", Form::Range(20), "connections break"),
    ("sync_error", Form::Range(10), "syncs fail"),
    ("disk_full", Form::Range(10), "disks take nothing"),
    ("clock", Form::Range(10), "clocks are off"),
    ("twin", Form::Range(10), "second processes of a node's id"),
    ("liar", Form::Range(10), "nodes that lie"),
    ("emptied", Form::Range(10), "a bad disk is emptied"),
    ("lost_log", Form::Range(10), "a bad disk's log is gone"),
    ("bit_rot", Form::Range(10), "a part of a log rots"),
    ("rollback", Form::Range(10), "a disk is an older copy"),
    ("foreign", Form::Range(10), "a log is another node's"),
    ("rolling", Form::Range(10), "all nodes restart, one by one"),
    ("rolling_ms", Form::Range(10_000), "how long each is down then, in ms"),
    ("rolling_gap_ms", Form::Range(10_000), "and the next stops after, in ms"),
    ("for_ms", Form::Range(20_000), "how long a fault lasts, in ms"),
];

/// The form of a key's value, and how far a slider goes. The text may say more.
#[derive(Clone, Copy)]
enum Form {
    /// From so many to so many.
    Range(u64),
    Number(u64),
}

/// What a text says of each family: its name, what it stands at (from, to; the same for a number),
/// how far a slider goes, and what it means.
pub(super) fn read(text: &str) -> Vec<Value> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let faults = table.get("faults").and_then(toml::Value::as_table);
    let one = |(name, form, help): &(&str, Form, &str)| {
        let said = faults.and_then(|faults| faults.get(*name));
        let number = |value: &toml::Value| value.as_integer().and_then(|n| u64::try_from(n).ok());
        let pair = said.and_then(toml::Value::as_array).and_then(|both| match &both[..] {
            [low, high] => number(low).zip(number(high)),
            _ => None,
        });
        let (is_range, most) = match form {
            Form::Range(most) => (true, *most),
            Form::Number(most) => (false, *most),
        };
        let alone = said.and_then(number).map(|number| (number, number));
        let (low, high) = if is_range { pair } else { alone }.unwrap_or((0, 0));
        json!({
            "name": name, "help": help, "is_range": is_range, "is_named": said.is_some(),
            "low": low, "high": high, "most": most.max(high),
        })
    };
    FAMILIES.iter().map(one).collect()
}

/// The text with that family at these numbers.
///
/// # Errors
/// The text is no TOML, there is no such family, or the numbers are none for it.
pub(super) fn set(text: &str, name: &str, low: u64, high: u64) -> Result<String, String> {
    let known = FAMILIES.iter().find(|(known, ..)| *known == name);
    let (_, form, _) = known.ok_or_else(|| format!("faults: there is no family {name}"))?;
    let number = |value: u64| i64::try_from(value).map_err(|_| format!("{value} is too large"));
    let (low, high) = (number(low)?, number(high)?);
    if low > high {
        return Err(format!("faults: {name}: {low} is above {high}"));
    }
    let value = match form {
        Form::Range(_) => toml_edit::Value::Array(Array::from_iter([low, high])),
        Form::Number(_) => high.into(),
    };
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("the text is no TOML: {}", error.message().replace('\n', "; "))
    })?;
    let faults = document.entry("faults").or_insert_with(toml_edit::table);
    let faults = faults.as_table_like_mut().ok_or("faults: this is no table")?;
    match faults.get_mut(name) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        _ => drop(faults.insert(name, Item::Value(value))),
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_lab::sim::fault::Ranges;

    const TEXT: &str = "# Head.\nproperties = []\n\n[faults]   # all of them\ncrash = [1, 3] # often\nloss_percent = 5\n\n[network]\n";

    #[test]
    fn one_number_changes_and_nothing_else() {
        let text = set(TEXT, "crash", 2, 7).unwrap();
        assert_eq!(text, TEXT.replace("[1, 3]", "[2, 7]"));
        let text = set(TEXT, "loss_percent", 0, 40).unwrap();
        assert_eq!(text, TEXT.replace("= 5", "= 40"));
        let text = set(TEXT, "pause", 0, 2).unwrap();
        assert_eq!(text, TEXT.replace("= 5\n", "= 5\npause = [0, 2]\n"));
        let bare = set("properties = []\n", "pause", 0, 2).unwrap();
        assert_eq!(bare, "properties = []\n\n[faults]\npause = [0, 2]\n");
        for (text, name, low, high) in [
            ("x =", "crash", 0, 1),
            (TEXT, "weather", 0, 1),
            (TEXT, "crash", 2, 1),
            (TEXT, "crash", 0, u64::MAX),
            ("faults = 3", "crash", 0, 1),
        ] {
            assert!(set(text, name, low, high).is_err(), "{text} {name}");
        }
    }

    #[test]
    fn what_a_text_says_is_read_and_what_it_does_not_say_is_nothing() {
        let said = read(TEXT);
        let of = |name: &str| said.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!((&of("crash")["low"], &of("crash")["high"]), (&json!(1), &json!(3)));
        assert_eq!(of("loss_percent")["high"], 5);
        assert_eq!((&of("pause")["is_named"], &of("pause")["high"]), (&json!(false), &json!(0)));
        assert_eq!(read("no toml").len(), FAMILIES.len());
    }

    /// Every key of `[faults]` that has a number or a range is a slider, and of no other form.
    #[test]
    fn the_sliders_are_those_of_scenarios() {
        let all = serde_json::to_value(Ranges::default()).unwrap();
        let has_none = ["always", "liar_spares", "bad_disks"];
        let keys = all.as_object().unwrap().keys().filter(|key| !has_none.contains(&key.as_str()));
        let mut keys: Vec<&str> = keys.map(String::as_str).collect();
        let mut names: Vec<&str> = FAMILIES.iter().map(|(name, ..)| *name).collect();
        keys.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, keys);
        for (name, ..) in FAMILIES {
            let text = set("", name, 0, 1).unwrap();
            let table: toml::Table = text.parse().unwrap();
            let read: Result<Ranges, _> = table["faults"].clone().try_into();
            assert!(read.is_ok(), "{text}");
        }
    }
}
