package kit

import "strings"

// EmailInPostgres reads a user's email as the database's superuser, in the pod of the primary. It returns "" for an unknown user.
func EmailInPostgres(id string) (string, error) {
	return UsersSQL("SELECT email FROM users WHERE id = :'id'", id)
}

// UsersSQL runs a statement in the database of users as its administrator; the statement refers to id as :'id'.
func UsersSQL(statement, id string) (string, error) { return SQL("users", statement, id) }

// SQL is UsersSQL for any database.
func SQL(database, statement, id string) (string, error) {
	row, err := Feed(statement, "kubectl", "exec", "--stdin", "--namespace=data", "service/postgres", "--container=postgres", "--",
		"psql", "--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--set=id="+id, "--username=postgres", "--dbname="+database)
	return strings.TrimSpace(row), err
}

// Redis runs a command in a workload of Redis, such as deployment/redis-cache, as its administrator, inside its pod, where the password is.
func Redis(workload string, command ...string) (string, error) {
	const script = `REDISCLI_AUTH=$(cut -d, -f1 /run/secrets/admin/password) &&
		export REDISCLI_AUTH &&
		exec redis-cli -s /run/redis/redis.sock --user admin "$@"`
	printed, err := Run(append([]string{
		"kubectl", "exec", "--namespace=data", workload, "--", "sh", "-c", script, "sh",
	}, command...)...)
	return strings.TrimSpace(printed), err
}
