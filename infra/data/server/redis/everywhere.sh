#!/bin/sh
# Makes the users of all instances and of their Sentinels what the ACL file says.
# Takes what users.sh takes without HOST, and CONFIG (the folder of the scripts), INSTANCES (the DNS names) and SENTINEL_PORT.
set -eu
. "$CONFIG/rights.sh"
folder=$(mktemp -d -p /dev/shm) # the only folder of the Job that can be written to
trap 'rm -r "$folder"' EXIT
of_instances >"$folder/instances"
of_sentinels >"$folder/sentinels"
for HOST in $INSTANCES; do
	export HOST
	# The Sentinel restarts once its instance accepts a new password.
	PORT=$SENTINEL_PORT USERS=$folder/sentinels /bin/sh "$CONFIG/users.sh"
	USERS=$folder/instances /bin/sh "$CONFIG/users.sh"
done
