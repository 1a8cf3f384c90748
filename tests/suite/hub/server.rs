//! A hub of one small repository that runs in the test itself, and misbehaves on demand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perceiver::hub::{Hub, HubOptions, Token};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const MODEL: &str = "tiny/model";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const TOKEN: &str = "hf_only_for_the_hub";

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is asked for, and the one after the last, which may be beyond the file.
    pub(crate) fn asked(&self) -> Option<(usize, usize)> {
        let range = self.header("range").and_then(|r| r.strip_prefix("bytes="))?;
        let (start, last) = range.split_once('-').expect("a range");
        let end = last.parse().map_or(usize::MAX, |last: usize| last + 1);
        Some((start.parse().expect("a number"), end))
    }

    pub(crate) fn is_bytes_of(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }
}

/// What a server answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes after which the connection is dropped, or only trickles.
    pub(crate) cut: Option<usize>,
    /// The time between one byte and the next after that.
    pub(crate) trickle: Option<Duration>,
    /// Whether the length is stated.
    pub(crate) states_length: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            trickle: None,
            states_length: true,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn send(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.states_length {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method != "HEAD" {
            let end = self.cut.unwrap_or(self.body.len()).min(self.body.len());
            stream.write_all(&self.body[..end])?;
            for byte in self.body[end..].iter().take_while(|_| self.trickle.is_some()) {
                std::thread::sleep(self.trickle.unwrap_or_default());
                stream.write_all(&[*byte])?;
            }
        }
        stream.flush()
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a port of its own; it ends with the test program.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Server { address, requests }
    }

    /// All requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().expect("the log"))
    }

    pub(crate) fn options(&self, cache: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.address.clone(),
            token: Some(Token::new(TOKEN).expect("a token")),
            ..HubOptions::new(cache)
        }
    }

    pub(crate) fn hub(&self, cache: &Path) -> Hub {
        Hub::new(self.options(cache)).expect("a hub")
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let mut words = first.split(' ');
    let mut word = || words.next().expect("a request line").to_owned();
    let (method, path) = (word(), word());
    let mut headers = BTreeMap::new();
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        let (name, value) = line.split_once(':').expect("a header");
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = Request { method, path, headers };
    log.lock().expect("the log").push(request.clone());
    // A client that has heard enough closes the connection; that is its right.
    let _ = answer(&request).send(&request, &mut stream);
}

/// The files of a repository, and how a hub answers for them.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The server that has large files, if it is another one.
    pub(crate) store: String,
}

impl Repository {
    /// A recorded model, with files beside it that nobody needs.
    pub(crate) fn tiny() -> Self {
        let mut files = BTreeMap::new();
        for file in ["config.json", WEIGHTS] {
            let content = fs::read(recorded().join(file)).expect("a recorded model");
            files.insert(file.to_owned(), content);
        }
        for file in [".gitattributes", "README.md", "a folder/picture.png"] {
            files.insert(file.to_owned(), b"not needed".to_vec());
        }
        files.insert("tokenizer_config.json".to_owned(), b"{}".to_vec());
        Repository { files, store: String::new() }
    }

    pub(crate) fn listing(&self) -> String {
        let siblings = self
            .files
            .iter()
            .map(|(name, content)| serde_json::json!({ "rfilename": name, "size": content.len() }));
        let siblings: Vec<_> = siblings.collect();
        serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string()
    }

    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        if path.starts_with("/api/models/") {
            return self.api(path);
        }
        if let Some(file) = path.strip_prefix("/store/") {
            return part(&self.files[file], request.asked());
        }
        let file = path.strip_prefix(&format!("/{MODEL}/resolve/{COMMIT}/"));
        let Some((file, content)) = file.and_then(|f| self.files.get_key_value(f)) else {
            return Reply::new(404, "Entry not found").with("X-Error-Code", "EntryNotFound");
        };
        if !is_large(file) {
            let etag = format!("W/\"{}\"", etag(file, content));
            let reply = part(content, request.asked()).with("ETag", etag);
            return reply.with("X-Repo-Commit", COMMIT);
        }
        Reply::new(302, "Found")
            .with("Location", format!("{}/store/{file}?signature=1", self.store))
            .with("ETag", "\"of the redirect\"")
            .with("X-Linked-Etag", format!("\"{}\"", etag(file, content)))
            .with("X-Linked-Size", content.len().to_string())
            .with("X-Repo-Commit", COMMIT)
    }

    fn api(&self, path: &str) -> Reply {
        let revision = path.strip_prefix(&format!("/api/models/{MODEL}/revision/"));
        match revision {
            Some("main" | COMMIT | "refs%2Fpr%2F1") => Reply::new(200, self.listing()),
            Some(_) => Reply::new(404, "{}").with("X-Error-Code", "RevisionNotFound"),
            None => Reply::new(401, "{}").with("X-Error-Code", "RepoNotFound"),
        }
    }
}

fn part(content: &[u8], asked: Option<(usize, usize)>) -> Reply {
    let Some((start, end)) = asked else { return Reply::new(200, content) };
    let (end, all) = (end.min(content.len()), content.len());
    let range = format!("bytes {start}-{}/{all}", end - 1);
    Reply::new(206, &content[start..end]).with("Content-Range", range)
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".bin")
}

/// What a file's content is called: the SHA-256 of large ones, git's name of others.
pub(crate) fn etag(file: &str, content: &[u8]) -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_large(file) {
        return hexadecimal(&Sha256::digest(content));
    }
    let head = format!("blob {}\0", content.len());
    hexadecimal(&Sha1::new().chain_update(head).chain_update(content).finalize())
}

/// A recorded model with inputs and outputs.
pub(crate) fn recorded() -> std::path::PathBuf {
    super::fixtures().join("golden/mlm-v1-s0")
}
