//! `node properties`: what there is to hold a run against. Says of each property what its study
//! says, and nothing else: the tables of `docs/` are printed here too.

use super::output::Output;
use super::tell;
use crate::client::escaped;
use clap::Args;
use node_lab::registry::Registry;
use node_lab::study::{Bound, Property, Unit};
use serde_json::json;
use std::process::ExitCode;

/// List the properties that runs are held against: what each says, and what it takes to judge it
///
/// A property has a name, for `properties` in scenarios and for `node verify --property`; a
/// statement; the paper or document that it comes from; what has to be seen of a run to judge it;
/// and bounds, which a scenario sets in `[bounds]`. One that is judged only when it is named is not
/// promised always: its statement says when.
///
/// Exit codes: 0, or 2 when there is no property of that name, or it cannot be printed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct PropertiesArgs {
    /// This one alone [default: all, study by study]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print a JSON array: [{"name","study","statement","source","needs","is_promised","bounds":
    /// [{"name","unit","default","statement"}]}]
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the table of docs/verifying.md, and that of bounds
    #[arg(long)]
    markdown: bool,
}

/// A study's name, and a property of it.
type Found = (&'static str, &'static Property);

/// Prints them.
pub fn run(args: &PropertiesArgs, registry: &Registry) -> ExitCode {
    let of_study = registry.studies().iter();
    let all = of_study.flat_map(|study| study.judged().map(|one| (study.name, one)));
    let is_meant = |(_, one): &Found| args.name.as_ref().is_none_or(|name| name == one.name);
    let found: Vec<Found> = all.filter(is_meant).collect();
    if found.is_empty()
        && let Some(name) = &args.name
    {
        let all: Vec<&str> = registry.properties().map(|one| one.name).collect();
        let (name, all) = (escaped(name.as_bytes()), all.join(", "));
        tell!("node: properties {name}: no such property; there are {all}");
        return ExitCode::from(2);
    }
    let text = if args.json {
        let all: Vec<_> = found.iter().map(as_json).collect();
        format!("{}\n", json!(all))
    } else if args.markdown {
        as_markdown(&found)
    } else {
        as_text(&found)
    };
    let mut out = Output::default();
    out.say(format_args!("{}", text.trim_end()));
    ExitCode::from(out.end("node properties", 0, 2))
}

const fn unit(bound: &Bound) -> &'static str {
    match bound.unit {
        Unit::Millis => "ms",
        Unit::Micros => "us",
        Unit::Plain => "",
    }
}

/// `10000 ms`.
fn default_of(bound: &Bound) -> String {
    format!("{} {}", bound.default, unit(bound)).trim_end().to_string()
}

fn as_json((study, one): &Found) -> serde_json::Value {
    let bound = |bound: &Bound| {
        json!({
            "name": bound.name,
            "unit": unit(bound),
            "default": bound.default,
            "statement": bound.statement,
        })
    };
    json!({
        "name": one.name,
        "study": study,
        "statement": one.statement,
        "source": one.source,
        "needs": one.needs.names(),
        "is_promised": one.is_promised,
        "bounds": one.bounds.iter().map(bound).collect::<Vec<_>>(),
    })
}

fn as_text(found: &[Found]) -> String {
    let mut text = String::new();
    let mut last = "";
    for (study, one) in found {
        if last != *study {
            let gap = if last.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{study}\n");
            last = study;
        }
        text += &format!("\n  {}\n    {}\n", one.name, one.statement);
        text +=
            &format!("    source: {}\n    needs: {}\n", one.source, one.needs.names().join(", "));
        for bound in one.bounds {
            let (name, default) = (bound.name, default_of(bound));
            text += &format!("    bound: {name}, {default} unless set: {}\n", bound.statement);
        }
        if !one.is_promised {
            text += "    judged only when it is named\n";
        }
    }
    text
}

fn as_markdown(found: &[Found]) -> String {
    let mut text = String::from(
        "| property | of | statement | needs | bounds | source |\n|---|---|---|---|---|---|\n",
    );
    let mut bounds: Vec<&Bound> = Vec::new();
    for (study, one) in found {
        let named: Vec<String> = one.bounds.iter().map(|one| format!("`{}`", one.name)).collect();
        let mark = if one.is_promised { "" } else { " *" };
        text += &format!(
            "| `{}`{mark} | {study} | {} | {} | {} | {} |\n",
            one.name,
            one.statement,
            one.needs.names().join(", "),
            named.join(", "),
            one.source,
        );
        for bound in one.bounds {
            if !bounds.contains(&bound) {
                bounds.push(bound);
            }
        }
    }
    text += "\n| bound | default | what is held against it |\n|---|---|---|\n";
    for bound in bounds {
        text += &format!("| `{}` | {} | {} |\n", bound.name, default_of(bound), bound.statement);
    }
    text
}
