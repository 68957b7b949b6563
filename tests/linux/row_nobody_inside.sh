#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# With consistency "quiesce" the functions change only while no vCPU and no task is inside any of them;
# whoever is gets named, and the guest is as it was.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest quiet
vp_hotfix quiet
rig_cmd quiet 'mkfifo /tmp/p && (cat /tmp/p >/tmp/got 2>&1 &) && sleep 1' || fail 'nobody waits for the pipe'
want 3 site-in-use apply "$dom" "$hf/quiet.vpatch"
grep -E 'task [0-9]+ \(cat\) stands in fifo_open' "$work/stderr" || fail "not named: $(cat "$work/stderr")"
untouched quiet 'a sleeper'
rig_cmd quiet 'echo through >/tmp/p; sleep 1; grep through /tmp/got' || fail 'the one who slept did not wake'

# Under load: others come and go in what is replaced and in everything else.
rig_cmd quiet '(while :; do cat /proc/cmdline /proc/version /proc/stat; done) >/dev/null 2>&1 & echo $! >/tmp/a
  (while :; do ls -R /sys/class; done) >/dev/null 2>&1 & echo $! >/tmp/b' || fail 'no load'
want 0 ok apply "$dom" "$hf/quiet.vpatch"
jq -c '{window_us}' <<<"$said"
[ "$(rig_cmd quiet 'cat /proc/cmdline')" = quiet ] || fail '/proc/cmdline is the old one'
rig_cmd quiet 'cat /tmp/p 2>&1 | grep "No such device"' || fail 'the pipe can be opened'
want 0 ok revert "$dom" quiet
rig_cmd quiet '(cat /tmp/p >/tmp/got &); echo again >/tmp/p; sleep 1; grep again /tmp/got' || fail 'the pipe cannot be opened'
rig_cmd quiet 'kill $(cat /tmp/a /tmp/b)'
untouched quiet 'the end'
