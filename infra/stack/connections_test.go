package stack

import (
	"fmt"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// All instances of the pooler and one more leave room for another colour that connects directly.
func TestPoolsFitTheConnectionLimits(t *testing.T) {
	services := []catalog.Service{{Name: "a", Database: "a"}, {Name: "b", Database: "b"}, {Name: "c"}}
	for most := 1; most <= 20; most++ {
		for instances := 1; instances <= 5; instances++ {
			config := Stack{Postgres: Postgres{Pooler: instances}, Services: map[string]Service{
				"a": {Replicas: Replicas{Max: most}}, "b": {Replicas: Replicas{Max: 30}}, "c": {Replicas: Replicas{Max: 1}},
			}}
			servers, clients := config.Pool(services)
			least, all := config.Services["a"].Replicas.Connections(), config.Services["b"].Replicas.Connections()
			if servers < 1 || 2*servers*(instances+1) > all-2 {
				t.Errorf("%d + 1 instances with %d connections to a database each, whose role may have %d", instances, servers, all)
			}
			if clients < least+all {
				t.Errorf("an instance accepts %d clients, but the services have up to %d", clients, least+all)
			}
		}
	}
}

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
