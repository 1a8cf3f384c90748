#!/usr/bin/env bash
# Installs what the tests need (a software Vulkan adapter, where there is none; what programs of C and C++ are built and
# looked at with; Chromium) and runs all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

source tools/vulkan.sh
for program in cc c++ cmake pkg-config valgrind; do
  if ! command -v "$program" >/dev/null; then
    if command -v apt-get >/dev/null; then
      as_root apt-get update -qq
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq g++ cmake pkg-config valgrind
    else
      echo "no $program found: install g++, cmake, pkg-config and valgrind with your package manager" >&2
    fi
    break
  fi
done

# The same profile as the command, so that its build is used again. Examples are left out: lints have checked them.
failed=0
cargo test --release --no-fail-fast --lib --bins --tests || failed=1
cargo test --release --no-fail-fast --doc || failed=1
bash tools/web/test.sh || failed=1
exit $failed
