//! Where in a file a key stands, so that errors can say so. Knows TOML, not what the keys mean.

use super::ConfigError;
use crate::text::line_of;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file's text.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Checks that the text is TOML.
    pub(super) fn new(path: &Path, text: String) -> Result<Source, ConfigError> {
        let source = Source { path: path.into(), text };
        source.document()?;
        Ok(source)
    }

    /// The file as a tree that knows its places.
    pub(super) fn document(&self) -> Result<DeValue<'_>, ConfigError> {
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(DeValue::Table(table.into_inner())),
            Err(error) => Err(ConfigError {
                path: self.path.clone(),
                line: error.span().map(|span| self.line(span.start)),
                key: String::new(),
                value: None,
                rule: format!("this is no TOML: {}", error.message().replace('\n', "; ")),
            }),
        }
    }

    /// Reads the whole file into `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let document = self.document()?;
        let deserializer = toml::Deserializer::parse(&self.text);
        let read = deserializer.and_then(|deserializer| T::deserialize(deserializer));
        read.map_err(|error| self.form_error(&document, &[], &error))
    }

    /// The value at a path; numbers are places in arrays.
    pub(super) fn value<'a, 'd>(
        document: &'a DeValue<'d>,
        path: &[&str],
    ) -> Option<&'a Spanned<DeValue<'d>>> {
        let (first, rest) = path.split_first()?;
        let found = match document {
            DeValue::Table(table) => table.get(*first),
            DeValue::Array(array) => first.parse::<usize>().ok().and_then(|at| array.get(at)),
            _ => None,
        }?;
        if rest.is_empty() { Some(found) } else { Source::value(found.get_ref(), rest) }
    }

    /// An error about the value at a path; if the path has none, about the table it lacks from.
    pub(super) fn error(&self, path: &[&str], rule: String) -> ConfigError {
        let document = self.document().ok();
        let lookup =
            |path: &[&str]| document.as_ref().and_then(|document| Source::value(document, path));
        let exact = lookup(path);
        let near = exact.or_else(|| lookup(&path[..path.len().saturating_sub(1)]));
        ConfigError {
            path: self.path.clone(),
            line: near.map(|value| self.line(value.span().start)),
            key: path.join("."),
            value: exact.and_then(|value| self.snippet(value)),
            rule,
        }
    }

    /// An error of serde: finds the key by the place that it names.
    pub(super) fn form_error(
        &self,
        document: &DeValue<'_>,
        base: &[&str],
        error: &toml::de::Error,
    ) -> ConfigError {
        let rule = error.message().replace('\n', "; ");
        let Some(span) = error.span().filter(|span| !span.is_empty()) else {
            return self.error(base, rule);
        };
        let mut key = Vec::new();
        find(document, &span, &mut key);
        let value = Source::value(document, &key.iter().map(String::as_str).collect::<Vec<_>>());
        ConfigError {
            path: self.path.clone(),
            line: Some(self.line(span.start)),
            value: value.and_then(|value| self.snippet(value)),
            key: key.join("."),
            rule,
        }
    }

    fn line(&self, at: usize) -> usize {
        line_of(self.text.as_bytes(), at)
    }

    /// A value as the file has it, if it is a short one on one line, and no table's header.
    fn snippet(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = self.text.get(value.span())?;
        let short = text.len() <= MAX_SNIPPET_BYTES && !text.contains('\n');
        let is_header = match value.get_ref() {
            DeValue::Table(_) => text.starts_with('['),
            DeValue::Array(_) => text.starts_with("[["),
            _ => false,
        };
        (short && !is_header).then(|| text.to_string())
    }
}

/// Longer values would hide the rule behind them.
const MAX_SNIPPET_BYTES: usize = 80;

/// Collects the path of the key or value at `span`.
fn find(value: &DeValue<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut visit = |name: String, key: Option<Range<usize>>, child: &Spanned<DeValue<'_>>| {
        path.push(name);
        let here = key.is_some_and(covers) || covers(child.span());
        let found = find(child.get_ref(), span, path) || here;
        if !found {
            path.pop();
        }
        found
    };
    match value {
        DeValue::Table(table) => table
            .iter()
            .any(|(key, child)| visit(key.get_ref().to_string(), Some(key.span()), child)),
        DeValue::Array(array) => {
            array.iter().enumerate().any(|(place, child)| visit(place.to_string(), None, child))
        }
        _ => false,
    }
}
