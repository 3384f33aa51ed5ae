//! What clients ask, step by step, where nothing is drawn: `PUT 2`, `GET 3`, `GET 3 k1`,
//! `WAIT 500`.

use serde::{Deserialize, Deserializer, de::Error};

/// What a client does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// An operation.
    Ask(Asks),
    /// Nothing, for so many milliseconds.
    Wait(u64),
}

/// An operation of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asks {
    /// Whether it is a PUT.
    pub put: bool,
    /// The server's id.
    pub node: u32,
    /// The key's number.
    pub key: u64,
}

impl Step {
    /// The operation, if it is one.
    pub fn asks(self) -> Option<Asks> {
        match self {
            Step::Ask(asks) => Some(asks),
            Step::Wait(_) => None,
        }
    }

    /// How many milliseconds it takes by itself.
    pub fn millis(self) -> u64 {
        match self {
            Step::Ask(_) => 0,
            Step::Wait(millis) => millis,
        }
    }

    fn parse(text: &str) -> Option<Step> {
        let mut words = text.split(' ');
        let put = match words.next()? {
            "PUT" => true,
            "GET" => false,
            "WAIT" => {
                let millis = words.next()?.parse().ok()?;
                return words.next().is_none().then_some(Step::Wait(millis));
            }
            _ => return None,
        };
        let node = words.next()?.parse().ok()?;
        let key = match words.next() {
            Some(key) => key.strip_prefix('k')?.parse().ok()?,
            None => 0,
        };
        words.next().is_none().then_some(Step::Ask(Asks { put, node, key }))
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        let text = String::deserialize(deserializer)?;
        Step::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "script: {text:?} is no operation: write PUT or GET, a server's id, and a key if it is \
                 not k0, as \"GET 3 k1\"; or a pause in milliseconds, as \"WAIT 500\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_it_is_written_as() {
        let step = |put, node, key| Some(Step::Ask(Asks { put, node, key }));
        assert_eq!(Step::parse("PUT 2"), step(true, 2, 0));
        assert_eq!(Step::parse("GET 3 k7"), step(false, 3, 7));
        assert_eq!(Step::parse("WAIT 500"), Some(Step::Wait(500)));
        for wrong in ["WAIT", "WAIT x", "WAIT 5 k0", "WAIT -1"] {
            assert_eq!(Step::parse(wrong), None, "{wrong}");
        }
        for wrong in ["", "PUT", "put 2", "GET x", "GET 3 7", "GET 3 k7 k8", "GET  3"] {
            assert_eq!(Step::parse(wrong), None, "{wrong}");
        }
    }
}
