//! The form of the document's lines.

use crate::core::WallTime;
use ::core::fmt::{self, Write};

/// A line of an agency.
pub struct Line<'a> {
    /// When.
    pub time: WallTime,
    /// `info` or `error`.
    pub level: &'a str,
    /// What it was about.
    pub action: &'a str,
    /// `success`, `fail` or `in_progress`.
    pub result: &'a str,
    /// What else there is to say.
    pub fields: &'a [(&'a str, Value<'a>)],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { time, level, action, result, fields } = self;
        write!(f, "time=\"{time}\" level={level} msg=\"action: {action} | result: {result}")?;
        for (name, value) in *fields {
            write!(f, " | {name}: {value}")?;
        }
        f.write_char('"')
    }
}

/// What stands behind a name in a line.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// Documents, in their order.
    Documents(&'a [u64]),
    /// Fit for a terminal.
    Text(&'a str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => number.fmt(f),
            Value::Documents(documents) => {
                f.write_char('[')?;
                for (place, document) in documents.iter().enumerate() {
                    let space = if place == 0 { "" } else { " " };
                    write!(f, "{space}{document}")?;
                }
                f.write_char(']')
            }
            // It stands in quotes.
            Value::Text(text) => text.chars().try_for_each(|c| match c {
                '"' | '\\' => write!(f, "\\{c}"),
                _ => f.write_char(c),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn shown(fields: &[(&str, Value<'_>)]) -> alloc::string::String {
        let time = WallTime::from_millis(1_711_418_173_000);
        Line { time, level: "info", action: "consulta_ganadores", result: "success", fields }
            .to_string()
    }

    #[test]
    fn lines_have_the_documents_form() {
        let start = "time=\"2024-03-26 01:56:13\" level=info msg=\"action: consulta_ganadores | result: success";
        let client = ("client_id", Value::Number(1));
        let winners = |documents: &'static [u64]| {
            let count = Value::Number(documents.len() as u64);
            [client, ("cant_ganadores", count), ("dni_ganadores", Value::Documents(documents))]
        };
        assert_eq!(
            shown(&winners(&[30_876_370, 24_807_259])),
            format!(
                "{start} | client_id: 1 | cant_ganadores: 2 | dni_ganadores: [30876370 24807259]\""
            )
        );
        assert_eq!(
            shown(&winners(&[])),
            format!("{start} | client_id: 1 | cant_ganadores: 0 | dni_ganadores: []\"")
        );
        let error = ("error", Value::Text("no \"x\" in C:\\"));
        assert_eq!(
            shown(&[client, error]),
            format!("{start} | client_id: 1 | error: no \\\"x\\\" in C:\\\\\"")
        );
    }
}
