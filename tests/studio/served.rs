//! A studio that a test has started, and requests to it by hand.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What takes longer never ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// One that runs, in a folder of its own, until it is dropped.
pub struct Studio {
    child: Child,
    /// None once somebody else has it.
    folder: Option<tempfile::TempDir>,
    pub port: u16,
    pub token: String,
    #[allow(dead_code, reason = "for a browser")]
    pub url: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Studio {
    pub fn start(arguments: &[&str]) -> Studio {
        Studio::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Studio {
        let mut child = Command::new(env!("CARGO_BIN_EXE_node"))
            .arg("studio")
            .args(arguments)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_string();
        let rest = url.strip_prefix("http://127.0.0.1:").expect("an address of this machine");
        let (port, token) = rest.trim_end_matches('/').split_once('/').unwrap();
        let (port, token) = (port.parse().unwrap(), token.to_string());
        Studio { child, folder: Some(folder), port, token, url }
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Ends it, and leaves its folder.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.folder.take().unwrap()
    }

    /// A page or an asset.
    pub fn get(&self, path: &str) -> Answer {
        let (port, token) = (self.port, &self.token);
        let host = format!("Host: 127.0.0.1:{port}");
        self.raw(format!("GET /{token}/{path} HTTP/1.1\r\n{host}\r\n\r\n").as_bytes())
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes, and reads what comes.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may have answered before all was said.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.into(), body: body.into() }
    }

    /// A command, as the page sends it.
    pub fn ask(&self, name: &str, what: &Value) -> Answer {
        self.ask_text(name, &what.to_string())
    }

    pub fn ask_text(&self, name: &str, body: &str) -> Answer {
        let (port, token, length) = (self.port, &self.token, body.len());
        let head = format!(
            "POST /{token}/api/{name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Origin: http://127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             X-Studio-Token: {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.raw((head + body).as_bytes())
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
