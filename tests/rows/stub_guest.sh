#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A guest that is not Linux, by its stub alone: sites, inspect, and a hotfix built for its ELF image,
# applied to CPUs that run through the sites, seen there, and taken back.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${O:=build}"
case $O in /*) ;; *) O=$PWD/$O ;; esac
elf=$O/tests/guests/arm64/sites.elf
for tool in qemu-system-aarch64 aarch64-linux-gnu-gcc; do
  command -v $tool >/dev/null || { echo "skip: $tool is missing"; exit 77; }
done
[ -e "$elf" ] || { echo "skip: $elf is not built"; exit 77; }

dir=$(mktemp -d) qemu=
trap 'exec 3>&- 4<&-; [ -z "$qemu" ] || { kill -KILL "$qemu"; wait "$qemu"; } 2>/dev/null; rm -rf "$dir"' EXIT
fail() { echo "stub_guest: $*"; exit 1; }
vp() { "$O/vpatch" "$1" --config "$dir/conf" "${@:2}"; }
printf 'state-dir = %s/state\nrun-dir = %s/run\n' "$dir" "$dir" >"$dir/conf"
domain=qmp:$dir/qmp
mkfifo "$dir/q.in" "$dir/q.out"
start() {
  qemu-system-aarch64 -M virt -cpu cortex-a57 -accel tcg,thread=multi -smp 2 -m 512 -nodefaults \
    -display none -qmp "unix:$dir/qmp,server=on,wait=off" -qtest "pipe:$dir/q" -kernel "$1" \
    </dev/null 2>"$dir/log" &
  qemu=$!
}
start "$elf"
exec 3<>"$dir/q.in" 4<>"$dir/q.out"

# The image lies text_va - text_pa away from its memory.
sym() { echo $((0x$(nm "$elf" | awk -v s="$1" '$3 == s {print $1}'))); }
pa() { printf '0x%x' $(($1 - $(sym offset))); }
ctl=$(sym ctl)
ask() { # a qtest command; prints what it answers
  local answer
  echo "$*" >&3
  while read -r -t 30 answer <&4; do
    case $answer in OK*) echo "${answer#OK}"; return ;; esac
  done
  fail "no answer to $*"
}
peek() { ask readq "$(pa "$1")"; }
poke() { ask writeq "$(pa "$1")" "$2" >/dev/null; }

for ((i = 0; i < 200; i++)); do
  [ $(($(peek "$ctl"))) = $((0x31656469735f7670)) ] && break
  sleep 0.1
done
[ "$i" -lt 200 ] || fail "the guest did not start"
# Both CPUs through probe `two` (struct probe is 128 bytes, its name first), with any answer right.
probe() {
  local i n
  n=$(($(peek $((ctl + 32)))))
  for ((i = 0; i < n; i++)); do
    [ "$(ask read "$(pa $(($(sym probes) + 128 * i)))" 0x10)" = " 0x$1" ] && { echo "$i"; return; }
  done
  fail "no probe $1"
}
hex() { printf '%-16s' "$1" | tr ' ' '\0' | od -An -v -tx1 | tr -d ' \n'; }
counted() { # which counter of CPU 0 moves: 8 old, 16 new
  local before=$(($(peek $((ctl + 128 + $1)))))
  for ((i = 0; i < 100; i++)); do
    [ $(($(peek $((ctl + 128 + $1))))) -gt "$before" ] && return 0
    sleep 0.05
  done
  return 1
}

cat >"$dir/fix.c" <<'C'
#include <vpatch/hotfix.h>
extern uint64_t pay_two(void); /* of the image */
static uint64_t fixed(void) { return pay_two(); }
static uintptr_t called(uintptr_t v) { return v + 1; }
VPATCH_REPLACE(probe_two, fixed);
VPATCH_SITE_CALL(call, called);
VPATCH_SITE_WORD(jumps, "1f2003d5");
VPATCH_CONSISTENCY_ENTRY;
C
vp build "$dir/fix.c" --image "$elf" -o "$dir/fix.vpatch" || fail build
vp show "$dir/fix.vpatch" | grep -q 'site jumps: word 1f2003d5' || fail "show does not name the site"
vp inspect "$domain" | tee "$dir/inspect" | grep -q 'not Linux, arm64' || fail "inspect: $(cat "$dir/inspect")"
grep -q '256 trap records' "$dir/inspect" || fail "inspect does not name the trap records"
[ "$(vp sites "$domain" 'probe_*' | grep -c 'rest .*probe_')" = 2 ] || fail "sites: $(vp sites "$domain")"

poke $((ctl + 16)) "$(probe "$(hex call)")"
counted 8 || fail "the CPUs do not run the old code"
vp apply "$domain" "$dir/fix.vpatch" --allow-unsigned --deadline 5s || fail "apply: exit $?"
counted 16 || fail "the CPUs do not run the new code"
vp sites "$domain" | grep -q 'taken .*call (fix)' || fail "sites: $(vp sites "$domain")"
vp status "$domain" fix >/dev/null || fail "status: exit $?"
vp apply "$domain" "$dir/fix.vpatch" --allow-unsigned | grep -q 'applied already' || fail "applied twice"
vp revert "$domain" fix --deadline 5s >/dev/null || fail "revert: exit $?"
counted 8 || fail "the CPUs do not run the old code again"
[ "$(vp sites "$domain" | grep -c ' rest ')" = 11 ] || fail "sites: $(vp sites "$domain")"
vp apply "$domain" "$dir/fix.vpatch" --allow-unsigned --deadline 5s >/dev/null || fail "again: exit $?"
counted 16 || fail "the CPUs do not run the new code again"
for cpu in 0 1; do
  [ $(($(peek $((ctl + 128 * (cpu + 1) + 24))))) = 0 ] || fail "CPU $cpu: a wrong answer"
  [ $(($(peek $((ctl + 128 * (cpu + 1) + 48))))) = 0 ] || fail "CPU $cpu: a fault"
done

# Functions that a dispatcher switches by a literal: one that calls it at rest, one that does not.
vp revert "$domain" fix --deadline 5s >/dev/null || fail "revert: exit $?"
cat >"$dir/lit.c" <<'C'
#include <vpatch/hotfix.h>
extern uint64_t pay_two(void);
static uint64_t fixed(void) { return pay_two(); }
VPATCH_REPLACE(probe_literal_c, fixed);
VPATCH_REPLACE(literal_only, fixed);
VPATCH_CONSISTENCY_ENTRY;
C
vp build "$dir/lit.c" --image "$elf" -o "$dir/lit.vpatch" || fail "build: literals"
bytes() { ask read "$(pa "$(sym "$1")")" "$2"; } # of the text at a symbol
was=$(bytes probe_literal_c 8) only=$(bytes probe_literal_only 8)
for round in 1 2; do
  vp apply "$domain" "$dir/lit.vpatch" --allow-unsigned --deadline 5s >"$dir/out" || fail "literals: exit $?"
  [ "$(bytes probe_literal_c 8)" != "$was" ] || fail "no call of the dispatcher"
  [ "$(bytes probe_literal_only 8)" = "$only" ] || fail "text has changed where the literal is enough"
  for name in probe_literal_c literal_only; do
    poke $((ctl + 16)) "$(probe "$(hex "$name")")"
    counted 16 || fail "$name: the CPUs do not run the new code"
    vp sites "$domain" "$name" | grep -q "taken .*(lit)" || fail "sites: $(vp sites "$domain" "$name")"
  done
  vp status "$domain" lit >"$dir/out" || fail "status: exit $?: $(cat "$dir/out")"
  vp revert "$domain" lit --deadline 5s >/dev/null || fail "revert: exit $?"
  [ "$(bytes probe_literal_c 8)" = "$was" ] || fail "the call of the dispatcher stands"
  for name in probe_literal_c literal_only; do
    poke $((ctl + 16)) "$(probe "$(hex "$name")")"
    counted 8 || fail "$name: the CPUs do not run the old code again"
  done
  [ "$(vp sites "$domain" | grep -c ' rest ')" = 11 ] || fail "sites: $(vp sites "$domain")"
done
# One that has changed since is nobody's to put back.
vp apply "$domain" "$dir/lit.vpatch" --allow-unsigned --deadline 5s >/dev/null || fail "literals: exit $?"
poke $((ctl + 16)) "$(probe "$(hex call)")"
literal=$(($(sym probe_literal_only) - 8))
new=$(peek "$literal")
poke "$literal" 0x1234
vp status "$domain" lit >/dev/null 2>&1 && fail "status does not see that a literal has changed"
vp revert "$domain" lit --deadline 5s >/dev/null 2>&1 && fail "a literal that somebody has changed was put back"
poke "$literal" "${new# }"
vp revert "$domain" lit --deadline 5s >/dev/null || fail "revert: exit $?"
for cpu in 0 1; do
  [ $(($(peek $((ctl + 128 * (cpu + 1) + 24))))) = 0 ] || fail "literals: CPU $cpu: a wrong answer"
  [ $(($(peek $((ctl + 128 * (cpu + 1) + 48))))) = 0 ] || fail "literals: CPU $cpu: a fault"
done

# For another build of the image: refused, and nothing has changed.
vp build "$dir/fix.c" --image "$elf" --build-id 00112233445566778899aabbccddeeff00112233 \
  -o "$dir/other.vpatch" >/dev/null || fail "build for another image"
vp apply "$domain" "$dir/other.vpatch" --allow-unsigned 2>&1 | grep -q 'another build of the image' ||
  fail "the hotfix of another image was not refused"
echo "stub_guest: ok"
