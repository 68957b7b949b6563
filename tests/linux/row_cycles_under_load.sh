#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# 1,000 cycles of apply and revert under two processes that call the function all the time: no
# wrong answer but old-then-new, console clean, tracing of other functions works afterwards and of
# this one after a revert, and the arena is after the last cycle what it was after the first.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest cyc
vp_hotfix banner
texts cyc
n=$(scaled 1000)

arena() { vp_json '.arena | tojson' inspect "$dom"; }
# The kernel's whole text, as it lies in guest memory.
kernel_text() {
  local range
  range=$(rig_cmd cyc "sed -n 's/ *\\([0-9a-f]*-[0-9a-f]*\\) : Kernel code/\\1/p' /proc/iomem" | head -n 1)
  rig_save cyc $((16#${range%-*})) $((16#${range#*-} - 16#${range%-*})) "$1"
}

# The bytes of that text that the kernel's own jump labels change whenever it likes (marking the TSC
# unstable on a busy host is enough): "from to", counted from 1. arm64 does not show its table.
jump_labels() {
  local start stop text at
  read -r start stop text <<<"$(rig_cmd cyc "sed -n 's/^\([0-9a-f]*\) . \(__start___jump_table\|__stop___jump_table\|_text\)\$/\2 \1/p' /proc/kallsyms" |
    LC_ALL=C sort | sed 's/.* //' | tr '\n' ' ')"
  [ -n "$text" ] || return 0
  at=$((16#$start))
  rig_save cyc "$(gpa_of cyc "0x$start")" $((16#$stop - at)) "$work/labels"
  # struct jump_entry: s32 code, s32 target, long key; code counts from itself.
  od -An -v -td4 -w16 "$work/labels" | awk -v off=$((at - 16#$text)) '{ p = off + (NR - 1) * 16 + $1 + 1; print p, p + 4 }'
}

rig_cmd cyc "load start '$text0' '$text1'" || fail 'no load'
rig_nice cyc
rig_cmd cyc 'load from 0 1'
for ((i = 1; i <= n; i++)); do
  want 0 ok apply "$dom" "$hf/banner.vpatch"
  [ "$(jq .changed <<<"$said")" = true ] || fail "cycle $i: apply changed nothing: $said"
  jq -r .window_us <<<"$said" >>"$work/windows"
  rig_cmd cyc 'load at 1 2 && load from 1 0' || fail "cycle $i: after apply: $(rig_cmd cyc 'load report')"
  want 0 ok revert "$dom" banner
  [ "$(jq .changed <<<"$said")" = true ] || fail "cycle $i: revert changed nothing: $said"
  rig_cmd cyc 'load at 0 2 && load from 0 1' || fail "cycle $i: after revert: $(rig_cmd cyc 'load report')"
  if [ $i = 1 ]; then
    arena >"$work/arena.first"
    kernel_text "$work/text.first"
  fi
done
rig_cmd cyc 'load at 0 2' || fail 'at the end'
arena >"$work/arena.last"
kernel_text "$work/text.last"
cmp "$work/arena.first" "$work/arena.last" || fail "the arena changed: $(cat "$work/arena.first" "$work/arena.last")"
jump_labels >"$work/own"
cmp -l "$work/text.first" "$work/text.last" | awk -v own="$work/own" '
  BEGIN { while ((getline line <own) > 0) { split(line, f); for (i = f[1]; i <= f[2]; i++) mine[i] } }
  !($1 in mine)' >"$work/changed"
[ ! -s "$work/changed" ] || fail "the kernel's text is not what it was after the first cycle: $(head "$work/changed")"
rig_cmd cyc 'load stop' || fail 'the load saw something wrong'
want 0 ok status "$dom"
for f in vfs_read version_proc_show; do
  seen=$(rig_cmd cyc "trace on $f && cat /proc/version >/dev/null; trace seen $f; trace off")
  [ "${seen:-0}" -gt 0 ] || fail "tracing $f does not work after a revert"
done
want 0 ok apply "$dom" "$hf/banner.vpatch"
seen=$(rig_cmd cyc 'trace on vfs_read && cat /proc/version >/dev/null; trace seen vfs_read; trace off')
[ "${seen:-0}" -gt 0 ] || fail 'tracing another function does not work while the hotfix is applied'
[ "$(rig_cmd cyc 'trace enabled')" = 1 ] || fail 'the kernel has turned ftrace off'
want 0 ok revert "$dom" banner
[ "$(rig_cmd cyc 'cat /proc/sys/kernel/tainted; lsmod | wc -l' | tr '\n' ' ')" = '0 1 ' ] || fail 'tainted, or a module is loaded'
untouched cyc 'the cycles'
sort -n "$work/windows" | awk '{ w[NR] = $1 } END { printf "%d cycles; window us: least %.0f, median %.0f, most %.0f\n", NR, w[1], w[int((NR + 1) / 2)], w[NR] }'
