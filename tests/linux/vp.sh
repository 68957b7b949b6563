# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the rows share: the command under test with a configuration of its own, hotfixes built
# against the guest's headers and signed with a throwaway key, and words to expect things in.
#
#   vp_begin ARCH                 rig, configuration, key
#   vp_guest NAME [QEMU...]       a guest of that architecture; $dom is its name for vpatch
#   vp_hotfix NAME                builds and signs hotfix/NAME.c once; its path is $hf/NAME.vpatch
#   vp ARGS...                    the command
#   vp_json FILTER ARGS...        the command with --json, through jq -r; its exit code
#   want CODE REASON ARGS...      the command with --json must end so; shows what it said if not
#   texts NAME                    sets text0, text1, text2: answers of /proc/version under banner.c
#   phys_bytes NAME GPA LEN       guest memory as QEMU's monitor shows it, in hex
#   gpa_of NAME GVA               where an address of the kernel's text is in guest memory
#   scaled N                      N times SCALE percent, at least 1

. "$(dirname "${BASH_SOURCE[0]}")/rig.sh"
vp_bin=$O/vpatch
: "${SCALE:=2}"

scaled() { local n=$(($1 * SCALE / 100)); echo $((n > 0 ? n : 1)); }
fail() {
  echo "FAILED: $*"
  exit 1
}

vp_begin() {
  arch=$1
  [ -x "$vp_bin" ] || { echo "$vp_bin was not built"; exit 1; }
  command -v jq >/dev/null || { echo 'jq is missing'; exit 77; }
  command -v openssl >/dev/null || { echo 'openssl is missing'; exit 77; }
  rig_begin || exit
  local r
  kernel=$(rig_kernel "$arch")
  r=$?
  [ $r = 0 ] || exit $r
  case $arch in
    amd64) cc=x86_64-linux-gnu-gcc-12 ;;
    arm64) cc=aarch64-linux-gnu-gcc-12 ;;
  esac
  command -v $cc >/dev/null || { echo "$cc is missing"; exit 77; }
  work=$rig_dir/work
  hf=$work/hotfix
  mkdir -p "$work"/{etc/certs.d,etc/revoked.d,state,run} "$hf"
  # The key is made once and kept: making one takes seconds.
  key=$O/tests/key
  if [ ! -s "$key/key.pem" ]; then
    mkdir -p "$key"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=vpatch test key' \
      -keyout "$key/key.$$" -out "$key/cert.pem" >/dev/null 2>&1 && mv "$key/key.$$" "$key/key.pem" || fail 'no key'
  fi
  cp "$key/cert.pem" "$work/etc/certs.d/"
  cat >"$work/etc/vpatch.conf" <<END
certs-dir = $work/etc/certs.d
revoked-dir = $work/etc/revoked.d
state-dir = $work/state
run-dir = $work/run
deadline = 2s
END
  export VPATCH_CONFIG=$work/etc/vpatch.conf
}

vp() { "$vp_bin" "$@"; }
vp_json() {
  local filter=$1 out r
  shift
  out=$(vp "$@" --json)
  r=$?
  jq -r "$filter" <<<"$out" || return 99
  return $r
}

# want CODE REASON ARGS...; what the command printed is left in $said.
want() {
  local code=$1 reason=$2 r got
  shift 2
  said=$(timeout 60 "$vp_bin" "$@" --json 2>"$work/stderr")
  r=$?
  got=$(jq -r .reason <<<"$said" 2>/dev/null)
  [[ $r =~ ^$code$ ]] && [[ "$got" =~ ^($reason)$ ]] && {
    # One clear sentence on stderr whenever it did not go well.
    [ $r = 0 ] || [ "$(grep -c '^vpatch: ' "$work/stderr")" = 1 ] ||
      fail "vpatch $*: stderr is not one sentence: $(cat "$work/stderr")"
    return 0
  }
  fail "vpatch $*: exit $r, reason '$got', wanted $code '$reason': $said $(cat "$work/stderr")"
}

vp_guest() {
  rig_start "$1" "$arch" "${@:2}" || exit
  dom=qmp:$(rig_sock "$1")
}

vp_hotfix() {
  local name
  for name in "$@"; do
    vp build "$rig_here/hotfix/$name.c" --kernel "$kernel/build" -o "$hf/$name.vpatch" >"$work/build.log" 2>&1 ||
      fail "building $name: $(tail -n 20 "$work/build.log")"
    vp sign "$hf/$name.vpatch" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail "signing $name"
  done
}

texts() {
  local release version
  release=$(rig_cmd "$1" 'uname -r')
  version=$(rig_cmd "$1" 'uname -v')
  text0='@'
  text1="Linux version $release (fixed by vpatch, version 1) $version"
  text2="Linux version $release (fixed by vpatch, version 2) $version"
}

phys_bytes() {
  rig_hmp "$1" "xp /${3}xb $2" | sed -n 's/^[0-9a-f]*: //p' | tr -d ' \n' | sed 's/0x//g'
}

# By the guest's own /proc: /proc/iomem gives where the kernel's code begins, which is _text on x86
# and _stext on arm64.
gpa_of() {
  local symbol=_text at start
  [ "$arch" != arm64 ] || symbol=_stext
  at=$(rig_cmd "$1" "grep -m 1 ' $symbol\$' /proc/kallsyms" | cut -d' ' -f1)
  start=$(rig_cmd "$1" "grep -m 1 'Kernel code' /proc/iomem" | sed 's/^ *\([0-9a-f]*\)-.*/\1/')
  [ -n "$at" ] && [ -n "$start" ] || return 1
  printf '0x%x\n' $((16#${start} + $2 - 16#${at}))
}

# The guest must be as it was: shell answers, /proc/version is the kernel's own, console clean.
untouched() {
  rig_alive "$1" || fail "$1 does not answer any more ($2)"
  rig_cmd "$1" 'grep -q "^Linux version .*debian-kernel@" /proc/version' || fail "$1: /proc/version has changed ($2)"
  rig_console_clean "$1" || fail "$1: console ($2)"
}
