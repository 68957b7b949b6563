#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A function that the guest's tracer or a kprobe holds is refused, and the words say so; other
# functions can be traced while a hotfix is applied; when the guest takes a patched function
# afterwards, nothing breaks and status tells.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest ft
vp_hotfix banner
texts ft

rig_cmd ft 'trace on version_proc_show' || fail 'no tracer'
want 1 site-traced apply "$dom" "$hf/banner.vpatch"
echo "traced: $(cat "$work/stderr")"
[ "$(rig_cmd ft 'cat /proc/version >/dev/null; trace seen version_proc_show')" -gt 0 ] || fail 'the tracer was disturbed'
rig_cmd ft 'trace off'
rig_cmd ft 'trace probe version_proc_show' || fail 'no kprobe'
want 1 site-traced apply "$dom" "$hf/banner.vpatch"
echo "probed: $(cat "$work/stderr")"
rig_cmd ft 'trace unprobe'
# A tracer on everything holds this function, too.
rig_cmd ft 'echo 64 >/sys/kernel/tracing/buffer_size_kb; echo >/sys/kernel/tracing/set_ftrace_filter; echo function >/sys/kernel/tracing/current_tracer' 120 || fail 'no tracer on everything'
want 1 site-traced apply "$dom" "$hf/banner.vpatch"
rig_cmd ft 'trace off' 120

want 0 ok apply "$dom" "$hf/banner.vpatch"
[ "$(rig_cmd ft 'trace on vfs_read; cat /proc/version >/dev/null; trace seen vfs_read; trace off')" -gt 0 ] || fail 'another function cannot be traced'
# The guest takes the patched function: amd64 marks it as not traceable, arm64's tracer owns the next word.
rig_cmd ft 'trace on version_proc_show 2>&1; cat /proc/version'
vp status "$dom" banner
r=$?
case $r in 0 | 4) ;; *) fail "status exits $r" ;; esac
rig_cmd ft "cat /proc/version" | grep -qF "$text1" || fail 'the hotfix does not run any more'
vp revert "$dom" banner
r=$?
rig_cmd ft 'trace off'
[ $r = 0 ] || want 0 ok revert "$dom" banner
[ "$(rig_cmd ft 'trace on version_proc_show; cat /proc/version >/dev/null; trace seen version_proc_show; trace off')" -gt 0 ] || {
  # Giving the record back was not safe at that time: said by revert, and a second round gives it back.
  want 0 ok apply "$dom" "$hf/banner.vpatch"
  want 0 ok revert "$dom" banner
  [ "$(rig_cmd ft 'trace on version_proc_show; cat /proc/version >/dev/null; trace seen version_proc_show; trace off')" -gt 0 ] || fail 'the function cannot be traced after its revert'
}
[ "$(rig_cmd ft 'trace enabled')" = 1 ] || fail 'ftrace is off'
untouched ft 'the end'
