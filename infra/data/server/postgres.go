package server

import (
	"fmt"

	"platform.example/infra/quantity"
)

// HostRules require a password and TLS. Which database a role may enter depends on its CONNECT privilege.
var HostRules = []string{"hostssl all all all scram-sha-256", "host all all all reject"}

// PostgresConf tunes the server to its memory limit, as in the PostgreSQL documentation, "Resource Consumption".
func PostgresConf(memory quantity.Bytes, maxConnections int) map[string]string {
	mebibytes := int(memory)
	return map[string]string{
		"max_connections":      fmt.Sprint(maxConnections),
		"shared_buffers":       megabytes(mebibytes / 4),
		"effective_cache_size": megabytes(mebibytes / 2),
		"maintenance_work_mem": megabytes(mebibytes / 16),
		// Connections share a quarter of the memory, since only one colour is live.
		"work_mem":                            fmt.Sprintf("%dkB", max(64, mebibytes*1024/4/maxConnections)),
		"idle_in_transaction_session_timeout": "60s", // releases the locks of a stuck client
		"archive_timeout":                     "60s", // loses at most a minute with the volume
		"wal_keep_size":                       "128MB",
		"wal_retrieve_retry_interval":         "2s", // commits wait for a standby that follows a new primary
		"log_min_duration_statement":          "1s",
		"log_parameter_max_length":            "0", // parameters are personal data
		"log_timezone":                        "UTC",
		"timezone":                            "UTC",
	}
}

// megabytes formats MiB for Postgres, whose MB is 1024 × 1024 bytes.
func megabytes(mebibytes int) string { return fmt.Sprintf("%dMB", mebibytes) }

// Login is the Postgres role for one password. Each password has its own role, so that the former one works until all clients have the
// new one. setup.sh creates the roles with the same names.
func Login(role, password string) string {
	return role + "_" + Hash(password)[:8]
}
