package data

import (
	"fmt"
	"strings"

	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

// postgresConf tunes the server to its memory limit; shares as in the PostgreSQL documentation, "Resource Consumption".
func postgresConf(memory quantity.Bytes, maxConnections int) string {
	mebibytes := int(memory)
	settings := []struct{ name, value string }{
		{"listen_addresses", "'*'"},
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
		// A share of a quarter: of two colours, only one works.
		{"work_mem", fmt.Sprintf("%dkB", max(64, mebibytes*1024/4/maxConnections))},
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
			limit := a.Config.Services[service.Name].Replicas.Connections()
			fmt.Fprintf(&lines, "%s %s %d\n", service.Role(), service.Database, limit)
		}
	}
	return lines.String()
}
