//! Packages the browser's module with its demo page, and serves them.
//!
//! `package WASM FOLDER` makes a folder of static files; `serve FOLDER [PORT]` serves it.

use std::error::Error;
use std::fs;
use std::path::Path;

use perceiver_site::{package, serve};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["package", wasm, folder] => package(Path::new(wasm), Path::new(folder)),
        ["serve", folder] => serve_at(folder, 8080),
        ["serve", folder, port] => serve_at(folder, port.parse()?),
        _ => Err("usage: perceiver-site package WASM FOLDER | serve FOLDER [PORT]".into()),
    }
}

fn serve_at(folder: &str, port: u16) -> Result<(), Box<dyn Error>> {
    fs::metadata(Path::new(folder).join("index.html"))
        .map_err(|e| format!("{folder} is no site ({e}): run tools/web/build.sh first"))?;
    let address = serve(&[Path::new(folder)], port)?;
    println!("http://{address}");
    loop {
        std::thread::park();
    }
}
