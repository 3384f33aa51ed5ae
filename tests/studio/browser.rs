//! A headless Chromium that a test uses as a person would: by its own protocol, over a pipe. None
//! where there is no browser.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A browser that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Browser {
    child: Child,
    input: File,
    output: BufReader<File>,
    session: Option<Value>,
    asked: u64,
    /// Its profile, and the pipes.
    _folder: tempfile::TempDir,
}

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|file| file.is_file())
}

impl Browser {
    /// With one empty page of 1400 by 900.
    pub fn start() -> Option<Browser> {
        let Some(chromium) = chromium() else {
            println!("skipped: no chromium");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        // It reads what it is asked from descriptor 3, and answers on 4.
        let child = Command::new("sh")
            .args(["-c", "exec 3<\"$1\" 4>\"$2\"; shift 2; exec \"$@\"", "sh"])
            .args([&to, &from])
            .arg(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            // Names of elsewhere that point here.
            .arg("--host-resolver-rules=MAP rebound.example 127.0.0.1")
            .args(["--remote-debugging-pipe", "--window-size=1400,900"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = File::options().write(true).open(&to).unwrap();
        let output = BufReader::new(File::open(&from).unwrap());
        let mut browser =
            Browser { child, input, output, session: None, asked: 0, _folder: folder };
        let targets = browser.call("Target.getTargets", json!({}));
        let is_page = |target: &&Value| target["type"] == "page";
        let page = targets["targetInfos"].as_array().unwrap().iter().find(is_page).unwrap();
        let asked = json!({"targetId": page["targetId"], "flatten": true});
        browser.session = Some(browser.call("Target.attachToTarget", asked)["sessionId"].clone());
        browser.call("Page.enable", json!({}));
        let size = json!({"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.output.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.asked {
                return match answer.get("error") {
                    None => Ok(answer["result"].clone()),
                    Some(error) => Err(error.to_string()),
                };
            }
        }
    }

    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// Loads the page again.
    pub fn reload(&mut self) {
        self.js("window.isBefore = true");
        self.call("Page.reload", json!({}));
        self.until("!window.isBefore");
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let asked = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        // A page that goes has no answer.
        let answer = self.ask("Runtime.evaluate", asked)?;
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].clone()),
            Some(details) => Err(format!("{expression}: {details}")),
        }
    }

    /// What an expression is in the page.
    pub fn js(&mut self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until an expression is true in the page.
    pub fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is = self.evaluate(&format!("Boolean({expression})"));
            if is == Ok(Value::Bool(true)) {
                return;
            }
            let note = "document.getElementById('note')?.textContent";
            assert!(Instant::now() < end, "{expression}: {is:?}: {:?}", self.evaluate(note));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A click of the mouse at a place of the window.
    pub fn click(&mut self, x: f64, y: f64, button: &str) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let count = u32::from(kind != "mouseMoved");
            let button = if count == 0 { "none" } else { button };
            let asked =
                json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": count});
            self.call("Input.dispatchMouseEvent", asked);
        }
    }

    /// A key, pressed and let go.
    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" && key.len() == 1 { key } else { "" };
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "text": text}));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
