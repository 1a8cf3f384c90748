//! Programs of C and C++ against the library: built as an app would build them, with their answers checked, under
//! AddressSanitizer and valgrind; and the header, which is that of the sources.
//!
//! `tools/test.sh` installs what they need.

use std::env;
use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;
use std::sync::OnceLock;

use perceiver::{Engine, NamedTensors, Tensor};
use perceiver_c::PerceiverStatus;
use tempfile::TempDir;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn models() -> PathBuf {
    here().join("../../models")
}

/// Runs a program, whose failure is the test's.
fn run(command: &mut Command) -> String {
    let hint = "`bash tools/test.sh` installs what tests need";
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {hint}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Where a package of the library is installed: headers, libraries, and what pkg-config reads. What `cargo cinstall` does,
/// with the libraries that cargo has built for this test.
fn installed() -> &'static Path {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a folder");
        let (include, lib) = (place.path().join("include"), place.path().join("lib"));
        let built = env::current_exe().expect("this program");
        let built = built.parent().expect("a folder of programs");
        fs::create_dir(&include).expect("a folder");
        fs::create_dir_all(lib.join("pkgconfig")).expect("a folder");
        fs::copy(here().join("include/perceiver.h"), include.join("perceiver.h")).expect("the header");
        for ending in ["so", "a"] {
            let library = built.join(format!("libperceiver_c.{ending}"));
            fs::copy(&library, lib.join(format!("libperceiver.{ending}")))
                .unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        }
        let text = format!(
            "prefix={}\nName: perceiver\nDescription: perceiver\nVersion: {}\nLibs: -L${{prefix}}/lib -lperceiver\n\
             Libs.private: -lpthread -ldl -lm\nCflags: -I${{prefix}}/include\n",
            place.path().display(),
            env!("CARGO_PKG_VERSION")
        );
        fs::write(lib.join("pkgconfig/perceiver.pc"), text).expect("a file");
        place
    });
    place.path()
}

/// The C compiler, with all warnings as errors and pkg-config's flags.
fn compile(source: &str, more: &[&str], out: &Path) {
    let mut find = Command::new("pkg-config");
    find.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    let flags = run(find.args(["--cflags", "--libs", "perceiver"]));
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g"]);
    compiler.arg(here().join(source)).args(flags.split_whitespace());
    let rpath = format!("-Wl,-rpath,{}", installed().join("lib").display());
    run(compiler.arg(rpath).args(["-lm", "-lpthread"]).args(more).arg("-o").arg(out));
}

/// What `tests/check.c` is told to expect, which the library for Rust computes.
fn expected() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let ids = (0..24).map(|i| 6 + (i * 37 + 11) % 256).collect();
        let ids = Tensor::i64(vec![1, 24], ids).expect("a tensor");
        let model = Engine::cpu().load(models().join("text-tiny")).expect("a model");
        let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
        let outputs = model.run(&inputs, &mut |_, _| ()).expect("outputs");
        let logits = outputs["logits"].as_f32().expect("floats");
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let file = installed().join("expected");
        fs::write(&file, bytes).expect("a file");
        file
    })
}

fn answers(program: &mut Command, answer: &str) {
    let said = run(program);
    assert!(said.contains(answer), "{program:?}: {said}");
}

/// Valgrind over a program. Threads of the pool live until its end, so that what they hold is reachable or possibly lost.
fn valgrind(program: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]).arg(program);
    valgrind
}

const SANITIZED: &str = "-fsanitize=address,undefined -fno-sanitize-recover";

#[test]
fn all_functions_under_address_sanitizer() {
    let program = installed().join("check-asan");
    compile("tests/check.c", &SANITIZED.split(' ').collect::<Vec<_>>(), &program);
    answers(Command::new(program).arg(models()).arg(expected()), "all as expected");
}

#[test]
fn streams_under_valgrind() {
    let program = installed().join("check-valgrind");
    compile("tests/check.c", &[], &program);
    answers(valgrind(&program).arg(models()), "all as expected");
}

/// Apart from the programs above, as drivers that are looked at may leak.
#[test]
#[allow(unsafe_code, reason = "a function for C")]
fn a_device_that_there_is_not() {
    let mut engine = ptr::dangling_mut();
    // SAFETY: a text that ends at a NUL, and a place for a handle.
    let status = unsafe { perceiver_c::perceiver_engine_open(c"no such".as_ptr(), &mut engine) };
    assert_eq!((status, engine), (PerceiverStatus::NoDevice, ptr::null_mut()));
    // SAFETY: a text of this thread, until its next call.
    let text = unsafe { CStr::from_ptr(perceiver_c::perceiver_last_error()) };
    assert!(text.to_string_lossy().contains("no device matches `no such`"), "{text:?}");
}

#[test]
fn the_static_library_links() {
    let program = installed().join("text-static");
    let library = installed().join("lib/libperceiver.a");
    let mut compiler = Command::new("cc");
    compiler.arg(here().join("examples/text.c")).arg("-I").arg(installed().join("include"));
    compiler.arg(library).args(["-lpthread", "-ldl", "-lm", "-lgcc_s"]);
    run(compiler.arg("-o").arg(&program));
    let text = "The comp[MASK]ler checks that every re[MASK]erence is val[MASK]d.";
    let said = run(Command::new(program).arg(models().join("text-tiny")).arg(text));
    assert!(said.contains("The compiler checks that every reference is valid."), "{said}");
    assert!(said.contains("logits on cpu: 1 256 262"), "{said}");
}

/// A program of C++ that CMake builds with these flags.
fn cmake(build: &str, flags: &str) -> PathBuf {
    let build = installed().join(build);
    let mut cmake = Command::new("cmake");
    cmake.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    cmake.arg("-S").arg(here().join("examples")).arg("-B").arg(&build);
    run(cmake.arg(format!("-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror {flags}")));
    run(Command::new("cmake").arg("--build").arg(&build));
    build.join("classify")
}

/// The second class is that of rings.
const RING: &str = "class 1 of 16 with probability 0.9";

#[test]
fn a_program_of_cpp_by_cmake_under_address_sanitizer() {
    let program = cmake("cmake-asan", SANITIZED);
    answers(Command::new(program).arg(models().join("shapes-tiny")), RING);
}

#[test]
fn a_program_of_cpp_by_cmake_under_valgrind() {
    let program = cmake("cmake-valgrind", "");
    answers(valgrind(&program).arg(models().join("shapes-tiny")), RING);
}

#[test]
fn the_header_is_that_of_the_sources() {
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::generate_with_config(here(), config).expect("a header");
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).expect("a text");
    let path = here().join("include/perceiver.h");
    if env::var_os("PERCEIVER_WRITE_HEADER").is_some() {
        fs::write(&path, &made).expect("the header");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "the header is not up to date: run this test with PERCEIVER_WRITE_HEADER=1"
    );
}
