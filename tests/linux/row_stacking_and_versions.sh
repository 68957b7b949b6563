#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Hotfixes stack on different functions; a higher version replaces a lower in one window, a lower
# only when asked; a function that is taken is refused with the holder's name; apply twice and
# revert twice change nothing.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest st
vp_hotfix banner banner2 cmdline rival two
texts st
is() { [ "$(rig_cmd st 'cat /proc/version')" = "$1" ] || fail "/proc/version is: $(rig_cmd st 'cat /proc/version'), wanted: $1"; }
changed() { [ "$(jq .changed <<<"$said")" = "$1" ] || fail "changed is not $1: $said"; }
plain=$(rig_cmd st 'cat /proc/version')
cmdline=$(rig_cmd st 'cat /proc/cmdline')

want 0 ok apply "$dom" "$hf/banner.vpatch" --dry-run
changed false
is "$plain"
want 0 ok apply "$dom" "$hf/banner.vpatch"
changed true
is "$text1"
want 0 'ok|already-applied' apply "$dom" "$hf/banner.vpatch"
changed false
want 0 ok status "$dom" banner
want 1 site-taken apply "$dom" "$hf/rival.vpatch"
grep -q banner "$work/stderr" || fail "the refusal does not name the holder: $(cat "$work/stderr")"
want 1 site-taken apply "$dom" "$hf/two.vpatch"
want 0 ok apply "$dom" "$hf/cmdline.vpatch"
changed true
[ "$(rig_cmd st 'cat /proc/cmdline')" = 'cmdline fixed by vpatch' ] || fail 'the second hotfix does nothing'
is "$text1"

rig_cmd st "load start '$text1' '$text2'" # '@' is not used: both texts are whole
rig_cmd st 'load from 0 1'
want 0 ok apply "$dom" "$hf/banner2.vpatch"
changed true
rig_cmd st 'load at 1 5 && load stop' || fail 'replacing version 1 by 2 showed something else'
is "$text2"
want 1 downgrade apply "$dom" "$hf/banner.vpatch"
is "$text2"
want 0 ok apply "$dom" "$hf/banner.vpatch" --allow-downgrade
is "$text1"
want 0 ok apply "$dom" "$hf/banner2.vpatch"
want 0 ok revert "$dom" banner
changed true
is "$plain"
want '[01]' 'ok|not-applied' revert "$dom" banner
want 1 not-applied status "$dom" banner
want 0 ok status "$dom" cmdline
want 0 ok revert "$dom" cmdline
[ "$(rig_cmd st 'cat /proc/cmdline')" = "$cmdline" ] || fail '/proc/cmdline did not come back'
want 0 ok apply "$dom" "$hf/two.vpatch"
[ "$(rig_cmd st 'cat /proc/cmdline')" = 'two, second' ] || fail 'two: the second function'
rig_cmd st 'grep -q "(two, first)" /proc/version' || fail 'two: the first function'
want 0 ok revert "$dom" two
untouched st 'the end'
