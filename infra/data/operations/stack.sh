# Functions of the scripts in this folder: they read the configuration of a stack and reach its Postgres. The variable stack is its name.
fail() {
	echo "error: $1" >&2
	exit 1
}
setting() { pulumi config get --path "platform:$1" --stack "$stack" 2>/dev/null || true; }
# connect reads once where the cluster is. Without the configuration, kubectl would reach the cluster of the current context.
connect() {
	pulumi config --stack "$stack" >/dev/null || fail "the configuration of stack $stack can't be read: log in to its backend with \`pulumi login\`"
	kubeconfig=$(setting kubeconfig)
	[ -z "$kubeconfig" ] || export KUBECONFIG="$kubeconfig"
	context=$(setting kubeContext) namespace=$(setting namespacePrefix)data
}
kube() { kubectl --context "$context" --namespace "$namespace" "$@"; }
# number prints the number of the Postgres cluster that serves.
number() {
	serving=$(setting postgres.cluster)
	echo "${serving:-1}"
}
status() { kube get clusters.postgresql.cnpg.io "postgres-$1" --output "jsonpath={.status.$2}" 2>/dev/null || true; }
# query runs SQL in a database of the primary of a cluster.
query() { kube exec "$(status "$1" currentPrimary)" --container postgres -- psql --no-psqlrc --tuples-only --no-align --dbname "$2" --command "$3"; }
# count prints the number of rows of each table.
count() {
	databases=$(query "$1" postgres "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', 'app') ORDER BY 1")
	for database in $databases; do
		query "$1" "$database" "SELECT format('%s.%s', current_database(), relname), (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I',
			schemaname, relname), false, true, '')))[1]::text FROM pg_stat_user_tables ORDER BY relname"
	done
}
# compare prints two sorted files of count beside each other, with these titles.
compare() {
	printf '%-44s %10s %10s\n' table "$2" "$4"
	join -t '|' -a 1 -a 2 -e - -o 0,1.2,2.2 "$1" "$3" |
		while IFS='|' read -r table one other; do printf '%-44s %10s %10s%s\n' "$table" "$one" "$other" "$([ "$one" = "$other" ] || echo '  differs')"; done
}
# healthy is the phase of a Postgres cluster in which the operator has nothing to do.
healthy='Cluster in healthy state'
