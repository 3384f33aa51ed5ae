//! What a browser gets to see: the shell and its parts, and the pages that it frames.

use super::Opened;
use super::api::Studio;
use super::server::Response;
use node_lab::explain::{Source, html, merge};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The page and its parts: path, form, text.
const ASSETS: [(&str, &str, &str); 8] = [
    ("", HTML, include_str!("studio.html")),
    ("studio.css", CSS, include_str!("studio.css")),
    ("core.js", JS, include_str!("core.js")),
    ("scene.js", JS, include_str!("scene.js")),
    ("forks.js", JS, include_str!("forks.js")),
    ("runs.js", JS, include_str!("runs.js")),
    ("live.js", JS, include_str!("live.js")),
    ("start.js", JS, include_str!("start.js")),
];

impl Studio {
    /// The page or part at that path.
    pub fn get(&self, path: &str) -> Response {
        if let Some((_, form, text)) = ASSETS.iter().find(|(asset, ..)| *asset == path) {
            return Response::asset(form, text);
        }
        if path == "traces" {
            return match self.traces() {
                Ok(html) => Response::page(html),
                Err(why) => Response::refusal(404, &why),
            };
        }
        if let Some(most) = path.strip_prefix("live/").and_then(|most| most.parse().ok()) {
            return match self.live().and_then(|live| live.page(most)) {
                Ok(html) => Response::page(html),
                Err(why) => Response::refusal(404, &why),
            };
        }
        let id = path.strip_prefix("run/").and_then(|id| id.parse().ok());
        match id.map(|id| self.runs.shown(id)) {
            Some(Ok(shown)) => Response::page(shown.html.clone()),
            Some(Err(why)) => Response::refusal(404, &why),
            None => Response::refusal(404, "there is no such page"),
        }
    }

    /// The page of the traces that the command line names.
    fn traces(&self) -> Result<Vec<u8>, String> {
        let Opened::Traces(files) = &self.opened else { return Err("no traces were named".into()) };
        let sources: Result<Vec<Source>, _> = files.iter().map(|file| Source::load(file)).collect();
        let sources = sources.map_err(|error| error.to_string())?;
        let mut html = Vec::new();
        let run = merge(&sources).map_err(|error| error.to_string())?;
        html::write(&run, &mut html).map_err(|error| error.to_string())?;
        Ok(html)
    }
}
