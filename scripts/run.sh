#!/bin/sh
# What the npm scripts run: `run.sh start|test|test:full|test:kvm|bench [arguments]`. Installs and builds when needed, quiet while all is well,
# and leaves standard input alone: with `start` it belongs to the guest.
set -eu
cd "$(dirname "$0")/.."
task=${1:-}
[ $# -gt 0 ] && shift

say() { printf 'mesovirt: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command silently; its output is shown when it fails.
quietly() {
  what=$1
  shift
  [ -t 2 ] && printf '\r\033[K%s ...' "$what" >&2
  mkdir -p .cache
  log=.cache/$task-step.$$.log
  status=0
  "$@" </dev/null >"$log" 2>&1 || status=$?
  [ -t 2 ] && printf '\r\033[K' >&2
  if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    rm -f "$log"
    die "$what failed (status $status)"
  fi
  rm -f "$log"
}

check_node() {
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || major === 20 && minor >= 19 ? 0 : 1)' ||
    die "Node 20.19 or newer is needed, this is $(node --version); see https://nodejs.org"
}

# Packages are those of package-lock.json: the copy beside them says from which lock file they came.
install_packages() {
  stamp=node_modules/.mesovirt-lock
  if [ ! -f "$stamp" ] && [ -f node_modules/.package-lock.json ] && [ ! package-lock.json -nt node_modules/.package-lock.json ]; then
    cp package-lock.json "$stamp"
  fi
  cmp -s package-lock.json "$stamp" && return
  quietly 'installing packages' npm ci --no-audit --no-fund
  cp package-lock.json "$stamp"
}

build() {
  if [ "$task" = start ] && [ -f dist/mesovirt.js ] && [ -f dist/core.wasm ]; then
    newer=$(find src machine-manager machine boot-loader device-model hypervisor address-space host scripts/build.mjs package-lock.json \
      -type f ! -name '*.test.ts' -newer dist/mesovirt.js | head -n 1)
    [ -n "$newer" ] || return 0
  fi
  if [ "$task" = start ] || [ "$task" = test:kvm ]; then quietly 'building' node scripts/build.mjs --no-types
  else quietly 'building' node scripts/build.mjs
  fi
}

# has OPTION ARGUMENTS...: whether the option is among the arguments.
has() {
  option=$1
  shift
  for argument in "$@"; do
    [ "$argument" = "$option" ] && return 0
  done
  return 1
}

start() {
  kernel=${MESOVIRT_KERNEL:-}
  initrd=${MESOVIRT_INITRD:-}
  append='console=ttyS0 panic=1'
  memory=256
  if [ "${1:-}" = --disk ]; then
    shift
    disk_of=''
    case ${1:-} in '' | -*) ;; *) disk_of=$1; shift ;; esac
    [ -n "$disk_of" ] || disk_tools
    guest=$(node dist/mesovirt.js guest --vmlinux --disk ${disk_of:+"$disk_of"} </dev/null) || exit 1
    kernel=$(printf '%s\n' "$guest" | sed -n 's/^vmlinux //p')
    initrd=$(printf '%s\n' "$guest" | sed -n 's/^initrd //p')
    disk=$(printf '%s\n' "$guest" | sed -n 's/^disk //p' | sed 's/,/,,/g')
    append="$append root=/dev/vda rw net.ifnames=0"
    memory=512
    set -- -drive "id=root,file=$disk,format=raw,if=none" -device virtio-blk-device,drive=root,id=root \
      -netdev user,id=net -device virtio-net-device,netdev=net,id=net "$@"
  fi
  if [ -z "$kernel" ] && ! has -kernel "$@"; then
    guest=$(node dist/mesovirt.js guest --vmlinux </dev/null) || exit 1
    kernel=$(printf '%s\n' "$guest" | sed -n 's/^vmlinux //p')
    [ -n "$initrd" ] || initrd=$(printf '%s\n' "$guest" | sed -n 's/^initrd //p')
  elif [ -z "$initrd" ] && ! has -initrd "$@"; then
    if command -v apt-get >/dev/null 2>&1; then
      guest=$(node dist/mesovirt.js guest --initrd-only </dev/null) || exit 1
      initrd=$(printf '%s\n' "$guest" | sed -n 's/^initrd //p')
    else
      say 'booting without an initramfs: MESOVIRT_INITRD names none, and there is no apt-get to build one from'
    fi
  fi
  has -append "$@" || set -- -append "$append" "$@"
  if [ -n "$initrd" ] && ! has -initrd "$@"; then set -- -initrd "$initrd" "$@"; fi
  has -kernel "$@" || set -- -kernel "$kernel" "$@"
  has -serial "$@" || set -- -serial stdio "$@"
  has -m "$@" || set -- -m "$memory" "$@"
  has -machine "$@" || set -- -machine microvm "$@"
  exec node dist/mesovirt.js "$@"
}

# need COMMAND PACKAGE WHY: notes a package whose command is missing.
need() {
  command -v "$1" >/dev/null 2>&1 && return 0
  missing="$missing $2"
  reasons="$reasons
  $2: $3"
}

# What makes a Debian disk.
disk_tools() {
  missing=''
  reasons=''
  PATH=$PATH:/usr/sbin:/sbin
  need debootstrap debootstrap 'makes the Debian'
  need mke2fs e2fsprogs 'makes its file system'
  install_missing
}

need_library() {
  ls /usr/lib/*/"$1" /usr/lib64/"$1" /usr/lib/"$1" >/dev/null 2>&1 || need "$@"
}

# Tools of the host that tests compare with.
host_tools() {
  missing=''
  reasons=''
  PATH=$PATH:/usr/sbin:/sbin
  need objdump binutils 'disassembles what the instruction tests run'
  need iasl acpica-tools 'reads the ACPI tables back'
  need gcc 'gcc libc6-dev' 'compiles programs for guests, and the loops that the bench compares with'
  need qemu-system-x86_64 qemu-system-x86 'is the second opinion on the machine and the peer of the bench'
  need xz xz-utils 'unpacks the generic kernel'
  need lz4 lz4 'packs test kernels'
  need mke2fs e2fsprogs 'makes the disks of machines'
  need umoci umoci 'unpacks the OCI images that disks are made of'
  need passt passt 'is the other end of a network on a stream'
  [ -x /usr/lib/qemu/virtiofsd ] || need virtiofsd qemu-system-common 'serves a folder to a guest'
  need ip iproute2 'makes tap devices for the network tests'
  need_library libslirp.so.0 libslirp0 'is the router of -netdev user'
  install_missing
}

# Tools that the tests on kvm take, with those of the lab they run in where the processor offers no virtualization.
kvm_tools() {
  missing=''
  reasons=''
  PATH=$PATH:/usr/sbin:/sbin
  need as binutils 'assembles the bare-metal guest'
  need xz xz-utils 'unpacks the generic kernel'
  need mke2fs e2fsprogs 'makes the disks of machines, and of the lab'
  need_library libslirp.so.0 libslirp0 'is the router of -netdev user'
  if ! grep -qwE 'vmx|svm' /proc/cpuinfo || [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    need qemu-system-x86_64 qemu-system-x86 'is the lab that has kvm on any machine'
  fi
  install_missing
}

# On Debian as root missing packages are installed, elsewhere they are named.
install_missing() {
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    quietly 'reading the package lists' apt-get update
    # shellcheck disable=SC2086 # a list of words
    quietly "installing$missing" apt-get install -y --no-install-recommends $missing
  else
    die "these Debian packages are missing; install them with apt-get install$missing$reasons"
  fi
}

guests() {
  for flavour in cloud generic; do
    quietly "fetching the $flavour guest" node dist/mesovirt.js guest --vmlinux --flavour "$flavour"
  done
}

prepare_tests() {
  host_tools
  guests
  quietly 'lint' node node_modules/eslint/bin/eslint.js .
  quietly 'type check' node node_modules/typescript/bin/tsc --noEmit
}

case $task in
  start | test | test:full | test:kvm | bench) ;;
  *) die "usage: run.sh start|test|test:full|test:kvm|bench [arguments], not '$task'" ;;
esac
check_node
install_packages
build
case $task in
  start) start "$@" ;;
  test)
    prepare_tests
    exec node node_modules/vitest/vitest.mjs run "$@" </dev/null
    ;;
  test:full)
    prepare_tests
    exec node scripts/ts.mjs scripts/full-report.ts "$@" </dev/null
    ;;
  test:kvm)
    kvm_tools
    exec node scripts/ts.mjs scripts/kvm-lab/main.ts "$@"
    ;;
  bench)
    host_tools
    missing=''
    reasons=''
    need gcc gcc 'compiles the programs that the bench runs in a guest'
    install_missing
    guests
    exec node scripts/ts.mjs bench/main.ts "$@"
    ;;
esac
