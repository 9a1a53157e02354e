# Runs the instance manager (the arguments), and beside it kills a server that accepts connections but doesn't respond to three of them
# in a row. The manager, which only sees that the process runs, then restarts it or lets a standby take over.
hung=0
while sleep 5; do
	began=$(date +%s)
	pg_isready --quiet --timeout=5 --host=/controller/run
	# A server that doesn't run refuses the connection at once.
	if [ $? -eq 2 ] && [ $(($(date +%s) - began)) -ge 4 ]; then hung=$((hung + 1)); else hung=0; fi
	if [ "$hung" -ge 3 ]; then
		echo "the server doesn't respond: killing it" >&2
		for process in /proc/[0-9]*; do
			if [ "$(cat "$process/comm" 2>/dev/null)" = postgres ]; then kill -9 "${process#/proc/}"; fi
		done
		hung=0
	fi
done &
exec "$@"
