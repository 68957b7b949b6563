#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs the Debian packages that deps.list gives for these tags: deps.sh TAG...
# Without root it says which are missing and exits 77.
set -u
here=$(cd "$(dirname "$0")" && pwd)
missing=()
for tag in "$@"; do
  while read -r t package _; do
    [ "$t" = "$tag" ] || continue
    case " ${missing[*]-} " in *" $package "*) continue ;; esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done < <(grep -v '^#' "$here/deps.list")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "deps: not installed: ${missing[*]}" >&2
  echo "deps: run this as root, or: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 77
fi
echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
install() {
  apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 </dev/null
install || {
  tail -n 20 "$log" >&2
  echo 'deps: apt-get could not install them' >&2
  exit 1
}
