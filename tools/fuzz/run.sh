#!/usr/bin/env bash
# Builds the fuzz targets on stable Rust and runs each for so many seconds, on one processor:
#   tools/fuzz/run.sh SECONDS [TARGET...]
# The inputs that were kept lie in target/fuzz/corpus, what was found in target/fuzz/found. A table of executions and of
# edges reached comes last; the exit status says whether anything was found.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
out=$(cd ../.. && pwd)/target/fuzz
# The library's own versions of what it depends on.
cp ../../Cargo.lock .
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz sets, without a sanitizer, which stable Rust does not have. A target is named so that build scripts and
# macros are built without it.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --quiet --release --target "$host" --target-dir "$out"

root=$PWD/../..
seeds() { # TARGET: recorded files of its kind, beside those that broke it before
  local from=$root/tests/fixtures
  case $1 in
    config) for file in "$from"/golden/*/config.json; do cp "$file" "$2/$(basename "$(dirname "$file")")"; done ;;
    blueprint) sed -n '/^```json$/,/^```$/{/^```/d;p}' "$root/docs/blueprints.md" > "$2/documented" ;;
    processor) cp "$root/models/shapes-tiny/preprocessor_config.json" "$2" ;;
    picture) cp "$from"/images/*.png "$2" ;;
    safetensors) cp "$from"/weights/*.safetensors "$2" ;;
    haiku) cp "$from"/weights/haiku-*.pickle "$2" ;;
    torch_legacy) cp "$from"/weights/*-legacy.bin "$2" ;;
    torch_zip) cp "$from"/weights/{types,refused-system,refused-module}.bin "$from/weights/training.pth" "$2" ;;
    shader) for file in "$root"/shaders/{gemm,attention,common}/*.wgsl; do cp "$file" "$2/$(echo "$file" | md5sum | cut -c1-8)"; done ;;
  esac
  [ ! -d "$from/fuzz/$1" ] || cp "$from/fuzz/$1"/* "$2"
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(cd fuzz_targets && ls | sed 's/\.rs$//'))
# Readers that take nothing but files read them from memory where there is such a folder.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
failed=0
table=$(printf '%-14s %14s %8s %9s' target executions edges status)
for target in "${targets[@]}"; do
  corpus=$out/corpus/$target found=$out/found/$target
  given=$(mktemp -d)
  mkdir -p "$corpus" "$found"
  seeds "$target" "$given"
  status=clean
  rm -f "$found/log"
  "$out/$host/release/$target" "$corpus" "$given" -max_total_time="$seconds" -max_len=16384 -timeout=5 \
    -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$found/" > "$found/log" 2>&1 || { status=FOUND; failed=1; }
  rm -r "$given"
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log" | tail -1)
  edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$found/log" | tail -1)
  table+=$(printf '\n%-14s %14s %8s %9s' "$target" "${executions:-0}" "${edges:-0}" "$status")
  [ $status = clean ] || { echo "$target:"; tail -n 25 "$found/log"; }
done
echo "$table"
exit $failed
