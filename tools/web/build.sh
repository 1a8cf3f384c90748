#!/usr/bin/env bash
# Builds the module and its demo page, a folder of static files: tools/web/build.sh [FOLDER]
#
# The compiler is rustup's where it has the target wasm32-unknown-unknown; else Debian's, of the packages that
# build its browsers, unpacked beside the build and not installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/web/site}
built=${CARGO_TARGET_DIR:-target}/web
mkdir -p "$built"

# Unpacks Debian's compiler with its standard library in source into a folder, where `rustc` is then.
debian_compiler() {
  local folder=$1 host
  host=$(rustc -vV | sed -n 's/^host: //p')
  mkdir -p "$folder/debs"
  (
    cd "$folder/debs"
    field() { dpkg-deb -f "$1" "$2"; }
    apt-get download -qq rustc-web libstd-rust-web-dev rust-web-src
    library=$(field libstd-rust-web-dev_*.deb Depends | grep -o 'libstd-rust-web-[0-9.]*' | head -1)
    apt-get download -qq "$library"
    llvm=$(field "${library}"_*.deb Depends | grep -o 'libllvm[0-9]*' | head -1)
    apt-get download -qq "$llvm"
    for package in rustc-web_* "${library}"_* libstd-rust-web-dev_* "${llvm}"_*; do dpkg -x "$package" ../root; done
    # Of the sources only those of the standard library.
    dpkg-deb --fsys-tarfile rust-web-src_*.deb |
      tar -x -C ../root --wildcards './usr/src/*/library/*' './usr/lib/rustlib/*'
  ) >&2
  local usr linker
  usr=$(realpath "$folder/root/usr")
  linker="$usr/lib/rustlib/$host/bin"
  mkdir -p "$linker"
  ln -sf "$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld" "$linker/rust-lld"
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/lib/%s exec %s/bin/rustc "$@"\n' "$usr" "$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")" "$usr" >"$folder/rustc"
  chmod +x "$folder/rustc"
  "$folder/rustc" -V >&2
  rm -r "$folder/debs"
}

build=(cargo build --quiet --package perceiver-web --profile web --target wasm32-unknown-unknown --target-dir "$built")
if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ] ||
  rustup target add wasm32-unknown-unknown >/dev/null 2>&1; then
  "${build[@]}"
else
  compiler=$built/compiler
  if ! "$compiler/rustc" -V >/dev/null 2>&1; then
    rm -rf "$compiler"
    debian_compiler "$compiler" || {
      echo "no compiler for wasm32: run 'rustup target add wasm32-unknown-unknown'" >&2
      exit 1
    }
  fi
  # Its standard library has to be built for the target, which stable compilers do only when told so.
  RUSTC=$(realpath "$compiler/rustc") RUSTC_BOOTSTRAP=1 "${build[@]}" -Zbuild-std=std,panic_abort
fi
cargo run --quiet --package perceiver-site -- package "$built/wasm32-unknown-unknown/web/perceiver_web.wasm" "$out"
echo "$out"
