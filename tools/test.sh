#!/usr/bin/env bash
# Installs what the tests need (a software Vulkan adapter, where there is none) and runs all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

bash tools/vulkan.sh

# The same profile as the command, so that its build is used again. Examples are left out: lints have checked them.
failed=0
cargo test --release --no-fail-fast --lib --bins --tests || failed=1
cargo test --release --no-fail-fast --doc || failed=1
exit $failed
