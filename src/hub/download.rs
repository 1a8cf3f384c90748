//! One file from the hub to the cache: resumed where it broke off, checked, then given its name.
//!
//! Invariants: never more bytes than were stated are written; a blob that does not fit its size or its
//! digest is deleted; what broke off stays as `ETAG.incomplete` for the next try.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, StatusCode};

use super::cache::{Store, create_folder};
use super::client::{Client, number};
use super::failure::Failure;
use super::name::{ModelName, is_hexadecimal};
use crate::error::{Error, Result};
use crate::open;

/// Tries in a row that may bring nothing, and how long to wait after the first.
const MOST_BARREN: u32 = 3;
pub(super) const PAUSE: Duration = Duration::from_millis(200);
const BLOCK: usize = 256 << 10;
/// Bytes that a download must bring within the time that a client is patient: a server that sends less keeps it for ever.
const TRICKLE: u64 = 32 << 10;

/// A file to download.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) file: String,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) address: String,
}

/// What one request came to.
enum Turn {
    Whole,
    /// The file may go on from here.
    Broke(Failure),
}

/// Brings a file into the cache as a blob. `advance` is told how many of its bytes are there.
pub(super) fn blob(
    client: &Client,
    store: &Store,
    model: &ModelName,
    wanted: &Wanted,
    advance: &mut dyn FnMut(u64),
) -> Result<()> {
    let place = store.blob(&wanted.etag);
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let is_there = || place.is_file() && size(&place) == wanted.size;
    if is_there() {
        advance(wanted.size);
        return Ok(());
    }
    if let Some(folder) = place.parent() {
        create_folder(folder)?;
    }
    let _lock = store.lock(&wanted.etag)?;
    // Whoever had the lock a moment ago may have brought it.
    if is_there() {
        advance(wanted.size);
        return Ok(());
    }
    let part = store.incomplete(&wanted.etag);
    let mut barren = 0;
    let mut before = size(&part);
    loop {
        match turn(client, model, wanted, &part, advance)? {
            Turn::Whole => break,
            Turn::Broke(failure) => {
                let there = size(&part);
                barren = if there > before + TRICKLE { 0 } else { barren + 1 };
                before = there;
                if barren >= MOST_BARREN || !failure.is_outage() {
                    return Err(failure.error(model, client.base()));
                }
                std::thread::sleep(PAUSE * (barren + 1));
            }
        }
    }
    check(model, wanted, &part)?;
    fs::rename(&part, &place).map_err(|e| Error::io("create", &place, e))
}

/// One request for what is missing.
fn turn(
    client: &Client,
    model: &ModelName,
    wanted: &Wanted,
    part: &Path,
    advance: &mut dyn FnMut(u64),
) -> Result<Turn> {
    let io = |action| move |e| Error::io(action, part, e);
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(io("create"))?;
    let mut there = file.metadata().map_err(io("read"))?.len();
    let restart = |file: &File| file.set_len(0).map_err(io("truncate"));
    if there > wanted.size {
        restart(&file)?;
        there = 0;
    }
    advance(there);
    if there == wanted.size {
        return Ok(Turn::Whole);
    }
    let mut answer = match client.file(&wanted.address, there) {
        Ok(answer) => answer,
        Err(failure) if failure.is_range() && there > 0 => {
            restart(&file)?;
            let why = format!("it has nothing after {there} bytes: {failure}");
            return Ok(Turn::Broke(Failure::unreachable(&wanted.address, &why)));
        }
        Err(failure) => return Ok(Turn::Broke(failure)),
    };
    if there > 0 && !continues(answer.status, &answer.headers, there) {
        restart(&file)?;
        there = 0;
        if answer.status == StatusCode::PARTIAL_CONTENT {
            let why = "it sent another part of the file than was asked for";
            return Ok(Turn::Broke(Failure::unreachable(&wanted.address, &why)));
        }
    }
    let longer = || {
        let Wanted { file, size, address, .. } = wanted;
        let what =
            format!("{address} sends more than the {size} bytes that were stated for {file}");
        let hint = "this is no answer of a hub: check HF_ENDPOINT and proxies that change answers";
        Error::hub(model.to_string(), what, hint)
    };
    let left = wanted.size - there;
    if number(&answer.headers, "content-length").is_some_and(|length| length > left) {
        return Err(longer());
    }
    let mut body = answer.body.as_reader();
    let mut block = vec![0; BLOCK];
    let (mut since, mut from) = (Instant::now(), there);
    loop {
        if since.elapsed() > client.patience() {
            if there - from < TRICKLE {
                let why = format!("it sent {} bytes in {:.0?}", there - from, since.elapsed());
                return Ok(Turn::Broke(Failure::unreachable(&wanted.address, &why)));
            }
            (since, from) = (Instant::now(), there);
        }
        match body.read(&mut block) {
            Ok(0) if there == wanted.size => break,
            Ok(0) => {
                let why = format!("it ended after {there} of {} bytes", wanted.size);
                return Ok(Turn::Broke(Failure::unreachable(&wanted.address, &why)));
            }
            Ok(n) if n as u64 > wanted.size - there => {
                drop(file);
                fs::remove_file(part).map_err(io("delete"))?;
                return Err(longer());
            }
            Ok(n) => {
                file.write_all(&block[..n]).map_err(io("write"))?;
                there += n as u64;
                advance(there);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                let why = format!("it broke off after {there} of {} bytes: {e}", wanted.size);
                return Ok(Turn::Broke(Failure::unreachable(&wanted.address, &why)));
            }
        }
    }
    file.sync_all().map_err(io("write"))?;
    Ok(Turn::Whole)
}

/// True when an answer is the file from `start` on.
pub(super) fn continues(status: StatusCode, headers: &HeaderMap, start: u64) -> bool {
    let range = headers.get("content-range").and_then(|r| r.to_str().ok());
    status == StatusCode::PARTIAL_CONTENT
        && range.is_none_or(|range| range.starts_with(&format!("bytes {start}-")))
}

/// Compares content and etag, where that is a digest.
fn check(model: &ModelName, wanted: &Wanted, part: &Path) -> Result<()> {
    let Some((kind, found)) = digest(&wanted.etag, part)? else {
        return Ok(());
    };
    if found == wanted.etag {
        return Ok(());
    }
    fs::remove_file(part).map_err(|e| Error::io("delete", part, e))?;
    let Wanted { file, etag, .. } = wanted;
    let what = format!("{file} arrived damaged: its {kind} is {found}, the hub states {etag}");
    let again = "try again, and check HF_ENDPOINT and proxies if it happens again";
    Err(Error::hub(model.to_string(), what, format!("nothing was installed; {again}")))
}

/// The digest of a file of the kind that an etag is: SHA-256 of large files, git's name of small ones. With it comes what it is
/// called; `None` for an etag that is neither.
pub(super) fn digest(etag: &str, file: &Path) -> Result<Option<(&'static str, String)>> {
    Ok(if is_hexadecimal(etag, 64) {
        Some(("SHA-256", sha256(file)?))
    } else if is_hexadecimal(etag, 40) {
        let length = fs::metadata(file).map_err(|e| Error::io("read", file, e))?.len();
        let blob = Sha1::new().chain_update(format!("blob {length}\0"));
        Some(("SHA-1", hashed(blob, file)?))
    } else {
        None
    })
}

pub(super) fn sha256(file: &Path) -> Result<String> {
    hashed(Sha256::new(), file)
}

fn hashed(mut hash: impl Digest, path: &Path) -> Result<String> {
    let mut file = open::regular(path)?;
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block).map_err(|e| Error::io("read", path, e))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            n => hash.update(&block[..n]),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
