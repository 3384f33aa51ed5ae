//! Files that a study brings in the binary: its scenarios, and the configs that they name. Knows
//! paths and texts alone.

/// A file that a study brings.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its path in the folder of the study's configs, with `/`: `sim/kv-all.toml`.
    pub path: &'static str,
    /// What is in it.
    pub text: &'static str,
}

impl Shipped {
    /// What a scenario is called: its path in the folder `sim`, without `.toml`.
    pub fn name(&self) -> &'static str {
        let file = self.path.strip_prefix("sim/").unwrap_or(self.path);
        file.strip_suffix(".toml").unwrap_or(file)
    }

    /// The first sentence of the comment at its head.
    pub fn about(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let comment = lines.map(str::trim).collect::<Vec<_>>().join(" ");
        let end = comment.find(". ").map_or(comment.len(), |end| end + 1);
        comment[..end].trim().trim_end_matches(['.', ':']).into()
    }

    /// The path of a file that this one names, relative to its own folder.
    pub fn named(&self, path: &str) -> String {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_a_sentence_and_neighbours() {
        let text = "# Nodes add\n# up. And more.\nnodes = []\n";
        let shipped = Shipped { path: "sim/sum.toml", text };
        assert_eq!((shipped.name(), &*shipped.about()), ("sum", "Nodes add up"));
        let deep = Shipped { path: "sim/sums/3d.toml", text };
        assert_eq!(deep.name(), "sums/3d");
        assert_eq!(shipped.named("../kv/./node.toml"), "kv/node.toml");
        assert_eq!(shipped.named("node.toml"), "sim/node.toml");
        assert_eq!(shipped.named("../../../node.toml"), "node.toml");
    }
}
