#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every symbol recovered from guest memory equals the guest's own /proc/kallsyms.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest sym
rig_cmd sym 'cat /proc/kallsyms | grep -v "\[" | gzip -1' 120 | gzip -d >"$work/theirs" || fail 'no /proc/kallsyms'
vp inspect "$dom" --symbols >"$work/ours" || fail 'inspect --symbols'
n=$(wc -l <"$work/theirs")
[ "$n" -gt 20000 ] || fail "only $n symbols in the guest"
cmp "$work/ours" "$work/theirs" || { diff "$work/ours" "$work/theirs" | head -n 20; fail 'they differ'; }
untouched sym inspect
echo "$n symbols, all equal"
