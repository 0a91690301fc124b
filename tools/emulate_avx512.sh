#!/bin/bash
# Runs the unit tests of the kernels crate on an emulated CPU with AVX-512 (F, BW, DQ, VL) and AVX-512 VNNI, where the
# machine's own CPU has none: Bochs boots a minimal Linux that has the test program in its initial file system.
#
#   tools/emulate_avx512.sh [--timeout MINUTES] [--release] [--program FILE] [ARGUMENTS]
#
# --timeout MINUTES   gives up when the emulator has run for so long (default 60)
# --release           tests what the release profile makes (default: the dev profile)
# --program FILE      runs this x86-64 Linux program instead of building the tests; shared libraries come along
# ARGUMENTS           go to the test program: filters of test names, or options such as --nocapture or --list
#
# MESSYMASH_SIMD and RUST_BACKTRACE, where set, are handed on. Exits with 0 if and only if the CPU showed AVX-512 and
# VNNI, the program exited with 0 and a line `test result: ok` was seen (without the line for --program); otherwise with
# the program's own status, 124 after the timeout, or 1.
#
# Needs an x86-64 Linux with these Debian packages (versions of Debian 12; other versions of Bochs and of the kernel may
# need other workarounds than those below): bochs bochs-term bochsbios vgabios grub-common grub-pc-bin xorriso mtools
# cpio busybox-static. Those that are missing are installed if it runs as root, and named otherwise. The kernel of
# linux-image-cloud-amd64 is downloaded and unpacked, not installed. All it writes is below target/emulator.
#
# The emulator is about a hundred times slower than a CPU: the boot takes a minute. It has one CPU and 1 GiB. Its clock
# counts emulated instructions, so the times that tests report mean nothing: it shows whether results are right, not how
# fast they come. The tests run as compiled for any CPU with AVX-512, but for gathers and scatters, which are replaced
# because of a fault of Bochs (see below); a program given by --program meets that fault as an illegal instruction.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=60
profile=()
program=
while [ $# -gt 0 ]; do
    case $1 in
    --timeout)
        minutes=${2:?--timeout needs a number of minutes}
        shift 2
        ;;
    --release)
        profile=(--release)
        shift
        ;;
    --program)
        program=$(realpath -e "${2:?--program needs a file}")
        shift 2
        ;;
    --)
        shift
        break
        ;;
    *) break ;;
    esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || {
    echo "--timeout: '$minutes' is not a number of minutes" >&2
    exit 2
}

packages=(bochs bochs-term bochsbios vgabios grub-common grub-pc-bin xorriso mtools cpio busybox-static)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "missing packages; install them with: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
fi

work=$PWD/target/emulator
mkdir -p "$work"
# One run at a time: a second one waits.
exec 9>"$work/lock"
flock 9

# The kernel, once.
if [ ! -s "$work/vmlinuz" ]; then
    [ "$(id -u)" != 0 ] || apt-get update -q >&2 || true
    kernel=$({ apt-cache depends --important linux-image-cloud-amd64 || true; } |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
    [ -n "$kernel" ] || {
        echo "apt knows no linux-image-cloud-amd64 (run apt-get update first?)" >&2
        exit 1
    }
    rm -rf "$work/kernel"
    mkdir "$work/kernel"
    (
        cd "$work/kernel"
        apt-get download -q -o APT::Sandbox::User=root "$kernel" >&2
        dpkg-deb --extract ./*.deb .
    )
    cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz.new"
    mv "$work/vmlinuz.new" "$work/vmlinuz"
    rm -rf "$work/kernel"
fi

# The program. Bochs 2.7 takes a gather or scatter whose index is in one of the registers 16 to 31 for an illegal
# instruction, so the compiler is asked to make none of its own. rustc warns that it does not know these two features;
# LLVM does, and they say nothing but what is fast.
tests=
if [ -z "$program" ]; then
    tests=1
    program=$(RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+prefer-no-gather,+prefer-no-scatter" \
        CARGO_TARGET_DIR=$work/build cargo test --package messymash-kernels --lib --no-run \
        --message-format=json-render-diagnostics ${profile[@]+"${profile[@]}"} 9>&- |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    [ -x "$program" ] || {
        echo "cargo made no test program" >&2
        exit 1
    }
fi

# The initial file system: busybox, the program with its shared libraries, and what starts it.
root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,proc,sys,dev,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$program" "$root/bin/program"
strip "$root/bin/program" 2>/dev/null || true
# A static program has no libraries: ldd then fails.
{ ldd "$program" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
    cp --dereference --parents "$library" "$root"
done || true
# Lines from /init start with "@@".
{
    echo '#!/bin/busybox sh'
    for variable in MESSYMASH_SIMD RUST_BACKTRACE; do
        [ -z "${!variable:-}" ] || printf 'export %s=%q\n' "$variable" "${!variable}"
    done
    cat <<'EOF'
export HOME=/tmp TMPDIR=/tmp
cd /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
echo
echo "@@cpu $(/bin/busybox grep -m 1 '^flags' /proc/cpuinfo)"
echo "@@begin"
EOF
    printf '/bin/program'
    [ $# -eq 0 ] || printf ' %q' "$@"
    cat <<'EOF'

status=$?
echo
# Killed: where, as the kernel saw it.
[ $status -lt 128 ] || /bin/busybox dmesg | /bin/busybox grep -e traps: -e segfault
echo "@@end $status"
# The serial line's buffer is lost with the power.
/bin/busybox sleep 0.2
/bin/busybox poweroff -f
EOF
} >"$root/init"
chmod +x "$root/init"

# The boot medium. What the kernel is told to pass over in the CPU:
# fsrm                 Bochs has it without ERMS; the kernel's memmove then has no length at which it ends
# pku, xsavec, xsaves  Bochs' description of their state areas contradicts itself; the kernel would then give up all of
#                      XSAVE, and AVX with it
# aperfmperf           Bochs has no such registers, and complains at every tick of the timer
rm -rf "$work/iso"
mkdir -p "$work/iso/boot/grub"
cp "$work/vmlinuz" "$work/iso/boot/vmlinuz"
(cd "$root" && find . | cpio --quiet --create --format=newc) >"$work/iso/boot/initrd"
cat >"$work/iso/boot/grub/grub.cfg" <<'EOF'
linux /boot/vmlinuz console=ttyS0,115200 quiet loglevel=3 mitigations=off clearcpuid=fsrm,pku,xsavec,xsaves,aperfmperf
initrd /boot/initrd
boot
EOF
grub-mkrescue --directory=/usr/lib/grub/i386-pc --locales= --fonts= --themes= \
    --output="$work/boot.iso" "$work/iso" >"$work/grub-mkrescue.log" 2>&1 || {
    cat "$work/grub-mkrescue.log" >&2
    exit 1
}

# The machine: an Ice Lake client CPU.
cat >"$work/bochsrc" <<EOF
display_library: term
cpu: model=corei7_icelake_u, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$work/boot.iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev="$work/serial.txt"
sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
clock: sync=none, time0=utc
log: "$work/bochs.log"
panic: action=fatal
error: action=report
info: action=ignore
EOF
# Debian's Bochs has its debugger built in, which waits to be told to go on.
debugger=()
case $(bochs-bin --help 2>&1 || true) in
*'-rc '*)
    echo c >"$work/bochs.rc"
    debugger=(-rc "$work/bochs.rc")
    ;;
esac

rm -f "$work/serial.txt"
: >"$work/serial.txt"
started=$SECONDS
TERM=linux setsid bochs-bin -q -f "$work/bochsrc" ${debugger[@]+"${debugger[@]}"} \
    </dev/null >/dev/null 2>"$work/bochs.err" 9>&- &
emulator=$!
# The program's output as it comes.
tail --pid="$emulator" --follow --lines=+1 --sleep-interval=1 "$work/serial.txt" 9>&- |
    sed -u -n 's/\r*$//; /^@@end/q; /^@@cpu/d; /^@@begin/d; p' 9>&- &
printer=$!
trap 'kill -KILL "$emulator" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
echo "booting the emulated CPU; its log: $work/bochs.log" >&2
outcome=
while kill -0 "$emulator" 2>/dev/null; do
    sleep 1
    if grep -a -q '^@@end' "$work/serial.txt"; then
        outcome=ended
        # It powers itself off in a second of its own time.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 "$emulator" 2>/dev/null || break
            sleep 1
        done
        break
    elif grep -a -q 'Kernel panic' "$work/serial.txt"; then
        outcome=panic
        sleep 2
        break
    elif [ $((SECONDS - started)) -ge $((minutes * 60)) ]; then
        outcome=timeout
        break
    fi
done
kill -KILL "$emulator" 2>/dev/null || true
wait "$emulator" 2>/dev/null || true
wait "$printer" 2>/dev/null || true
echo "the emulator ran for $((SECONDS - started)) s" >&2

status=$(tr -d '\r' <"$work/serial.txt" | sed -n 's/^@@end \([0-9]*\)$/\1/p')
if [ -z "$status" ]; then
    if [ "$outcome" = timeout ]; then
        echo "no end after $minutes minutes" >&2
        exit 124
    fi
    echo "the emulated machine stopped before the program ended; the last of its log:" >&2
    tail -n 5 "$work/bochs.err" >&2
    tail -n 40 "$work/bochs.log" >&2
    exit 1
fi
for flag in avx512f avx512bw avx512dq avx512vl avx512_vnni; do
    grep -a -q "^@@cpu.* $flag" "$work/serial.txt" || {
        echo "the emulated CPU shows no $flag" >&2
        exit 1
    }
done
if [ "$status" != 0 ]; then
    echo "the program exited with $status" >&2
    exit "$status"
fi
if [ -n "$tests" ] && ! grep -a -q '^test result: ok' "$work/serial.txt"; then
    echo "no 'test result: ok' was seen" >&2
    exit 1
fi
