# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Real guests for tests: unmodified Debian kernels under QEMU. Source this from bash.
#
#   rig_begin                        first call: private directory, and everything ended on EXIT
#   rig_start NAME ARCH [QEMU...]    boots a guest; returns when its shell answers
#   rig_cmd NAME COMMAND [SECONDS]   runs COMMAND in the guest; its output and exit code
#   rig_put NAME FILE PATH           copies a file into the guest
#   rig_qmp NAME JSON...             asks QEMU over the rig's own monitor
#   rig_hmp NAME COMMAND             the same in QEMU's human monitor's words
#   rig_events NAME FILE             QMP's events go to FILE from now on
#   rig_status NAME                  QMP's word for the guest: running, paused...
#   rig_sock NAME                    the QMP socket that is free for the program under test
#   rig_console NAME                 the file with the console's output
#   rig_console_clean NAME           0 if the kernel complained of nothing, else shows it
#   rig_pid NAME                     QEMU's process
#   rig_nice NAME                    lets it yield to everything else on the host
#   rig_save NAME GPA LEN FILE       guest memory into a file
#   rig_alive NAME                   is that process there, and does the guest's shell answer?
#   rig_stop NAME                    ends the guest
#
# Never call rig_start in a subshell: QEMU is told to end with the shell that started it.
# Variables: VP_KERNELS (see fetch.sh), O, RIG_APPEND (more kernel command line), RIG_MEM (512),
# RIG_SMP (2), RIG_BOOT_SECONDS (90), RIG_SUITE (bookworm).

rig_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rig_root=$(cd "$rig_here/../.." && pwd)
: "${O:=$rig_root/build}"
case $O in /*) ;; *) O=$rig_root/$O ;; esac
export O
declare -A rig_pids
rig_event_pids=()
rig_dir=

# What a kernel says when something is wrong.
rig_complaints='Oops|BUG:|BUG |WARNING:|Call [Tt]race|Kernel panic|soft lockup|hard LOCKUP|self-detected stall|detected stalls|general protection|Unable to handle|invalid opcode|undefined instruction|Bad mode|ftrace failed|ftrace_bug|blocked for more than|kernel tried to execute|Internal error'

rig_say() { echo "rig: $*" >&2; }

rig_begin() {
  [ -z "$rig_dir" ] || return 0
  rig_dir=$(mktemp -d "${TMPDIR:-/tmp}/vprig.${VP_RUN:-$$}.XXXXXX") || return 1
  trap 'rig_end' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  rig_ctl=$O/tests/rigctl
  if [ ! -x "$rig_ctl" ] || [ "$rig_root/tests/tools/rigctl.c" -nt "$rig_ctl" ]; then
    mkdir -p "$O/tests"
    ${CC:-gcc} -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -o "$rig_ctl.$$" "$rig_root/tests/tools/rigctl.c" &&
      mv "$rig_ctl.$$" "$rig_ctl" || return 1
  fi
}

rig_end() {
  local name
  for name in "${!rig_pids[@]}"; do rig_stop "$name"; done
  for name in "${rig_event_pids[@]}"; do
    kill "$name" 2>/dev/null
    wait "$name" 2>/dev/null
  done
  [ -z "$rig_dir" ] || rm -rf "$rig_dir"
  rig_dir=
}

rig_sock() { echo "$rig_dir/$1/qmp"; }
rig_console() { echo "$rig_dir/$1/console"; }
rig_pid() { echo "${rig_pids[$1]}"; }
# A load is there to use a function, not to keep the host from the test.
rig_nice() {
  local task
  for task in /proc/"${rig_pids[$1]}"/task/*; do renice -n 10 -p "${task##*/}" >/dev/null; done
}

rig_cmd() { "$rig_ctl" cmd "$rig_dir/$1/ctl" "${3:-60}" "$2"; }
rig_put() { "$rig_ctl" -i cmd "$rig_dir/$1/ctl" 60 "cat >'$3'" <"$2"; }
rig_qmp() { local n=$1; shift; "$rig_ctl" qmp "$rig_dir/$n/mon" "$@"; }

rig_hmp() {
  rig_qmp "$1" '{"execute":"human-monitor-command","arguments":{"command-line":"'"$2"'"}}' |
    sed 's/^{"return": "\(.*\)"}$/\1/; s/\\r\\n/\n/g'
}
rig_save() {
  rig_qmp "$1" '{"execute":"pmemsave","arguments":{"val":'$(($2))',"size":'$(($3))',"filename":"'"$4"'"}}' >/dev/null
}
rig_status() { rig_qmp "$1" '{"execute":"query-status"}' | sed 's/.*"status": "\([^"]*\)".*/\1/'; }
rig_events() {
  setpriv --pdeathsig KILL -- "$rig_ctl" events "$rig_dir/$1/ev" >"$2" 2>/dev/null </dev/null &
  rig_event_pids+=($!)
}

# The kernel directory of ARCH, fetched if need be.
rig_kernel() { "$rig_here/fetch.sh" "$1" "${RIG_SUITE:-bookworm}"; }

rig_spawn() {
  local name=$1 arch=$2 kernel image d=$rig_dir/$1 qemu console
  shift 2
  kernel=$(rig_kernel "$arch") || return
  image=$("$rig_here/initramfs.sh" "$arch" "$kernel") || return
  case $arch in
    amd64) qemu=(qemu-system-x86_64 -M q35) console=ttyS0 ;;
    arm64) qemu=(qemu-system-aarch64 -M virt -cpu cortex-a57) console=ttyAMA0 ;;
    riscv64) qemu=(qemu-system-riscv64 -M virt) console=ttyS0 ;;
    # What TCG does not have of POWER's mitigations, and firmware without a boot disk's.
    ppc64el) qemu=(qemu-system-ppc64 -M pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off) console=hvc0 ;;
    *) rig_say "$arch: unknown"; return 1 ;;
  esac
  command -v "${qemu[0]}" >/dev/null || { rig_say "${qemu[0]} is missing"; return 77; }
  rm -rf "$d"
  mkdir -p "$d"
  echo "$arch" >"$d/arch"
  # The console goes to a file: a serial socket that nobody drains blocks the vCPU. The control
  # port is a socket, and has a reader whenever the guest writes to it.
  setpriv --pdeathsig KILL -- "${qemu[@]}" -accel tcg,thread=multi \
    -smp "${RIG_SMP:-2}" -m "${RIG_MEM:-512}" \
    -nodefaults -no-user-config -display none -name "$name" \
    -kernel "$kernel/vmlinuz" -initrd "$image" -append "console=$console ${RIG_APPEND:-}" \
    -serial "file:$d/console" \
    -chardev "socket,id=ctl,path=$d/ctl,server=on,wait=off" -device pci-serial,chardev=ctl \
    -qmp "unix:$d/qmp,server=on,wait=off" -qmp "unix:$d/mon,server=on,wait=off" \
    -qmp "unix:$d/ev,server=on,wait=off" \
    "$@" </dev/null >"$d/qemu.log" 2>&1 &
  rig_pids[$name]=$!
}

# 0 when the guest's init has come up, 1 when QEMU ended or the time ran out.
rig_await_boot() {
  local name=$1 end=$((SECONDS + ${RIG_BOOT_SECONDS:-90}))
  until grep -qs 'vpatch-guest: ready' "$(rig_console "$name")"; do
    kill -0 "${rig_pids[$name]}" 2>/dev/null || return 1
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
  rig_cmd "$name" true 30
}

rig_start() {
  local name=$1 try
  rig_begin || return
  for try in 1 2; do
    rig_spawn "$@" || return
    rig_await_boot "$name" && return 0
    rig_say "$name did not boot (try $try); its last words:"
    tail -n 15 "$(rig_console "$name")" "$rig_dir/$name/qemu.log" >&2
    rig_stop "$name"
  done
  return 1
}

rig_alive() {
  kill -0 "${rig_pids[$1]:-0}" 2>/dev/null && [ "$(rig_cmd "$1" 'echo here' "${2:-10}" 2>/dev/null)" = here ]
}

rig_stop() {
  local pid=${rig_pids[$1]:-} i
  [ -n "$pid" ] || return 0
  unset "rig_pids[$1]"
  kill "$pid" 2>/dev/null
  for ((i = 0; i < 50; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  return 0
}

rig_console_clean() {
  local bad
  # pseries without a disk starts with an empty NVRAM, and says so.
  bad=$(grep -anE "$rig_complaints" "$(rig_console "$1")" | grep -v 'WARNING: nvram corruption detected: 0-length') || return 0
  rig_say "$1: its kernel complained:"
  printf '%s\n' "$bad" | head -n 20 >&2
  return 1
}
