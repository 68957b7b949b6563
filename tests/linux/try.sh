#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Boots a guest to try things on and holds it until Enter or Ctrl-C: try.sh ARCH [QEMU...]
set -u
. "$(dirname "$0")/rig.sh"
arch=${1:-amd64}
shift
rig_begin && rig_start try "$arch" "$@" || exit
cat <<END
QMP socket:   $(rig_sock try)       (vpatch inspect qmp:$(rig_sock try))
run in guest: $rig_ctl cmd $rig_dir/try/ctl 60 'cat /proc/version'
monitor:      $rig_ctl qmp $rig_dir/try/mon '{"execute":"query-status"}'
console:      $(rig_console try)
headers:      $(rig_kernel "$arch")/build
QEMU:         $(rig_pid try)
END
if [ -t 0 ]; then read -r _; else while kill -0 "$(rig_pid try)" 2>/dev/null; do sleep 1; done; fi
