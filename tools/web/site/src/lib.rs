//! What the command and the browser test have in common: packaging the module, and a server of static files.

use std::error::Error;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::thread;

use tiny_http::{Header, Method, Response, Server};
use wasm_bindgen_cli_support::Bindgen;

/// Models of the demo page.
const MODELS: [&str; 3] = ["flow-tiny", "text-tiny", "shapes-tiny"];
/// Files of a model that a browser loads.
const FILES: [&str; 3] = ["config.json", "preprocessor_config.json", "model.safetensors"];

/// Puts the module, the demo page and its models into a folder.
///
/// # Errors
/// Those of reading and writing files, and of a module that is none.
pub fn package(wasm: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let module = folder.join("perceiver");
    fs::create_dir_all(&module)?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).web(true)?.typescript(false).omit_default_module_path(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.generate(&module)?;
    copy_all(&here.join("js"), &module)?;
    copy_all(&here.join("demo"), folder)?;
    for model in MODELS {
        let (from, to) = (here.join("../../models").join(model), folder.join("models").join(model));
        fs::create_dir_all(&to)?;
        for file in FILES.iter().filter(|file| from.join(file).exists()) {
            fs::copy(from.join(file), to.join(file))?;
        }
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Serves folders as one on this machine alone, in a thread that goes on as long as the process does. A file is that of
/// the first folder that has it.
///
/// # Errors
/// A port that is taken.
pub fn serve(folders: &[&Path], port: u16) -> Result<SocketAddr, Box<dyn Error>> {
    let server = Server::http(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    let address = server.server_addr().to_ip().ok_or("the server has no address")?;
    let folders: Vec<PathBuf> = folders.iter().map(|&folder| folder.to_owned()).collect();
    thread::spawn(move || {
        for request in server.incoming_requests() {
            let found = match request.method() {
                Method::Get => folders.iter().find_map(|folder| file_of(folder, request.url())),
                _ => None,
            };
            // A browser that goes away is no error of the server.
            let _ = match found.and_then(|path| Some((File::open(&path).ok()?, path))) {
                Some((file, path)) => {
                    let kind = Header::from_bytes("Content-Type", content_type(&path));
                    let mut response = Response::from_file(file).with_chunked_threshold(usize::MAX);
                    if let Ok(kind) = kind {
                        response.add_header(kind);
                    }
                    request.respond(response)
                }
                None => request.respond(Response::from_string("not found").with_status_code(404)),
            };
        }
    });
    Ok(address)
}

/// The file behind an address, which cannot lead out of the folder.
fn file_of(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = folder.join(path);
    (inside && file.is_file()).then_some(file)
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
