#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What apply and revert change in the kernel's text, as perf reads it out of --perf-data and as `vpatch
# events` tells it: the addresses of the guest's own kallsyms, the bytes that QEMU's monitor shows before
# and after, in the order and at the time of the change.
set -u
. "$(dirname "$0")/vp.sh"
command -v perf >/dev/null && perf --version >/dev/null 2>&1 || { echo 'perf is missing'; exit 77; }
vp_begin "$1"
vp_guest poke
vp_hotfix banner
site=version_proc_show
rig_cmd poke 'cat /proc/kallsyms' 60 >"$work/kallsyms"
a=$work/apply.data r=$work/revert.data

# pokes FILE: a line a text poke, as perf reads it: time address symbol old new
pokes() {
  perf script --kallsyms "$work/kallsyms" --show-text-poke-events -i "$1" >"$work/script" 2>"$work/perf.err" ||
    fail "perf script ends with $?: $(cat "$work/perf.err")"
  [ ! -s "$work/perf.err" ] || fail "perf script complains: $(cat "$work/perf.err")"
  awk '
    function flush() { if (at) print time, at, sym, (old == "" ? "-" : old), new }
    / PERF_RECORD_TEXT_POKE / {
      flush(); old = new = ""
      for (i = 1; $i != "PERF_RECORD_TEXT_POKE"; i++) ;
      time = $(i - 1); sub(/:$/, "", time); at = $(i + 1); sym = $(i + 2)
      next
    }
    / Old bytes:/ { for (i = 3; i <= NF; i++) old = old $i }
    / New bytes:/ { for (i = 3; i <= NF; i++) new = new $i }
    END { flush() }' "$work/script"
}
bytes() { phys_bytes poke "$(gpa_of poke "$1")" "$2"; }
json() { jq -r "$1" <<<"$said"; }

# --- nothing is changed where the file cannot be -------------------------------------------------
echo mine >"$work/mine"
want 1 io apply "$dom" "$hf/banner.vpatch" --perf-data "$work/mine"
[ "$(cat "$work/mine")" = mine ] || fail 'a file that was there was written to'
want 1 io apply "$dom" "$hf/banner.vpatch" --perf-data "$work/nowhere/x"
want 1 not-applied revert "$dom" banner --perf-data "$work/failed"
want 0 ok apply "$dom" "$hf/banner.vpatch" --perf-data "$work/dry" --dry-run
at=$(json '.edits[] | select(.kind == "site") | .address')
len=$(($(json '.edits[] | select(.kind == "site") | .old | length') / 2))
want 0 ok events "$dom"
[ "$(json .events)" = 0 ] || fail "events without a change: $said"
untouched poke 'before the change'

# --- a follower, an apply, a revert ----------------------------------------------------------------
"$vp_bin" events "$dom" --follow --json >"$work/told" 2>"$work/told.err" &
follower=$!
before=$(bytes "$at" "$len")
began=${EPOCHREALTIME/./}
: >"$a" # empty is as good as absent
want 0 ok apply "$dom" "$hf/banner.vpatch" --perf-data "$a"
ended=${EPOCHREALTIME/./}
after=$(bytes "$at" "$len")
[ "$before" != "$after" ] || fail 'the site has not changed'
payload=$(json .payload.address) payload_len=$(json .payload.len)
want 0 ok revert "$dom" banner --perf-data "$r"
[ "$(bytes "$at" "$len")" = "$before" ] || fail 'the site has not come back'
ls "$work" | grep -E '^(failed|dry)|\.data\.' && fail 'a file was left behind'

# --- what perf reads ---------------------------------------------------------------------------------
pokes "$a" >"$work/applied"
pokes "$r" >"$work/reverted"
cat "$work/applied" "$work/reverted" | cut -c 1-150
read -r time1 at1 _ old1 new1 < <(sed -n 1p "$work/applied")
read -r time2 at2 sym2 old2 new2 < <(sed -n 2p "$work/applied")
read -r time3 at3 sym3 old3 new3 <"$work/reverted"
[ "$(wc -l <"$work/applied") $(wc -l <"$work/reverted")" = '2 1' ] || fail 'not two pokes and one'
[ "0x$at1 $old1 $new1" = "$payload - $(bytes "$payload" "$payload_len")" ] || fail 'the payload comes first, as it is in the guest'
[ "0x$at2 $old2 $new2" = "$at $before $after" ] || fail "the site: wanted $at $before $after"
[ "0x$at3 $old3 $new3" = "$at $after $before" ] || fail "the site: wanted $at $after $before"
here=$(awk -v s="$site" '$3 == s { print $1; exit }' "$work/kallsyms")
off=$(printf '%s+0x%x' "$site" $((at - 0x$here)))
[ "$sym2 $sym3" = "$off $off" ] || fail "perf finds $sym2 and $sym3, wanted $off"
printf '%s\n' "$time1" "$time2" "$time3" | sort -nc || fail 'they are not in the order of time'
perf report --header-only -i "$a" >"$work/header" 2>&1
grep -q "^# os release : $(rig_cmd poke 'uname -r')\$" "$work/header" || fail "release: $(cat "$work/header")"
grep -q "^# arch : $(rig_cmd poke 'uname -m')\$" "$work/header" || fail "arch: $(cat "$work/header")"
grep -q '^# clockid: monotonic' "$work/header" || fail "clock: $(cat "$work/header")"
perf buildid-list -i "$a" >"$work/ids" 2>&1
want 0 ok inspect "$dom"
id=$(json '.. | .build_id? // empty' | head -n 1)
[ -z "$id" ] || grep -q "^$id \[kernel.kallsyms\]" "$work/ids" || fail "build-id: $(cat "$work/ids"), wanted $id"
cp "$a" "$work/copy"
want 1 io apply "$dom" "$hf/banner.vpatch" --perf-data "$a"
cmp "$a" "$work/copy" || fail 'a file that was there was written to'

# --- what the follower was told ----------------------------------------------------------------------
for ((i = 0; i < 50; i++)); do
  [ "$(wc -l <"$work/told")" -ge 3 ] && break
  sleep 0.1
done
kill -TERM "$follower"
wait "$follower"
code=$?
[ $code = 0 ] && [ ! -s "$work/told.err" ] || fail "the follower ends with $code: $(cat "$work/told.err")"
jq -r 'select(.schema == "vpatch.event/1") | [.op, .kind, .address, .old // "-", .new // "-"] | join(" ")' "$work/told" >"$work/events"
cat "$work/events"
diff - "$work/events" <<END || fail 'the follower was told something else'
apply payload $payload - -
apply site $at $before $after
revert site $at $after $before
END
[ "$(tail -n 1 "$work/told" | jq -r '[.schema, .reason, .events] | join(" ")')" = 'vpatch.events/1 ok 3' ] ||
  fail "the follower's last word: $(tail -n 1 "$work/told")"
jq -se --argjson b "$began" --argjson e "$ended" \
  'map(select(.op == "apply")) | length == 2 and all(.realtime_ns / 1000 >= $b and .realtime_ns / 1000 <= $e)' "$work/told" >/dev/null ||
  fail "the time is not the change's: $began to $ended"
[ "$(jq -r 'select(.op == "apply" and .kind == "site") | .monotonic_ns / 1000 | floor' "$work/told")" = "${time2/./}" ] ||
  fail "perf's time $time2 is not the event's"

# --- it ends with the domain ---------------------------------------------------------------------------
untouched poke 'the end'
"$vp_bin" events "$dom" --follow >"$work/told" 2>&1 &
follower=$!
for ((i = 0; i < 50; i++)); do
  [ "$(wc -l <"$work/told")" -ge 3 ] && break
  sleep 0.1
done
rig_stop poke
wait "$follower"
code=$?
[ $code = 0 ] || fail "the follower ends with $code: $(cat "$work/told")"
cat "$work/told"
[ -z "$(ls "$work/run/events")" ] || fail "left behind: $(ls "$work/run/events")"
