//! A headless Chromium that a test uses as a person does: keys, fingers, files that it saves. It is
//! told over a pair of pipes (`--remote-debugging-pipe`: messages of JSON, a NUL after each).

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]
#![allow(dead_code, reason = "not every test uses all that a person can do")]

mod found;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A browser that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Browser {
    child: Child,
    input: ChildStdin,
    said: Receiver<Value>,
    session: Option<String>,
    number: u64,
    /// What was told and not asked for.
    news: Vec<Value>,
    dir: tempfile::TempDir,
}

impl Browser {
    /// With an empty page; none where no browser is.
    pub fn start() -> Option<Self> {
        let Some(program) = found::chromium() else {
            println!("skipped: no chromium");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        // The browser has the pipes at 3 and 4; only a shell can put them there.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            // Names of elsewhere that point here.
            .arg("--host-resolver-rules=MAP rebound.example 127.0.0.1")
            .args(["--remote-debugging-pipe", "--window-size=1400,900"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if say.send(message).is_err() {
                    break;
                }
            }
        });
        let news = Vec::new();
        let mut browser = Self { child, input, said, session: None, number: 0, news, dir };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(Into::into);
        browser.call("Page.enable", json!({}));
        let to = browser.dir.path().join("saved").display().to_string();
        let saving = json!({ "behavior": "allow", "downloadPath": to, "eventsEnabled": true });
        browser.call("Browser.setDownloadBehavior", saving);
        browser.size(1400, 900, false);
        Some(browser)
    }

    /// A folder of its own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asks the browser for something, and waits for the answer.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        let of_page = !method.starts_with("Browser.") && !method.starts_with("Target.");
        if let (true, Some(session)) = (of_page, &self.session) {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let said = self.said.recv_timeout(PATIENCE).expect("the browser answers");
            if said["id"] == self.number {
                return match said.get("error") {
                    None => Ok(said["result"].clone()),
                    Some(error) => Err(error.to_string()),
                };
            }
            self.news.push(said);
        }
    }

    /// Waits until the browser tells of something that `fits`, from now on or before.
    fn hear(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.news.iter().position(&fits) {
                return self.news.remove(at);
            }
            self.news.push(self.said.recv_timeout(PATIENCE).expect("the browser tells"));
        }
    }

    /// The size of the screen; with fingers if it is a small one.
    pub fn size(&mut self, width: u32, height: u32, mobile: bool) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": mobile }));
    }

    /// Opens a file anew, with a fragment such as `#event=1` or nothing.
    pub fn open(&mut self, file: &Path, fragment: &str) {
        for url in ["about:blank".into(), format!("file://{}{fragment}", file.display())] {
            self.news.retain(|one| one["method"] != "Page.loadEventFired");
            self.call("Page.navigate", json!({ "url": url }));
            self.hear(|one| one["method"] == "Page.loadEventFired");
        }
    }

    /// Begins to load an address.
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
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
            "userGesture": true });
        // A page that goes has no answer.
        let answer = self.ask("Runtime.evaluate", asked)?;
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].clone()),
            Some(details) => Err(format!("{expression}: {details}")),
        }
    }

    /// What an expression of the page is; waits for a promise.
    pub fn js(&mut self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until an expression of the page is true.
    pub fn until(&mut self, condition: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is = self.evaluate(&format!("Boolean({condition})"));
            if is == Ok(Value::Bool(true)) {
                return;
            }
            let page = "document.body.innerText.slice(0, 2000)";
            assert!(Instant::now() < end, "{condition}: {is:?}: {:?}", self.evaluate(page));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A click of the mouse at a place of the window.
    pub fn click(&mut self, x: f64, y: f64, button: &str) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let count = u32::from(kind != "mouseMoved");
            let button = if count == 0 { "none" } else { button };
            let asked = json!({
                "type": kind, "x": x, "y": y, "button": button, "clickCount": count });
            self.call("Input.dispatchMouseEvent", asked);
        }
    }

    /// Presses a key as it is named to pages, with Shift or without.
    pub fn press(&mut self, key: &str, shift: bool) {
        let (code, number, text) = match key {
            "Enter" => ("Enter".into(), 13, "\r"),
            "Tab" => ("Tab".into(), 9, ""),
            "Escape" => ("Escape".into(), 27, ""),
            "End" => ("End".into(), 35, ""),
            "Home" => ("Home".into(), 36, ""),
            "ArrowLeft" => ("ArrowLeft".into(), 37, ""),
            "ArrowRight" => ("ArrowRight".into(), 39, ""),
            "ArrowDown" => ("ArrowDown".into(), 40, ""),
            " " => ("Space".into(), 32, " "),
            "/" => ("Slash".into(), 191, "/"),
            letter => {
                let upper = letter.to_uppercase();
                (format!("Key{upper}"), u32::from(upper.as_bytes()[0]), letter)
            }
        };
        let mut params = json!({
            "type": "keyDown", "key": key, "code": code, "windowsVirtualKeyCode": number,
            "modifiers": if shift { 8 } else { 0 }, "text": text });
        if text.is_empty() {
            params["type"] = "rawKeyDown".into();
        }
        self.call("Input.dispatchKeyEvent", params.clone());
        params["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", params);
    }

    /// Types where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Fingers on the screen: `kind` is touchStart, touchMove or touchEnd.
    pub fn touch(&mut self, kind: &str, fingers: &[(f64, f64)]) {
        let point = |(id, (x, y)): (usize, &(f64, f64))| json!({ "x": x, "y": y, "id": id });
        let points: Vec<Value> = fingers.iter().enumerate().map(point).collect();
        self.call("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points }));
    }

    /// The file that the page saves next.
    pub fn saved(&mut self) -> PathBuf {
        let begun = self.hear(|one| one["method"] == "Browser.downloadWillBegin");
        let of = begun["params"]["guid"].clone();
        self.hear(|one| {
            let params = &one["params"];
            assert_ne!(params["state"], "canceled");
            params["guid"] == of && params["state"] == "completed"
        });
        self.dir.path().join("saved").join(begun["params"]["suggestedFilename"].as_str().unwrap())
    }

    /// Keeps a picture of the screen in the folder EXPLAIN_KEEP, to look at.
    pub fn picture(&mut self, name: &str) {
        let Some(keep) = std::env::var_os("EXPLAIN_KEEP") else { return };
        std::fs::create_dir_all(&keep).unwrap();
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = decoded(shot["data"].as_str().unwrap());
        std::fs::write(Path::new(&keep).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base64, as the browser has it.
fn decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|c| *c != b'=').collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | value(*c)) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
