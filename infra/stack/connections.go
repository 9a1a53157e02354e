package stack

import (
	"fmt"

	"platform.example/infra/catalog"
)

const (
	// reservedConnections is the connections beyond those of the services: superuser, backups, an exporter, a person at psql.
	reservedConnections = 16
	// fewestConnections is what a server for few services takes, where its memory allows it.
	fewestConnections = 400
	// connectionKiB is what a busy connection takes of its own, measured with Postgres 15: 1444 KiB of private memory with
	// prepared statements and a catalog like ours, and 196 KiB of page tables.
	connectionKiB = 1640
)

// Connections is how many connections a service's role may hold: the pools of all replicas, one surplus during a rolling
// update, in both colours, and two for the migration.
func (r Replicas) Connections() int { return catalog.DatabaseConnections*(r.Max+1)*2 + 2 }

// connections is how many the services need, and how many one service more might need.
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

// room is how many connections the server's memory holds beside shared_buffers, a quarter of it.
func (p Postgres) room() int { return int(p.Memory) * 3 / 4 * 1024 / connectionKiB }

// MaxConnections is how many connections the server takes: those that it needs and those of one service more, rounded up
// generously, as far as its memory holds them. To take more it has to be restarted, and an added service should rarely be a
// reason for that.
func (s Stack) MaxConnections(services []catalog.Service) int {
	needed, more := s.connections(services)
	taken := fewestConnections
	for taken < needed+more {
		taken *= 2
	}
	return max(needed, min(taken, s.Postgres.room()))
}

func connectionsFit(s Stack, services []catalog.Service) string {
	needed, _ := s.connections(services)
	if s.Postgres.Address != "" || needed <= s.Postgres.room() {
		return ""
	}
	return fmt.Sprintf("%d: the services with a database may hold %d connections to Postgres (for each service %d × (replicas.max + 1) × 2 "+
		"+ 2, and %d for others); postgres.memory %s has room for %d (%d KiB each in three quarters of it): lower replicas.max, or that of "+
		"single services, or raise postgres.memory", s.Replicas.Max, needed, catalog.DatabaseConnections, reservedConnections,
		s.Postgres.Memory, s.Postgres.room(), connectionKiB)
}
