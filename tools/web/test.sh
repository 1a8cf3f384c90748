#!/usr/bin/env bash
# Builds the browser's module and its demo page, and tests both in a Chromium without a window.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null && command -v apt-get >/dev/null; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  # Ubuntu's package has the longer name.
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium ||
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium-browser ||
    echo "no Chromium could be installed: install Chromium or Chrome for the browser's tests" >&2
fi
# They are about results, not about speed: the tools of the site are built without optimisation, the module without
# optimisation across units.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_WEB_LTO=off CARGO_PROFILE_WEB_CODEGEN_UNITS=16
bash tools/web/build.sh
# One after the other: they share what SwiftShader has of the processor.
cargo test --package perceiver-site -- --nocapture --test-threads 1
