#!/usr/bin/env bash
# Installs a software Vulkan adapter, where there is no adapter at all.
set -euo pipefail

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
