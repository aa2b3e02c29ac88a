#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# pvm's promises about refusals and exit statuses, checked inside the host: a
# request that cannot be met ends in one clear line, the promised status, and
# no VM. Output is KTAP. Writes to a directory of its own under /tmp only.
#
# Usage: pvm-cli.sh [KERNEL [INITRD]]  (/guest/Image, /guest/initrd)

pvm=$(dirname "$0")/pvm
[ -x "$pvm" ] || pvm=/opt/pvm/pvm
kernel=${1:-/guest/Image}
initrd=${2:-/guest/initrd}
dir=$(mktemp -d /tmp/pvm-cli.XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
n=0
failed=0

if [ ! -c /dev/kvm ] || [ ! -f "$kernel" ] || [ ! -f "$initrd" ]; then
	echo "TAP version 13"
	echo "1..0 # SKIP needs /dev/kvm, $kernel and $initrd"
	exit 4
fi
protected=
dmesg | grep -q "Protected .* mode initialized" && protected=1

result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		failed=$((failed + 1))
		echo "not ok $n $2"
		sed 's/^/# /' "$dir/out"
	fi
}

# expect STATUS PATTERN NAME ARG...: one line that has PATTERN, and STATUS
expect()
{
	want=$1 pattern=$2 name=$3
	shift 3
	"$pvm" "$@" >"$dir/out" 2>&1 </dev/null
	got=$?
	[ "$got" = "$want" ] && grep -q "$pattern" "$dir/out" && [ "$(wc -l <"$dir/out")" -le 2 ]
	ok=$?
	echo "status $got, expected $want and '$pattern'" >>"$dir/out"
	result $ok "$name"
}

# guest STATUS PATTERN NAME ARG...: a guest that runs, and how it ends
guest()
{
	want=$1 pattern=$2 name=$3
	shift 3
	"$pvm" --kernel "$kernel" --mem 128M --cpus 1 "$@" >"$dir/out" 2>&1 </dev/null
	got=$?
	[ "$got" = "$want" ] && grep -q "$pattern" "$dir/out"
	ok=$?
	echo "status $got, expected $want and '$pattern'" >>"$dir/out"
	result $ok "$name"
}

echo "TAP version 13"

# The time-out only matters when a request is not refused as it should be.
fit="--mem 128M --cpus 1 --timeout 20"
printf 'no kernel at all, but long enough to have a header, if it were one......' >"$dir/text"
printf '\177ELF%080d' 0 >"$dir/elf"
: >"$dir/empty"
gzip -c "$dir/text" >"$dir/kernel.gz"
head -c 40 "$kernel" >"$dir/short"
head -c 2000000 "$kernel" >"$dir/truncated"
head -c 1000 "$kernel" >"$dir/odd"

# shellcheck disable=SC2086 # $fit is several words
{
"$pvm" --help >"$dir/out" && grep -q "^Exit status" "$dir/out"
result $? "help"
expect 2 "kernel FILE is missing" "no kernel" $fit
expect 2 "mem SIZE is missing" "no memory size" --kernel "$kernel" --cpus 1
expect 2 "cpus N is missing" "no CPU count" --kernel "$kernel" --mem 128M
expect 2 "pvm --help" "an unknown option" --frobnicate
expect 2 "does not belong" "a stray word" --kernel "$kernel" $fit stray
expect 2 "not a size" "a size that is none" --kernel "$kernel" --mem 12Q --cpus 1
expect 2 "not a size" "a negative size" --kernel "$kernel" --mem -1 --cpus 1
expect 2 "multiple of 2M" "an odd size" --kernel "$kernel" --mem 3M --cpus 1
expect 2 "not a size" "a size beyond measure" --kernel "$kernel" --mem 99999999999G --cpus 1
expect 2 "number from 1" "no CPUs" --kernel "$kernel" --mem 128M --cpus 0
expect 2 "number from 1" "too many CPUs" --kernel "$kernel" --mem 128M --cpus 100000
expect 2 "at most half" "a pool larger than half" --kernel "$kernel" $fit --swiotlb 100M
expect 2 "multiple of 64K" "an odd pool" --kernel "$kernel" $fit --swiotlb 1000
expect 2 "hex" "a probe that is no hex" --kernel "$kernel" $fit --probe-for xyz0
expect 3 "cannot open the kernel" "a missing kernel" --kernel "$dir/none" $fit
expect 3 "is empty" "an empty kernel" --kernel "$dir/empty" $fit
expect 3 "not a regular file" "a directory as kernel" --kernel "$dir" $fit
expect 3 "no arm64 Image" "a text as kernel" --kernel "$dir/text" $fit
expect 3 "decompress it" "a compressed kernel" --kernel "$dir/kernel.gz" $fit
expect 3 "ELF" "an ELF file as kernel" --kernel "$dir/elf" $fit
expect 3 "too short" "a kernel without a header" --kernel "$dir/short" $fit
# Only kernels with an EFI header tell how long they are.
if [ "$(head -c 2 "$kernel")" = MZ ]; then
	expect 3 "truncated" "a truncated kernel" --kernel "$dir/truncated" $fit
fi
expect 3 "cannot open the initrd" "a missing initrd" --kernel "$kernel" $fit --initrd "$dir/none"
expect 3 "is empty" "an empty initrd" --kernel "$kernel" $fit --initrd "$dir/empty"
expect 3 "cannot open the disk" "a missing disk" --kernel "$kernel" $fit --disk "$dir/none"
expect 3 "multiple of 512" "a disk of odd size" --kernel "$kernel" $fit --disk "$dir/odd"
expect 3 "multiple of 512" "an empty disk" --kernel "$kernel" $fit --disk "$dir/empty"
expect 3 "neither a file" "a device as disk" --kernel "$kernel" $fit --disk /dev/null
expect 5 "mem is too small" "too little memory" --kernel "$kernel" --mem 4M --cpus 1
if [ -z "$protected" ]; then
	expect 4 "no protected guests" "protected on a host that cannot" --protected \
		--kernel "$kernel" $fit
fi
mv /dev/kvm /dev/kvm.away
expect 4 "cannot open /dev/kvm" "a host without KVM" --kernel "$kernel" $fit
mv /dev/kvm.away /dev/kvm
}

for kind in "" ${protected:+--protected}; do
	label=${kind:-ordinary}
	# Without a root file system Linux panics, and then does as it is told.
	guest 11 "asked for a reset" "$label: a guest that resets" $kind --timeout 120 \
		--append "console=ttyS0 panic=-1"
	guest 12 "did not end within" "$label: a guest that hangs" $kind --timeout 20 \
		--append "console=ttyS0 panic=0"
	guest 0 "FAILED: cannot mount /dev/vda" "$label: a guest that powers off" $kind \
		--initrd "$initrd" --timeout 120
	# A disk whose buffers the guest did not share is the guest's problem.
	head -c 1048576 "$kernel" >"$dir/disk"
	said="\[vda\]"
	[ -n "$kind" ] && said="disk0: the guest .* not shared"
	"$pvm" $kind --kernel "$kernel" --mem 128M --cpus 1 --swiotlb 0 \
		--disk "$dir/disk" --timeout 200 --append "console=ttyS0 panic=0" \
		>"$dir/out" 2>&1 </dev/null &
	pid=$!
	until grep -q "$said" "$dir/out" || ! kill -0 $pid; do
		sleep 1
	done
	# The guest goes on without its disk, until it is told to end.
	sleep 1
	kill -TERM $pid
	wait $pid
	[ $? = 13 ] && grep -q "$said" "$dir/out"
	result $? "$label: a guest without a pool"

	"$pvm" $kind --kernel "$kernel" --mem 128M --cpus 2 --append panic=0 \
		>"$dir/out" 2>&1 </dev/null &
	pid=$!
	sleep 3
	kill -TERM $pid
	wait $pid
	[ $? = 13 ]
	result $? "$label: SIGTERM ends a guest"
done

echo "1..$n"
[ "$failed" = 0 ]
