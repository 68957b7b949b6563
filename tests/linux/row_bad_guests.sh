#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guests in no state to be patched: not Linux, booting, paused by an admin, migrating, shut down,
# panicked. Each is refused with its reason, or left as it was found.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_hotfix banner
b=$hf/banner.vpatch

# Still booting: asked all the time from QEMU's first moment on. The boot must not mind.
rig_spawn boot "$arch" || exit
dom=qmp:$(rig_sock boot)
until [ -S "$(rig_sock boot)" ]; do sleep 0.02; done
declare -A answers=()
for ((i = 0; i < 400; i++)); do
  out=$(timeout 60 "$vp_bin" apply "$dom" "$b" --json 2>"$work/stderr")
  r=$?
  why=$(jq -r .reason <<<"$out")
  answers[$r-$why]=$((${answers[$r-$why]:-0} + 1))
  case $r-$why in
    0-ok) break ;;
    3-booting | 1-not-linux | 3-guest-patching | 3-guest-changed | 1-guest-corrupt) ;;
    *) fail "while booting: exit $r: $out $(cat "$work/stderr")" ;;
  esac
  sleep 0.02
done
for a in "${!answers[@]}"; do echo "booting: $a ${answers[$a]} times"; done
[ "${answers[0-ok]:-0}" = 1 ] || fail 'it never became patchable'
rig_await_boot boot || fail "the boot was disturbed: $(tail -n 20 "$(rig_console boot)")"
want 0 ok revert "$dom" banner
untouched boot booting
rig_stop boot

vp_guest st -no-shutdown
# Paused by an admin: whatever the answer, it stays paused.
rig_qmp st '{"execute":"stop"}' >/dev/null
for verb in "inspect $dom" "apply $dom $b" "status $dom" "revert $dom banner"; do
  # shellcheck disable=SC2086
  vp $verb >"$work/out" 2>&1
  echo "paused: $verb: exit $?: $(tail -n 1 "$work/out")"
  [ "$(rig_status st)" = paused ] || fail "$verb let go a guest that its admin had paused"
done
rig_qmp st '{"execute":"cont"}' >/dev/null
untouched st paused

# Migrating, slowly.
rig_qmp st '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":65536}}' \
  '{"execute":"migrate","arguments":{"uri":"exec:cat >/dev/null"}}' >/dev/null
want 3 migrating apply "$dom" "$b"
echo "migrating: $(cat "$work/stderr")"
rig_qmp st '{"execute":"migrate_cancel"}' >/dev/null
untouched st migrating
want 0 ok apply "$dom" "$b"
want 0 ok revert "$dom" banner

# Panicked: the console complains, rightly.
rig_cmd st 'echo 0 >/proc/sys/kernel/panic; (sleep 1; echo c >/proc/sysrq-trigger) &' 5
for ((i = 0; i < 100; i++)); do
  grep -q 'Kernel panic' "$(rig_console st)" && break
  sleep 0.1
done
grep -q 'Kernel panic' "$(rig_console st)" || fail 'the guest did not panic'
sleep 1
want 1 panicked apply "$dom" "$b"
echo "panicked: $(cat "$work/stderr")"
rig_stop st

# Shut down, but QEMU is still there.
vp_guest off -no-shutdown
rig_cmd off '(sleep 1; poweroff -f) &' 5
for ((i = 0; i < 100; i++)); do
  [ "$(rig_status off)" = shutdown ] && break
  sleep 0.1
done
[ "$(rig_status off)" = shutdown ] || fail "the guest did not shut down: $(rig_status off)"
want 1 shutting-down apply "$dom" "$b"
echo "shut down: $(cat "$work/stderr")"
rig_stop off

# Not Linux: firmware, or nothing at all.
rig_begin
mkdir -p "$rig_dir/none"
case $arch in
  amd64) none=(qemu-system-x86_64 -M q35) ;;
  arm64) none=(qemu-system-aarch64 -M virt -cpu cortex-a57) ;;
esac
setpriv --pdeathsig KILL -- "${none[@]}" -accel tcg -m 64 -nodefaults -display none \
  -qmp "unix:$(rig_sock none),server=on,wait=off" </dev/null >"$rig_dir/none/log" 2>&1 &
rig_pids[none]=$!
until [ -S "$(rig_sock none)" ]; do sleep 0.05; done
sleep 1
want 1 not-linux inspect "qmp:$(rig_sock none)"
want 1 not-linux apply "qmp:$(rig_sock none)" "$b"
echo "not Linux: $(cat "$work/stderr")"
