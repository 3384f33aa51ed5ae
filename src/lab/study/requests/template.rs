//! A request with places that are drawn anew each time it is made: JSON in which a string that
//! begins with `$` stands for a value. Knows no protocol.

use node_core::Rng;
use serde_json::{Map, Value};

/// A request, and what is drawn in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template(Part);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Fixed(Value),
    Drawn(Drawn),
    List(Vec<Part>),
    Object(Vec<(String, Part)>),
}

/// What a string that begins with `$` stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Drawn {
    /// `$int(LOW,HIGH)`: a number, both included.
    Int { low: i64, high: i64 },
    /// `$key(N)`: one of `"k0"` to `"kN-1"`.
    Key(u64),
    /// `$pick(A,B)`: one of these strings.
    Pick(Vec<String>),
    /// `$unique`: a string that no other request of the run has, `"CLIENT-OPERATION"`.
    Unique,
    /// `$serial`: a number that no other request of the run has.
    Serial,
    /// `$client`: the client's number.
    Client,
}

/// Whose request it is: from 0, and which of the client's, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asker {
    pub client: u32,
    pub operation: u32,
}

/// The numbers of one client's requests are so far from those of the next one's.
pub(super) const MAX_OPERATIONS: u32 = 1_000_000;

/// Why there is none.
const FORMS: &str = "write $int(LOW,HIGH), $key(N), $pick(A,B), $unique, $serial or $client; a \
                     string that begins with $ itself begins with $$";

impl Template {
    /// Reads the JSON of a request.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Template(part(value)?))
    }

    /// The request, drawn.
    pub(super) fn fill(&self, rng: &mut Rng, asker: Asker) -> Value {
        fill(&self.0, &mut |drawn| match drawn {
            Drawn::Int { low, high } => {
                let wide = high.wrapping_sub(*low) as u64;
                let more = match wide.checked_add(1) {
                    Some(numbers) => rng.below(numbers),
                    None => rng.next_u64(),
                };
                low.wrapping_add(more as i64).into()
            }
            Drawn::Key(keys) => key(rng.below(*keys)),
            Drawn::Pick(texts) => texts[rng.below(texts.len() as u64) as usize].as_str().into(),
            drawn => drawn.by(asker),
        })
    }

    /// Requests that are decodable only if all are that can be drawn, as far as types go: the
    /// lowest and the highest of each value, and each text of a choice.
    pub(super) fn samples(&self, last: Asker) -> Vec<Value> {
        let first = Asker { client: 0, operation: 1 };
        let sample = |place: usize| {
            let (is_low, asker) = (place == 0, if place == 0 { first } else { last });
            fill(&self.0, &mut |drawn| match drawn {
                Drawn::Int { low, high } => (if is_low { *low } else { *high }).into(),
                Drawn::Key(keys) => key(if is_low { 0 } else { keys - 1 }),
                Drawn::Pick(texts) => texts[place.min(texts.len() - 1)].as_str().into(),
                drawn => drawn.by(asker),
            })
        };
        (0..choices(&self.0).max(2)).map(sample).collect()
    }
}

impl Drawn {
    /// What follows from who asks; the others are drawn.
    fn by(&self, Asker { client, operation }: Asker) -> Value {
        match self {
            Drawn::Unique => format!("{client}-{operation}").into(),
            Drawn::Serial => {
                (u64::from(client) * u64::from(MAX_OPERATIONS) + u64::from(operation)).into()
            }
            Drawn::Client => client.into(),
            Drawn::Int { .. } | Drawn::Key(_) | Drawn::Pick(_) => Value::Null,
        }
    }

    fn parse(text: &str) -> Result<Drawn, String> {
        let wrong = || format!("${text}: {FORMS}");
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => {
                let inside = rest.strip_suffix(')').ok_or_else(wrong)?;
                (name, inside.split(',').map(str::trim).collect::<Vec<&str>>())
            }
            None => (text, Vec::new()),
        };
        match (name, &arguments[..]) {
            ("int", [low, high]) => match (low.parse(), high.parse()) {
                (Ok(low), Ok(high)) if low <= high => Ok(Drawn::Int { low, high }),
                _ => Err(wrong()),
            },
            ("key", [keys]) => match keys.parse() {
                Ok(keys @ 1..) => Ok(Drawn::Key(keys)),
                _ => Err(wrong()),
            },
            ("pick", [_, ..]) => Ok(Drawn::Pick(arguments.into_iter().map(Into::into).collect())),
            ("unique", []) => Ok(Drawn::Unique),
            ("serial", []) => Ok(Drawn::Serial),
            ("client", []) => Ok(Drawn::Client),
            _ => Err(wrong()),
        }
    }
}

fn key(number: u64) -> Value {
    format!("k{number}").into()
}

fn part(value: Value) -> Result<Part, String> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('$') {
            None => Part::Fixed(text.into()),
            Some(rest) if rest.starts_with('$') => Part::Fixed(rest.into()),
            Some(rest) => Part::Drawn(Drawn::parse(rest)?),
        },
        Value::Array(values) => Part::List(values.into_iter().map(part).collect::<Result<_, _>>()?),
        Value::Object(object) => {
            let pairs = object.into_iter().map(|(key, value)| Ok((key, part(value)?)));
            Part::Object(pairs.collect::<Result<_, String>>()?)
        }
        value => Part::Fixed(value),
    })
}

fn fill(part: &Part, draw: &mut dyn FnMut(&Drawn) -> Value) -> Value {
    match part {
        Part::Fixed(value) => value.clone(),
        Part::Drawn(drawn) => draw(drawn),
        Part::List(parts) => parts.iter().map(|part| fill(part, draw)).collect(),
        Part::Object(pairs) => {
            let pairs = pairs.iter().map(|(key, part)| (key.clone(), fill(part, draw)));
            Value::Object(pairs.collect::<Map<String, Value>>())
        }
    }
}

/// How many texts the longest choice has.
fn choices(part: &Part) -> usize {
    match part {
        Part::Drawn(Drawn::Pick(texts)) => texts.len(),
        Part::Drawn(_) | Part::Fixed(_) => 0,
        Part::List(parts) => parts.iter().map(choices).max().unwrap_or(0),
        Part::Object(pairs) => pairs.iter().map(|(_, part)| choices(part)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn what_begins_with_a_dollar_is_drawn_and_the_rest_stays() {
        let text = r#"{"put":{"key":"$key(2)","n":"$int(-1,1)","v":"$unique","s":"$serial",
            "c":"$client","p":["$pick(a, b)",7,null,"$$x"]}}"#;
        let template = Template::parse(text).unwrap();
        let mut rng = Rng::stream(1, "template");
        let asker = Asker { client: 3, operation: 4 };
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let value = template.fill(&mut rng, asker);
            let put = &value["put"];
            assert_eq!(
                (&put["v"], &put["s"], &put["c"]),
                (&json!("3-4"), &json!(3_000_004), &json!(3))
            );
            assert_eq!(
                (&put["p"][1], &put["p"][2], &put["p"][3]),
                (&json!(7), &json!(null), &json!("$x"))
            );
            seen.insert(format!("{} {} {}", put["key"], put["n"], put["p"][0]));
        }
        assert_eq!(seen.len(), 2 * 3 * 2, "{seen:?}");
        let samples = template.samples(asker);
        let numbers: Vec<&Value> = samples.iter().map(|one| &one["put"]["n"]).collect();
        assert_eq!(numbers, [&json!(-1), &json!(1)]);
    }

    #[test]
    fn all_numbers_can_be_drawn_and_each_text_of_a_choice_is_a_sample() {
        let template = Template::parse(&format!(r#""$int({},{})""#, i64::MIN, i64::MAX)).unwrap();
        let mut rng = Rng::stream(1, "wide");
        let asker = Asker { client: 0, operation: 1 };
        let numbers: Vec<i64> =
            (0..9).filter_map(|_| template.fill(&mut rng, asker).as_i64()).collect();
        assert!(numbers.iter().any(|n| *n < 0) && numbers.iter().any(|n| *n > 0), "{numbers:?}");
        let choice = Template::parse(r#"["$pick(a,b,c)","$pick(d,e)"]"#).unwrap();
        let all = [json!(["a", "d"]), json!(["b", "e"]), json!(["c", "e"])];
        assert_eq!(choice.samples(asker), all);
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for wrong in
            ["$", "$int", "$int(1)", "$int(2,1)", "$int(1,2", "$int(1,x)", "$key(0)", "$x(1)"]
        {
            let error = Template::parse(&json!({ "a": [wrong] }).to_string()).unwrap_err();
            assert!(error.contains(wrong) && error.contains("$int(LOW,HIGH)"), "{error}");
        }
        assert!(Template::parse("{").is_err());
    }
}
