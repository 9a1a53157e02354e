# Functions of the scripts in this folder: they read the configuration of a stack and reach its Postgres. The variable stack is its name.
fail() {
	echo "error: $1" >&2
	exit 1
}
setting() { pulumi config get --path "platform:$1" --stack "$stack" 2>/dev/null || true; }
# connect reads once where the cluster is.
connect() { context=$(setting kubeContext) namespace=$(setting namespacePrefix)data; }
kube() { kubectl --context "$context" --namespace "$namespace" "$@"; }
# number prints the number of the cluster of instances that serves.
number() {
	serving=$(setting postgres.cluster)
	echo "${serving:-1}"
}
status() { kube get clusters.postgresql.cnpg.io "postgres-$1" --output "jsonpath={.status.$2}" 2>/dev/null || true; }
# query runs SQL in a database of the primary of a cluster.
query() { kube exec "$(status "$1" currentPrimary)" --container postgres -- psql --no-psqlrc --tuples-only --no-align --dbname "$2" --command "$3"; }
