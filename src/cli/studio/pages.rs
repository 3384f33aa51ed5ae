//! What a browser gets to see: the shell and its parts, and the pages that it frames.

use super::Opened;
use super::api::Studio;
use super::server::Response;
use super::show::page;
use crate::cli::verify::judge_traces;
use node_lab::explain::Source;

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
        match path.strip_prefix("run/").map(|asked| self.run_page(asked)) {
            Some(Ok(html)) => Response::page(html),
            Some(Err(why)) => Response::refusal(404, &why),
            None => Response::refusal(404, "there is no such page"),
        }
    }

    /// The page of a run: `7`, or `7/at/123` for the part around that time.
    fn run_page(&self, asked: &str) -> Result<Vec<u8>, String> {
        let none = || format!("there is no run {asked}");
        let (id, around) = asked.split_once("/at/").unwrap_or((asked, ""));
        let id: usize = id.parse().map_err(|_| none())?;
        match around {
            "" => Ok(self.runs.shown(id)?.html.clone()),
            around => self.runs.part(id, around.parse().map_err(|_| none())?),
        }
    }

    /// The page of the traces that the command line names.
    fn traces(&self) -> Result<Vec<u8>, String> {
        let Opened::Traces(files) = &self.opened else { return Err("no traces were named".into()) };
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let sources: Result<Vec<Source>, _> = files.iter().map(|file| Source::load(file)).collect();
        let sources = sources.map_err(|error| error.to_string())?;
        let command = format!("node explain {} -o part.html", names.join(" "));
        page(&sources, None, &command, |run| {
            // A simulated run's trace says itself what was violated.
            if !run.source.contains("sim") {
                judge_traces(files, &self.registry, run);
            }
        })
    }
}
