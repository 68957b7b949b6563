#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# A socket that is absent, is not QMP, is held by another client, may not be opened, or whose QEMU
# dies at any moment: one sentence, the right exit code, and the guest as it was.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest sock -monitor "unix:$rig_dir/hmp,server=on,wait=off"
vp_hotfix banner
b=$hf/banner.vpatch

want 1 no-domain apply "qmp:$rig_dir/absent" "$b"
want 1 no-domain inspect "qmp:$rig_dir/absent"
want 1 'no-domain|not-qmp' inspect "qmp:$b"
want 1 not-qmp apply "qmp:$rig_dir/hmp" "$b"
want '[13]' 'not-qmp|timeout|monitor-busy' inspect "qmp:$rig_dir/sock/ctl"
want '[12]' 'usage|no-domain|io' inspect "qmp:$(printf 'x%.0s' {1..300})"
want 2 usage inspect 'nonsense:7'

# Another client holds the monitor.
"$rig_ctl" events "$(rig_sock sock)" >/dev/null 2>&1 &
other=$!
sleep 0.3
want 3 monitor-busy apply "$dom" "$b"
kill $other
wait $other 2>/dev/null
want 0 ok apply "$dom" "$b"
want 0 ok revert "$dom" banner

# No permission. Root may open anything, so it asks as nobody.
cp "$vp_bin" "$rig_dir/vpatch"
if [ "$(id -u)" = 0 ]; then
  chmod 711 "$rig_dir" "$rig_dir/sock"
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
else
  as=()
  chmod 000 "$(rig_sock sock)"
fi
said=$(env -u VPATCH_CONFIG "${as[@]}" "$rig_dir/vpatch" inspect "$dom" --json 2>"$work/stderr")
r=$?
chmod 755 "$(rig_sock sock)"
[ $r = 1 ] && [ "$(jq -r .reason <<<"$said")" = no-permission ] || fail "no permission: exit $r, $said"
untouched sock 'bad sockets'

# QEMU dies at some moment of an apply.
for ((i = 0; i < $(scaled 100); i++)); do
  vp_guest die
  (sleep "0.$(printf %03d $((RANDOM % 250)))"; kill -KILL "$(rig_pid die)") &
  out=$(timeout 60 "$vp_bin" apply "$dom" "$b" --json 2>"$work/stderr")
  r=$?
  wait $!
  case $r-$(jq -r .reason <<<"$out") in
    0-ok | [13]-*) ;;
    *) fail "QEMU killed during apply: exit $r: $out $(cat "$work/stderr")" ;;
  esac
  rig_stop die
  vp recover >"$work/out" 2>&1 || fail "recover after QEMU's death: $(cat "$work/out")"
done
