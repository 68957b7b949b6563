#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# sudo make demo [ARCH=arm64]: boots an unmodified Debian kernel and patches it from outside.
set -u
. "$(dirname "$0")/common.sh"
: "${ARCH:=amd64}"
export ARCH
case $ARCH in
  amd64) prepare 'build demo' "$@" ;;
  arm64) prepare 'build demo arm64' "$@" ;;
  *) echo "demo: ARCH is amd64 or arm64, not $ARCH"; exit 2 ;;
esac
. tests/linux/vp.sh

step=0
title() {
  step=$((step + 1))
  printf '\n%s%d. %s%s\n' "$bold" $step "$*" "$plain"
}
indent() { sed 's/^/   /'; }
# Shows a command as one would type it, then what it says.
show() {
  printf '   %s$ %s%s\n' "$green" "$(sed "s#$work/etc/##g; s#$hf/##g; s#$rig_dir/vm/qmp#vm.sock#g; s#$kernel/build#HEADERS#g; s#$key/##g; s#$rig_here/##g" <<<"vpatch $*")" "$plain"
  "$vp_bin" "$@" >"$work/shown" 2>&1
  local r=$?
  sed "s#$rig_dir/vm/qmp#vm.sock#g; s#$hf/##g; s#$rig_here/##g" "$work/shown" | indent
  [ $r = 0 ] || { printf '   %sthat failed (exit %d)%s\n' "$red" $r "$plain"; exit 1; }
}
in_guest() {
  printf '   %sguest# %s%s\n' "$yellow" "$1" "$plain"
  rig_cmd vm "$1" | indent
}
# The site as it lies in guest memory now: read through QEMU's monitor, not through vpatch.
disassemble() {
  local bytes
  # Whole instructions: the entry and what follows it.
  [ "$ARCH" = amd64 ] && bytes=14 || bytes=16
  bytes=$(phys_bytes vm "$site_gpa" $bytes)
  sed 's/../\\x&/g' <<<"$bytes" | { read -r b; printf '%b' "$b"; } >"$work/site.bin"
  case $ARCH in
    amd64) objdump -D -b binary -m i386:x86-64 --adjust-vma="$site" "$work/site.bin" ;;
    arm64) aarch64-linux-gnu-objdump -D -b binary -m aarch64 --adjust-vma="$site" "$work/site.bin" ;;
  esac | sed -n 's/^ *\([0-9a-f]*:.*\)/\1/p' | head -n 4 | indent
}

echo "${bold}vpatch demo: an unmodified Debian kernel ($ARCH), patched from its host while it runs${plain}"
title 'Build vpatch, fetch the kernel (nothing is installed), boot it in QEMU'
make --no-print-directory -j"$(nproc)" all O="$O" >"$O.log" 2>&1 || { tail -n 30 "$O.log"; exit 1; }
rm -f "$O.log"
vp_begin "$ARCH"
vp_guest vm
in_guest 'uname -srm; nproc; lsmod | wc -l'

title 'Before: the function we will replace shows this'
in_guest 'cat /proc/version'
rig_cmd vm "sh -c 'while :; do cat /proc/version; done >/dev/null' &"
plain_text=$(rig_cmd vm 'cat /proc/version')

title 'A hotfix is ordinary kernel C, built with the kernel'"'"'s own headers'
sed -n '/^static/,$p' tests/linux/hotfix/banner.c | indent
show build "$rig_here/hotfix/banner.c" --kernel "$kernel/build" -o "$hf/banner.vpatch"

title 'Signed as kernel modules are, here with a throwaway key that the host trusts'
show sign "$hf/banner.vpatch" --key "$key/key.pem" --cert "$key/cert.pem"
show verify "$hf/banner.vpatch"

title 'What the host sees of the guest, from guest memory alone'
show inspect "$dom"

site=$(vp apply "$dom" "$hf/banner.vpatch" --dry-run --json | jq -r '.edits[] | select(.kind == "site") | .address')
site_gpa=$(gpa_of vm "$site") || { echo '   no site'; exit 1; }
title 'The site before: the kernel'"'"'s own entry of version_proc_show'
disassemble

title 'Apply, while a process in the guest calls the function all the time'
show apply "$dom" "$hf/banner.vpatch"
vp apply "$dom" "$hf/banner.vpatch" >/dev/null || exit 1

title 'The site after: a branch to the replacement'
disassemble

title 'After: every later call runs the fixed code; no module, no taint, no reboot'
in_guest 'cat /proc/version'
in_guest 'lsmod | wc -l; cat /proc/sys/kernel/tainted'
fixed_text=$(rig_cmd vm 'cat /proc/version')
show status "$dom"

title 'Revert: the kernel'"'"'s own word is put back'
show revert "$dom" banner
disassemble
in_guest 'cat /proc/version'

rig_console_clean vm || exit 1
[ "$(rig_cmd vm 'cat /proc/version')" = "$plain_text" ] && [ "$fixed_text" != "$plain_text" ] || { echo "${red}the guest does not show what it should${plain}"; exit 1; }
printf '\n%sdone%s: the guest never stopped running; its console is clean\n' "$green$bold" "$plain"
