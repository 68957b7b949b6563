#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A guest user plants pages that look like the kernel's VMCOREINFO, true copies and altered ones:
# they are passed over, the true one is found, and a hotfix goes where it belongs.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest fg
vp_hotfix banner
texts fg
tell() { vp_json 'del(.arena) | tojson' inspect "$dom"; }
before=$(tell) || fail "inspect: $before"

# The true page, as the guest's root may learn where it is.
read -r at _ < <(rig_cmd fg 'cat /sys/kernel/vmcoreinfo')
rig_save fg $((16#${at#0x} & ~4095)) 4096 "$work/true"
head -c 64 "$work/true" | grep -aq 'OSRELEASE=' || {
  # The note's header comes first: the text follows it in the same page or has one of its own.
  grep -aq 'OSRELEASE=' "$work/true" || fail 'no VMCOREINFO where the guest says'
}
grep -abo -m 1 'OSRELEASE=' "$work/true" | head -n 1 | {
  IFS=: read -r off _
  tail -c +$((off + 1)) "$work/true" | tr -d '\0' | head -c 4000 >"$work/text"
}
alter() { sed -E "$1" "$work/text" >"$work/forged.$2"; }
alter 's/x/x/' 0
alter 's/^(KERNELOFFSET=).*/\1fff000/' 1
alter 's/^(SYMBOL\(swapper_pg_dir\)=).*/\1ffff888000100000/' 2
alter 's/^(SYMBOL\(kallsyms_[a-z_]*\)=).*/\1ffff888000200000/' 3
alter 's/^OSRELEASE=.*/OSRELEASE=9.9.9-forged/' 4
alter 's/^(SYMBOL\(_stext\)=).*/\10/; s/^(NUMBER\([a-z_]*\)=).*/\1-1/' 5
# The true copy comes last: freed memory keeps what was in it.
for n in 1 2 3 4 5 0; do
  [ -s "$work/forged.$n" ] || fail 'nothing forged'
  rig_put fg "$work/forged.$n" "/tmp/forged.$n"
  rig_cmd fg "forge /tmp/forged.$n 200 >/tmp/out.$n 2>&1 & sleep 1; cat /tmp/out.$n" | grep -q forged || fail "forge $n"
  # No monitor command gives arm64's root register, so what never holds the guest may have to say
  # that it cannot tell (docs/design.md); what holds it finds the true one.
  if after=$(tell); then
    [ "$after" = "$before" ] || fail "forgery $n changed what inspect says: $after instead of $before"
  elif [ "$arch" = arm64 ] && grep -q 'looks real' <<<"$(vp inspect "$dom" 2>&1)"; then
    echo "forgery $n: inspect, which never holds the guest, cannot tell"
  else
    fail "with forgery $n: $after"
  fi
  want 0 ok apply "$dom" "$hf/banner.vpatch"
  [ "$(rig_cmd fg 'cat /proc/version')" = "$text1" ] || fail "forgery $n: the hotfix does not run"
  want 0 ok revert "$dom" banner
done
untouched fg 'the forgeries'
