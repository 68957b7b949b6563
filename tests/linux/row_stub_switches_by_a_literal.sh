#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The stub module publishes every function that ftrace knows; one store to a literal switches a
# function beside tracer and kprobe; it is not unloaded while the host needs it.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
module=$("$rig_here/stub.sh" "$arch" "${RIG_SUITE:-bookworm}") || exit
cat=$O/tests/tools/sitecat
[ -x "$cat" ] || { echo "$cat was not built"; exit 1; }
vp_guest stub
guest() { rig_cmd stub "$1" 60; }
sitecat() { "$cat" "$dom" "$@"; }
# refused WHY: neither released nor unloaded
refused() {
  guest 'echo 1 >/sys/module/vpatch_stub/parameters/release' 2>/dev/null && fail "released, though $1"
  guest 'rmmod vpatch_stub' >/dev/null 2>&1 && fail "unloaded, though $1"
  return 0
}
hits() { guest "sed -n 's/^ *vp  *\([0-9]*\) .*/\1/p' /sys/kernel/tracing/kprobe_profile"; }

"$cat" "$dom" list 2>"$work/none" && fail 'a table without a stub'
rig_put stub "$module" /root/vpatch_stub.ko || fail 'no module'
guest 'insmod /root/vpatch_stub.ko functions=version_proc_show,no_such_function' >/dev/null 2>&1 && fail 'a function that there is not'
guest 'insmod /root/vpatch_stub.ko functions=version_proc_show' || fail 'insmod'
guest "dmesg | grep 'vpatch_stub: .* sites'" || fail 'nothing in dmesg'

# The table against what the guest says itself. Left out there: records of functions that were
# discarded, which ftrace shows under a name of its own (x86) or of the function before.
sitecat list >"$work/list" || fail 'no table'
head -n 3 "$work/list"
guest 'cat /sys/kernel/tracing/available_filter_functions | gzip -1' | gzip -d >"$work/theirs" || fail 'no list of functions'
guest 'cat /proc/kallsyms | gzip -1' | gzip -d >"$work/symbols" || fail 'no /proc/kallsyms'
awk 'FILENAME ~ /symbols$/ { if ($2 ~ /[tTwW]/) sym[$3]++; next }
  $1 !~ /^__ftrace_invalid_address__/ && !/\[/ { n[$1]++ }
  END { for (f in n) for (i = n[f] < sym[f] ? n[f] : sym[f]; i > 0; i--) print f }' "$work/symbols" "$work/theirs" | LC_ALL=C sort >"$work/wanted"
awk '/ kind 5 / { print $NF }' "$work/list" | LC_ALL=C sort >"$work/got"
n=$(wc -l <"$work/got")
[ "$n" -gt 20000 ] || fail "only $n functions"
cmp "$work/got" "$work/wanted" || { diff "$work/got" "$work/wanted" | head -n 20; fail 'not the functions that ftrace knows'; }
awk '/ kind 5 / { print $2, $NF }' "$work/list" | LC_ALL=C sort >"$work/got"
awk '{ print $1, $3 }' "$work/symbols" | LC_ALL=C sort >"$work/wanted"
[ -z "$(comm -23 "$work/got" "$work/wanted" | head -n 5)" ] || fail "sites that are not where their symbol is: $(comm -23 "$work/got" "$work/wanted" | head -n 5)"
for f in seq_puts vfs_read schedule; do
  read -r _ at _ _ _ _ _ _ _ rest _ < <(grep " $f\$" "$work/list")
  [ "$(phys_bytes stub "$(gpa_of stub 0x"$at")" $((${#rest} / 2)))" = "$rest" ] || fail "$f does not hold $rest"
done
id=$(sed -n 's/^table .* id //p' "$work/list")
guest 'od -An -v -tx1 /sys/kernel/notes | tr -d " \n"' | grep -q "$id" || fail "$id is not the kernel's build-id"

# The payload, and somebody who uses the function while it is switched.
seq_puts=$(awk '$3 == "seq_puts" { print $1; exit }' "$work/symbols")
${cc%-gcc-12}-gcc -c -DSEQ_PUTS="0x$seq_puts" -o "$work/payload.o" "$rig_here/stub/payload.S" &&
  "${cc%-gcc-12}-objcopy" -O binary -j .text "$work/payload.o" "$work/payload" || fail 'no payload'
to=$(sitecat put 64 "$work/payload") || fail 'the arena was not written'
guest 'trace on version_proc_show && trace probe version_proc_show' || fail 'no tracer, no kprobe'
guest "load start '@' 'switched by a literal'" || fail 'no load'
for round in 1 2 3; do
  guest 'load from 0 1' && sitecat literal version_proc_show.literal "$to" && guest 'load at 1 20' || fail "round $round: not switched"
  was=$(hits)
  guest 'echo >/sys/kernel/tracing/trace; load at 1 5'
  [ "$(guest 'trace seen version_proc_show')" -gt 0 ] || fail 'switched: the tracer is blind'
  [ "$(hits)" -gt "$was" ] || fail 'switched: the kprobe is blind'
  refused 'a function is switched'
  guest 'load from 1 0' && sitecat literal version_proc_show.literal 0 && guest 'load at 0 20' || fail "round $round: not back"
  was=$(hits)
  guest 'load at 0 5'
  [ "$(hits)" -gt "$was" ] || fail 'back: the kprobe is blind'
done
guest 'load stop' || fail 'wrong answers'
guest 'trace unprobe; trace off'

refused 'the arena holds code'
sitecat fill 64 "$(stat -c %s "$work/payload")" || fail 'not filled'
sitecat ledger 1 || fail 'no ledger space'
refused 'there is a record'
sitecat ledger 0 || fail 'no ledger space'
guest 'echo 0 >/sys/module/vpatch_stub/parameters/release' 2>/dev/null && fail 'released by a 0'
guest 'echo 1 >/sys/module/vpatch_stub/parameters/release' || fail 'not released'
sitecat list >/dev/null 2>"$work/none" && fail 'a table that was taken back'
grep -q no-stub "$work/none" || fail "$(cat "$work/none")"
guest 'rmmod vpatch_stub' || fail 'not unloaded'
[ "$(guest 'trace enabled')" = 1 ] || fail 'ftrace is off'
guest 'insmod /root/vpatch_stub.ko functions=version_proc_show,vfs_read' || fail 'not loaded again'
sitecat list >"$work/again" || fail 'no second table'
generation() { sed -n 's/^table .* generation \([0-9]*\) .*/\1/p' "$1"; }
[ "$(generation "$work/list")" != "$(generation "$work/again")" ] || fail 'the same generation'
[ "$(grep -c ' kind 6 ' "$work/again")" = 2 ] || fail 'not two literals'
guest 'echo 1 >/sys/module/vpatch_stub/parameters/release && rmmod vpatch_stub' || fail 'not unloaded again'
untouched stub 'the end'
echo "$n functions"
