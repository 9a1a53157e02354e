# Functions that print the ACL files of several instances and of their Sentinels. They take USERS (the ACL file of one instance) and
# PASSWORD_FILE (the administrator's passwords, the one in use first).

# derived prints the password of the user peer that follows from one of the administrator's. Instances and Sentinels use it among each other.
derived() { printf %s "peer$1" | sha256sum | cut -d ' ' -f 1; }

# of_instances lets services wait for replicas, and peers replicate and fail over (redis.io, "High availability with Redis Sentinel").
of_instances() {
	sed '/^user \(default\|admin\) /!s/$/ +wait/' "$USERS"
	passwords=
	for one in $(tr ',' ' ' <"$PASSWORD_FILE"); do
		passwords="$passwords #$(printf %s "$(derived "$one")" | sha256sum | cut -d ' ' -f 1)"
	done
	echo "user peer on$passwords +ping +psync +replconf +info +role +multi +exec +slaveof +config|rewrite" \
		"+client|setname +client|kill +script|kill +publish +subscribe"
}

# of_sentinels lets services only ask for the primary.
of_sentinels() {
	of_instances | while read -r _ name rules; do
		case $name in
		default) rights='off resetpass' ;;
		admin) rights='~* &* +@all' ;;
		peer) rights='+ping +publish +client|setname +sentinel|is-master-down-by-addr +sentinel|get-master-addr-by-name' ;;
		*) rights='+ping +subscribe +sentinel|get-master-addr-by-name +sentinel|sentinels' ;;
		esac
		echo "user $name on $(echo "$rules" | tr ' ' '\n' | grep '^#' | tr '\n' ' ')$rights"
	done
}
