//! Subjects, as NATS has them: words parted by dots. Who subscribes may leave words open, `*` for
//! one and a last `>` for one or more. Knows what is kept by subject, and finds what a topic
//! belongs to without looking at all of it.

use ::core::ops::Bound::{Included, Unbounded};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

/// Whether it stands for several topics.
pub(super) fn is_pattern(subject: &str) -> bool {
    subject.split('.').next_back() == Some(">") || subject.split('.').any(|word| word == "*")
}

/// Whether NATS has such a topic: no word is empty, and none is left open.
pub(super) fn is_literal(subject: &str) -> bool {
    subject.split('.').all(|word| !matches!(word, "" | "*" | ">"))
}

/// Whether NATS has such a subscription: no word is empty, and `>` is the last.
pub(super) fn is_subject(subject: &str) -> bool {
    let mut words = subject.split('.');
    words.next_back() != Some("") && words.all(|word| !matches!(word, "" | ">"))
}

/// What is kept by subject.
pub(super) struct Subjects<T> {
    topics: BTreeMap<Arc<str>, T>,
    patterns: BTreeMap<Arc<str>, T>,
}

impl<T> Default for Subjects<T> {
    fn default() -> Self {
        Subjects { topics: BTreeMap::new(), patterns: BTreeMap::new() }
    }
}

impl<T: Default> Subjects<T> {
    fn side(&mut self, subject: &str) -> &mut BTreeMap<Arc<str>, T> {
        if is_pattern(subject) { &mut self.patterns } else { &mut self.topics }
    }

    /// What is kept under this very subject.
    pub(super) fn subject(&self, subject: &str) -> Option<&T> {
        let side = if is_pattern(subject) { &self.patterns } else { &self.topics };
        side.get(subject)
    }

    /// What is kept under this very subject.
    pub(super) fn get_mut(&mut self, subject: &str) -> Option<&mut T> {
        self.side(subject).get_mut(subject)
    }

    /// The subject's one name, and what is kept under it: something new, if nothing was.
    pub(super) fn entry(&mut self, subject: &str) -> (Arc<str>, &mut T) {
        let side = self.side(subject);
        let name = side.get_key_value(subject).map(|(name, _)| Arc::clone(name));
        let name = name.unwrap_or_else(|| subject.into());
        (Arc::clone(&name), side.entry(name).or_default())
    }

    pub(super) fn remove(&mut self, subject: &str) {
        self.side(subject).remove(subject);
    }

    /// All that is kept, in a fixed order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.topics.values().chain(self.patterns.values())
    }

    /// What is kept under the topic itself.
    pub(super) fn topic(&self, topic: &str) -> Option<&T> {
        self.topics.get(topic)
    }

    /// The topic's one name, and what is kept under it.
    pub(super) fn topic_entry(&self, topic: &str) -> Option<(&Arc<str>, &T)> {
        self.topics.get_key_value(topic)
    }

    /// Calls `found` for each pattern that stands for this topic, in a fixed order. `path` is a
    /// buffer.
    pub(super) fn each_pattern(
        &self,
        topic: &str,
        path: &mut String,
        found: &mut impl FnMut(&Arc<str>, &T),
    ) {
        if !self.patterns.is_empty() {
            path.clear();
            self.walk(path, topic, found);
        }
    }

    /// Goes on behind the words in `path`. Only where there are patterns it goes further: however
    /// many words a topic has, no part of a pattern is looked at twice.
    fn walk(&self, path: &mut String, rest: &str, found: &mut impl FnMut(&Arc<str>, &T)) {
        let at = path.len();
        path.push('>');
        self.find(path, found);
        path.truncate(at);
        let (word, after) = match rest.split_once('.') {
            Some((word, after)) => (word, Some(after)),
            None => (rest, None),
        };
        for word in [Some(word), (word != "*").then_some("*")].into_iter().flatten() {
            path.push_str(word);
            match after {
                // A last `>` was looked for.
                None if word == ">" => {}
                None => self.find(path, found),
                Some(after) => {
                    path.push('.');
                    let next =
                        self.patterns.range::<str, _>((Included(&path[..]), Unbounded)).next();
                    if next.is_some_and(|(name, _)| name.starts_with(&path[..])) {
                        self.walk(path, after, found);
                    }
                }
            }
            path.truncate(at);
        }
    }

    fn find(&self, path: &str, found: &mut impl FnMut(&Arc<str>, &T)) {
        if let Some((name, value)) = self.patterns.get_key_value(path) {
            found(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    /// Word by word, as NATS' documentation has it.
    fn stands_for(pattern: &str, topic: &str) -> bool {
        let (mut patterns, mut words) = (pattern.split('.').peekable(), topic.split('.'));
        while let Some(pattern) = patterns.next() {
            let Some(word) = words.next() else { return false };
            match pattern {
                ">" if patterns.peek().is_none() => return true,
                "*" => {}
                pattern if pattern == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    #[test]
    fn exactly_the_patterns_that_stand_for_a_topic_are_found_and_each_once() {
        let words = ["a", "b", "*", ">", ""];
        let mut all: Vec<String> = words.map(String::from).into();
        for length in 1..4 {
            let shorter: Vec<String> =
                all.iter().filter(|one| one.split('.').count() == length).cloned().collect();
            all.extend(
                shorter.iter().flat_map(|one| words.map(|word| alloc::format!("{one}.{word}"))),
            );
        }
        let patterns: Vec<&String> = all.iter().filter(|one| is_pattern(one)).collect();
        let mut subjects = Subjects::<()>::default();
        for pattern in &patterns {
            subjects.entry(pattern);
        }
        let mut path = String::new();
        for topic in &all {
            let mut found = Vec::new();
            subjects.each_pattern(topic, &mut path, &mut |name, ()| found.push(name.to_string()));
            found.sort_unstable();
            let mut expected: Vec<String> = patterns
                .iter()
                .filter(|pattern| stands_for(pattern, topic))
                .map(|pattern| (*pattern).clone())
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{topic}");
        }
    }

    #[test]
    fn what_nats_takes_is_told_from_what_it_does_not() {
        for (subject, subscribes, publishes) in [
            ("a", true, true),
            ("a.b*.>c", true, true),
            ("$SYS.REQ", true, true),
            ("*", true, false),
            (">", true, false),
            ("a.*.>", true, false),
            ("a.>.b", false, false),
            (">.a", false, false),
            ("a..b", false, false),
            (".a", false, false),
            ("a.", false, false),
            ("a..>", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_subject(subject), subscribes, "{subject}");
            assert_eq!(is_literal(subject), publishes, "{subject}");
        }
        assert!(["*", ">", "a.*", "*.a", "a.>"].iter().all(|one| is_pattern(one)));
        assert!(["a", "a*", ">a", "a.>.b", ""].iter().all(|one| !is_pattern(one)));
    }
}
