package stack

import (
	"fmt"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

func TestMaxConnectionsRarelyChanges(t *testing.T) {
	for most := 1; most <= 20; most++ {
		config := Stack{Services: map[string]Service{}, Postgres: Postgres{Memory: 64 * 1024 * quantity.MiB}}
		needed, before, restarts := reservedConnections, 0, 0
		var services []catalog.Service
		for i := range 12 {
			name := fmt.Sprintf("service-%d", i)
			services = append(services, catalog.Service{Name: name, Database: name})
			config.Services[name] = Service{Replicas: Replicas{Min: 1, Max: most}}
			needed += config.Services[name].Replicas.Connections()
			limit := config.MaxConnections(services)
			if limit < needed {
				t.Errorf("%d services of up to %d replicas need %d connections, max_connections is %d", i+1, most, needed, limit)
			}
			if i > 2 && limit != before {
				restarts++
			}
			before = limit
		}
		if restarts > 2 {
			t.Errorf("services of up to %d replicas: max_connections changes %d times from 3 to 12 services", most, restarts)
		}
	}
}
