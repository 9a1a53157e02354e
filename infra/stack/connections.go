package stack

import (
	"fmt"

	"platform.example/infra/catalog"
)

const (
	// reservedConnections are for the superuser, backups, the exporter and a person with psql.
	reservedConnections = 16
	// fewestConnections is the minimum of MaxConnections, if the memory suffices.
	fewestConnections = 400
	// connectionKiB is the memory of a busy connection, measured with Postgres 15: 1444 KiB of private memory with prepared
	// statements and a catalog like ours, and 196 KiB of page tables.
	connectionKiB = 1640
)

// Connections is the connection limit of a service's role: the pools of all replicas and of one surplus replica during a rolling
// update, in both colours, and two for the migration.
func (r Replicas) Connections() int { return catalog.DatabaseConnections*(r.Max+1)*2 + 2 }

// connections returns the number of connections that the services need, and the number that one more service may need.
func (s Stack) connections(services []catalog.Service) (needed, more int) {
	needed = reservedConnections
	for _, service := range services {
		if service.Database != "" {
			limit := s.Services[service.Name].Replicas.Connections()
			needed, more = needed+limit, max(more, limit)
		}
	}
	return needed, more
}

// room is the number of connections for which the server has memory besides shared_buffers, which is a quarter.
func (p Postgres) room() int { return int(p.Memory) * 3 / 4 * 1024 / connectionKiB }

// MaxConnections is the server's max_connections: enough for the services and one more, rounded up generously, within the memory.
// A change restarts the server, so an added service should rarely change the value.
func (s Stack) MaxConnections(services []catalog.Service) int {
	needed, more := s.connections(services)
	limit := fewestConnections
	for limit < needed+more {
		limit *= 2
	}
	return max(needed, min(limit, s.Postgres.room()))
}

func connectionsFit(s Stack, services []catalog.Service) string {
	needed, _ := s.connections(services)
	if s.Postgres.Address != "" || needed <= s.Postgres.room() {
		return ""
	}
	return fmt.Sprintf("%d: the services with a database may hold %d connections to Postgres (for each service %d × (replicas.max + 1) × 2 "+
		"+ 2, and %d for others); postgres.memory %s has room for %d (%d KiB each in three quarters of it): lower replicas.max for all or "+
		"for single services, or raise postgres.memory", s.Replicas.Max, needed, catalog.DatabaseConnections, reservedConnections,
		s.Postgres.Memory, s.Postgres.room(), connectionKiB)
}
