package data

import (
	"fmt"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// reserved is the connections beyond those of the services: superuser, backups, an exporter, a person at psql.
const reserved = 16

// fewestConnections is what a server for few services takes; a slot costs it about 20 KiB.
const fewestConnections = 400

// connectionLimit is how many connections a service's role may hold: the pools of all replicas, one surplus during a
// rolling update, in both colours, and two for the migration.
func connectionLimit(replicas stack.Replicas) int {
	return catalog.DatabaseConnections*(replicas.Max+1)*2 + 2
}

// postgresConf tunes the server to its memory limit; shares as in the PostgreSQL documentation, "Resource Consumption".
func postgresConf(memory quantity.Bytes, maxConnections int) string {
	mebibytes := int(memory)
	settings := []struct{ name, value string }{
		{"listen_addresses", "'0.0.0.0'"},
		{"port", fmt.Sprint(network.PostgresPort)},
		{"unix_socket_directories", "'" + socketFolder + "'"},
		{"max_connections", fmt.Sprint(maxConnections)},
		{"password_encryption", "'scram-sha-256'"},
		{"ssl", "on"},
		{"ssl_cert_file", "'" + certificateFolder + "/tls.crt'"},
		{"ssl_key_file", "'" + certificateFolder + "/tls.key'"},
		{"ssl_min_protocol_version", "'TLSv1.2'"},
		{"shared_buffers", megabytes(mebibytes / 4)},
		{"effective_cache_size", megabytes(mebibytes / 2)},
		{"maintenance_work_mem", megabytes(mebibytes / 16)},
		{"work_mem", megabytes(max(1, mebibytes/4/maxConnections))},
		{"idle_in_transaction_session_timeout", "'60s'"}, // a stuck client must not hold locks forever
		{"log_destination", "'stderr'"},
		{"log_line_prefix", "'%m [%p] %q%u@%d '"},
		{"log_min_duration_statement", "'1s'"},
		{"log_parameter_max_length", "0"}, // parameters are personal data
		{"log_timezone", "'UTC'"},
		{"timezone", "'UTC'"},
	}
	var conf strings.Builder
	for _, setting := range settings {
		fmt.Fprintf(&conf, "%s = %s\n", setting.name, setting.value)
	}
	return conf.String()
}

// megabytes is Postgres' notation; its MB is 1024 kB of 1024 bytes each.
func megabytes(mebibytes int) string { return fmt.Sprintf("%dMB", mebibytes) }

// roles is the list that setup.sh reads: role, database and connection limit of each service that has a database.
func (a PostgresArgs) roles() string {
	var lines strings.Builder
	for _, service := range a.Services {
		if service.Database != "" {
			limit := connectionLimit(a.Config.Services[service.Name].Replicas)
			fmt.Fprintf(&lines, "%s %s %d\n", service.Role(), service.Database, limit)
		}
	}
	return lines.String()
}
