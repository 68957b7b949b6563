#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Structure checks: floors and include paths, SPDX lines, names, formatting.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
say() { echo "lint: $*" >&2; bad=1; }

files=$(git ls-files -co --exclude-standard '*.c' '*.h' '*.S')

# What each room may include, besides itself. The order is the floors of docs/design.md.
allowed() {
  case "$1" in
    protocol) echo '' ;;
    arch) echo 'protocol' ;;
    qmp) echo '' ;;
    vmm-agent/base) echo 'protocol' ;;
    vmm-agent/host) echo 'protocol arch vmm-agent/base' ;;
    vmm-agent) echo 'protocol arch vmm-agent/base' ;;
    vmm-agent/drv) echo 'protocol arch qmp vmm-agent vmm-agent/base vmm-agent/host' ;;
    vmm-agent/guest) echo 'protocol arch vmm-agent vmm-agent/base' ;;
    vmm-agent/hotfix) echo 'protocol arch vmm-agent/base' ;;
    vmm-agent/engine) echo 'protocol arch vmm-agent vmm-agent/base vmm-agent/guest vmm-agent/hotfix' ;;
    vmm-agent/perf) echo 'protocol arch vmm-agent/base vmm-agent/guest vmm-agent/engine' ;;
    vmm-agent/domain) echo 'protocol arch qmp vmm-agent vmm-agent/base vmm-agent/drv' ;;
    vmm-agent/lib) echo 'protocol vmm-agent vmm-agent/base vmm-agent/drv vmm-agent/guest vmm-agent/hotfix vmm-agent/engine' ;;
    vmm-agent/cli) echo 'protocol arch vmm-agent vmm-agent/base vmm-agent/guest vmm-agent/hotfix vmm-agent/engine vmm-agent/perf vmm-agent/domain' ;;
    *) echo '*' ;;
  esac
}
room_of() {
  case "$1" in
    arch/*) echo arch ;;
    */include/vpatch/*) echo "${1%%/include/*}" ;; # what a room gives to programs outside
    *) dirname "$1" ;;
  esac
}

for f in $files; do
  head -n 1 "$f" | grep -q 'SPDX-License-Identifier' || say "$f: first line has no SPDX-License-Identifier"
  room=$(room_of "$f")
  ok=$(allowed "$room")
  while IFS= read -r inc; do
    case "$inc" in *.c) say "$f: includes a .c file: $inc" ;; esac
    [ -e "$inc" ] || { say "$f: \"$inc\" is not a full path from the root"; continue; }
    to=$(room_of "$inc")
    [ "$to" = "$room" ] && continue
    [ "$ok" = '*' ] && continue
    case " $ok " in *" $to "*) ;; *) say "$f: $room may not include $inc" ;; esac
  done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$f")
done

# Rooms that may not print, exit or do I/O.
grep -nE '\b(printf|puts|perror|exit|_exit|abort)\(' $(git ls-files -co --exclude-standard 'vmm-agent/*.c' 'qmp/*.c' 'arch/*.c' 'protocol/*.c' | grep -v '^vmm-agent/cli/' | grep -v '^vmm-agent/daemon/') /dev/null |
  grep -vE 'snprintf|dprintf|/\* *lint: holder' && say 'printing and exit belong to vmm-agent/cli'
grep -nE '\b(malloc|calloc|realloc|free|read|write|open)\(' $(git ls-files -co --exclude-standard 'arch/*.c' 'protocol/*.c') /dev/null && say 'protocol and arch are pure'
grep -nE '#[[:space:]]*if.*(__x86_64__|__aarch64__|__riscv|__arm__|__powerpc)' $(git ls-files -co --exclude-standard 'vmm-agent/*.[ch]' 'arch/*.[ch]' 'protocol/*.[ch]' | grep -v '^vmm-agent/host/') /dev/null && say 'only vmm-agent/host asks for an architecture by #ifdef'

# Formatting.
if command -v clang-format >/dev/null; then
  for f in $(printf '%s\n' $files | grep -E '\.[ch]$'); do
    clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || say "$f: not formatted (make fmt)"
  done
else
  say 'clang-format is missing'
fi
for f in $(git ls-files -co --exclude-standard '*.sh'); do bash -n "$f" || say "$f: does not parse"; done
exit $bad
