#!/bin/busybox sh
# First program of the lab: loads the modules, mounts what the project needs under /system, runs /command there and reports its status through
# QEMU's isa-debug-exit device (port 0x501). Messages go to the console (ttyS0), the command talks on ttyS1,
# a shell listens on ttyS2. A failure here panics: the lab is dead then.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /system
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

die() { echo "lab: $*"; exit 1; }

for module in /lib/modules/*.ko; do insmod "$module" || echo "lab: $module was not loaded"; done

. /lab.conf # project, packages
tries=0
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || die 'the disks did not appear'
  sleep 0.1
done
mount -t ext4 -o noatime /dev/vda /system || die 'the system disk cannot be mounted'
mount -t tmpfs tmpfs /system/tmp
mount -t tmpfs tmpfs /system/run
mkdir -p "/system$project" # which may be below /tmp
mount -t ext4 -o noatime /dev/vdb "/system$project" || die 'the project disk cannot be mounted'
mount --bind "/system$packages" "/system$project/node_modules" || die 'the packages cannot be mounted'
mount -t proc proc /system/proc
mount -t sysfs sysfs /system/sys
mount --bind /dev /system/dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
hostname kvm-lab
cp /command /system/run/command
dmesg -n 4
echo "lab: ready after $(cut -d ' ' -f 1 /proc/uptime) s"

stty -F /dev/ttyS1 115200 raw -echo
stty -F /dev/ttyS2 115200 -echo
while :; do sh </dev/ttyS2 >/dev/ttyS2 2>&1; sleep 1; done & # for who looks into a lab that hangs
if [ -e /interactive ]; then
  # The first terminal that the leader of a session opens is its own.
  setsid chroot /system /bin/sh -c 'exec /bin/sh /run/command </dev/ttyS1 >/dev/ttyS1 2>&1'
  status=$?
else
  # Through a pipe: programs that find a terminal would draw on it. The byte 2 tells where the output begins.
  while sleep 10; do printf '\000'; done >/dev/ttyS1 & # as long as there is time
  { printf '\002'; chroot /system /bin/sh /run/command </dev/null; echo $? >/status; } 2>&1 | cat >/dev/ttyS1
  status=$(cat /status)
fi
echo "lab: the command ended with status $status"
[ "$status" -le 90 ] || status=90
printf "\\$(printf %03o $((status + 16)))" | dd of=/dev/port bs=1 seek=1281 conv=notrunc 2>/dev/null
die 'QEMU did not take the status'
