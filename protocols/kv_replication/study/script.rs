//! What clients ask, step by step, where nothing is drawn: `PUT 2`, `GET 3`, `GET 3 k1`.

use serde::{Deserialize, Deserializer, de::Error};

/// An operation of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Whether it is a PUT.
    pub put: bool,
    /// The server's id.
    pub node: u32,
    /// The key's number.
    pub key: u64,
}

impl Step {
    fn parse(text: &str) -> Option<Step> {
        let mut words = text.split(' ');
        let put = match words.next()? {
            "PUT" => true,
            "GET" => false,
            _ => return None,
        };
        let node = words.next()?.parse().ok()?;
        let key = match words.next() {
            Some(key) => key.strip_prefix('k')?.parse().ok()?,
            None => 0,
        };
        words.next().is_none().then_some(Step { put, node, key })
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Step, D::Error> {
        let text = String::deserialize(deserializer)?;
        Step::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "script: {text:?} is no operation: write PUT or GET, a server's id, and a key if it is \
                 not k0, as \"GET 3 k1\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_it_is_written_as() {
        let step = |put, node, key| Some(Step { put, node, key });
        assert_eq!(Step::parse("PUT 2"), step(true, 2, 0));
        assert_eq!(Step::parse("GET 3 k7"), step(false, 3, 7));
        for wrong in ["", "PUT", "put 2", "GET x", "GET 3 7", "GET 3 k7 k8", "GET  3"] {
            assert_eq!(Step::parse(wrong), None, "{wrong}");
        }
    }
}
