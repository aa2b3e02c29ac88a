#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The main job, run inside the host: a protected guest keeps a secret while
# the host looks for it, then powers off, and everything must be back where it
# was. Then the same search on an ordinary guest, which must find the secret:
# otherwise the search would prove nothing.
#
# Ends with status 0 only if every check held. Touches nothing but a directory
# of its own under /tmp. Needs busybox (or the usual tools), and pvm and
# host-probe beside this file; guest-init says what the guest's initrd holds.

usage()
{
	cat <<'END'
Usage: demo.sh [--kernel FILE] [--initrd FILE] [--mem SIZE] [--cpus N]
               [--no-control] [--only-control] [--keep] [-- PVM-OPTION...]
Run the protected guest demo. Defaults: /guest/Image, /guest/initrd, 256M, 2.
  --no-control    leave out the ordinary guest
  --only-control  only the ordinary guest
  --keep          keep the logs (in /tmp/pvm-demo.*)
END
}

here=$(dirname "$0")
kernel=/guest/Image
initrd=/guest/initrd
mem=256M
cpus=2
protected=1
control=1
keep=
boot_limit=300		# seconds for a guest to get its secret ready
end_limit=120		# seconds for it to end after that

while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift ;;
	--initrd) initrd=$2; shift ;;
	--mem) mem=$2; shift ;;
	--cpus) cpus=$2; shift ;;
	--no-control) control= ;;
	--only-control) protected= ;;
	--keep) keep=1 ;;
	--help) usage; exit 0 ;;
	--) shift; break ;;
	*) echo "demo.sh: unknown option '$1'" >&2; usage >&2; exit 2 ;;
	esac
	shift || { usage >&2; exit 2; }
done

dir=$(mktemp -d /tmp/pvm-demo.XXXXXX) || exit 2
pid=
held=0
failed=0

cleanup()
{
	[ -n "$pid" ] && kill "$pid" 2>/dev/null
	[ -n "$keep" ] || rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 2' INT TERM HUP

# --- what the account is made of

# Hundredths of a second since the host booted
now()
{
	read -r up _ </proc/uptime
	# The 1 keeps 08 and 09 from being read as octal.
	echo "$((${up%.*} * 100 + 1${up#*.} - 100))"
}

begin=$(now)

say()
{
	t=$(($(now) - begin))
	printf '[%4d.%02d s] %s\n' $((t / 100)) $((t % 100)) "$1"
}

quote()
{
	sed 's/^/            | /'
}

# check STATUS TEXT: one line of the verdict
check()
{
	if [ "$1" = 0 ]; then
		held=$((held + 1))
		echo "      held    $2"
	else
		failed=$((failed + 1))
		echo "      FAILED  $2"
	fi
}

has()
{
	grep -q "$1" "$2"
	check $? "$3"
}

vmstat()
{
	while read -r name val; do
		[ "$name" = "$1" ] && echo "$val"
	done </proc/vmstat
}

# Pages that are pinned now; each CPU has counts of its own until it is asked
pins()
{
	cat /proc/sys/vm/stat_refresh
	echo $(($(vmstat nr_foll_pin_acquired) - $(vmstat nr_foll_pin_released)))
}

# Free memory in kB, with what is in the lists that each CPU has of its own
mem_free()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	cat /proc/sys/vm/stat_refresh
	awk '$1 == "KernelPageSize:" { page = $2 }
	     $1 == "MemFree:" { kb = $2 }
	     $1 == "count:" { pages += $2 }
	     END { print kb + pages * page }' /proc/self/smaps /proc/meminfo /proc/zoneinfo
}

# wait_for PATTERN FILE SECONDS: until a line is there, or pvm is gone
wait_for()
{
	end=$(($(now) + $3 * 100))
	while ! grep -q "$1" "$2"; do
		kill -0 "$pid" 2>/dev/null || return 1
		[ "$(now)" -lt "$end" ] || return 1
		sleep 0.2
	done
}

# --- one guest, from start to end: run_guest NAME PVM-OPTION...

start_guest()
{
	truncate -s 16M "$dir/disk" && mke2fs -F "$dir/disk" >/dev/null || return
	# Opened for both, so that neither side waits for the other.
	rm -f "$dir/in"
	mkfifo "$dir/in" && exec 3<>"$dir/in" || return
	: >"$dir/console" && : >"$dir/pvm" || return
	"$here/pvm" --kernel "$kernel" --initrd "$initrd" --disk "$dir/disk" \
		--mem "$mem" --cpus "$cpus" --append "console=ttyS0 quiet panic=-1" \
		--scan-after --probe-for "$("$here/host-probe" --marker)" \
		--timeout $((boot_limit + end_limit)) "$@" \
		<&3 >"$dir/console" 2>"$dir/pvm" &
	pid=$!
}

show_logs()
{
	echo "      the end of the guest's console:"
	tail -n 20 "$dir/console" | quote
	echo "      what pvm said:"
	quote <"$dir/pvm"
}

run_guest()
{
	probe=2
	status=
	say "$1 starts: $cpus CPUs, $mem, kernel $kernel"
	shift
	start_guest "$@" || { say "cannot prepare the guest"; return 1; }
	if ! wait_for "pvm-demo: secret ready" "$dir/console" $boot_limit; then
		say "the guest did not get ready"
		kill "$pid" 2>/dev/null
		wait "$pid"
		status=$?
		pid=
		show_logs
		return 1
	fi
	say "the guest is up, has used its disk, and keeps a secret in its memory:"
	grep "^pvm-demo:" "$dir/console" | quote

	say "the host looks for the secret:"
	kill -USR1 "$pid"
	wait_for "probe while" "$dir/pvm" $end_limit
	"$here/host-probe" "$pid" >"$dir/probe" 2>&1
	probe=$?
	grep "probe while" "$dir/pvm" | quote
	quote <"$dir/probe"

	say "the guest is told to go on"
	sed '/secret ready/,$d' "$dir/console" >"$dir/console.1"
	echo go >&3
	wait_for "pvm-demo: done\|FAILED" "$dir/console" $end_limit
	wait "$pid"
	status=$?
	pid=
	say "the guest is gone, pvm ended with status $status:"
	sed '1,/secret ready/d' "$dir/console" | grep "^pvm-demo:" | quote
	grep "scan after" "$dir/pvm" | quote
	[ "$status" = 0 ] || show_logs
	return 0
}

guest_checks()
{
	[ "$status" = 0 ]
	check $? "the guest powered off"
	has "pvm-demo: $cpus CPUs worked" "$dir/console" "all CPUs of the guest worked"
	has "pvm-demo: disk: read back" "$dir/console" "the disk gave back what was written"
	has "pvm-demo: secret intact" "$dir/console" "the guest found its secret intact"
}

protected_demo()
{
	pins_before=$(pins)
	mem_before=$(mem_free)
	if ! run_guest "a protected guest" --protected "$@"; then
		check 1 "the protected guest ran"
		return
	fi
	rm -f "$dir/disk"
	mem_after=$(mem_free)
	pins_after=$(pins)

	guest_checks
	[ "$probe" = 0 ]
	check $? "no program of the host found the secret"
	has "probe while.* marker in 0 pages" "$dir/pvm" "the VMM did not find it either"
	grep -q "own mapping.* 0 refused" "$dir/pvm"
	[ $? = 1 ]
	check $? "the host was refused the guest's pages"
	has "scan after: .* 0 with guest data, 0 unreadable" "$dir/pvm" \
		"every page came back, and held nothing of the guest"
	has "VmLck 0 kB before, [1-9][0-9]* kB at .*, 0 kB after" "$dir/pvm" \
		"the guest's pages were charged, and the charge is gone"
	[ "$pins_after" = "$pins_before" ]
	check $? "no page stayed pinned ($pins_before before, $pins_after after)"
	[ $((mem_before - mem_after)) -lt 4096 ]
	check $? "free memory is where it was ($mem_before kB before, $mem_after kB after)"
}

control_demo()
{
	if ! run_guest "for comparison, an ordinary guest" "$@"; then
		check 1 "the ordinary guest ran"
		return
	fi
	guest_checks
	[ "$probe" = 1 ]
	check $? "the same search finds the secret of an ordinary guest"
	has "probe while.* marker in [1-9]" "$dir/pvm" "the VMM finds it too"
}

[ -n "$protected" ] && protected_demo "$@"
[ -n "$control" ] && control_demo "$@"

[ -n "$keep" ] && say "the logs of the last guest are in $dir"
say "$held held, $failed failed"
[ "$failed" = 0 ]
