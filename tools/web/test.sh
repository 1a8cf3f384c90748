#!/usr/bin/env bash
# Builds the browser's module and its demo page, and tests both in a Chromium without a window.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null && command -v apt-get >/dev/null; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium
fi
bash tools/web/build.sh
# One after the other: they share what SwiftShader has of the processor.
cargo test --release --package perceiver-site -- --nocapture --test-threads 1
