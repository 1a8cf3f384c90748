#!/usr/bin/env bash
# Installs what the tests need (a software Vulkan adapter, where there is none) and runs all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Vulkan drivers announce themselves by these files.
if ! find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name '*.json' 2>/dev/null | grep -q .; then
  if command -v apt-get >/dev/null; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mesa-vulkan-drivers libvulkan1
  else
    echo "no Vulkan driver found: install Mesa's software one (lavapipe) with your package manager" >&2
  fi
fi

# The same profile as the command, so that its build is used again. Examples are left out: lints have checked them.
failed=0
cargo test --release --no-fail-fast --lib --bins --tests || failed=1
cargo test --release --no-fail-fast --doc || failed=1
exit $failed
