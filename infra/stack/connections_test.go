package stack

import (
	"fmt"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

func TestTheServerHasRoomForAllPoolsAndAddedServicesRarelyRestartIt(t *testing.T) {
	for most := 1; most <= 20; most++ {
		config := Stack{Services: map[string]Service{}, Postgres: Postgres{Memory: 64 * 1024 * quantity.MiB}}
		needed, taken, restarts := reservedConnections, 0, 0
		var services []catalog.Service
		for i := range 12 {
			name := fmt.Sprintf("service-%d", i)
			services = append(services, catalog.Service{Name: name, Database: name})
			config.Services[name] = Service{Replicas: Replicas{Min: 1, Max: most}}
			needed += config.Services[name].Replicas.Connections()
			takes := config.MaxConnections(services)
			if takes < needed {
				t.Errorf("%d services of up to %d replicas hold %d connections, the server takes %d", i+1, most, needed, takes)
			}
			if i > 2 && takes != taken {
				restarts++
			}
			taken = takes
		}
		if restarts > 2 {
			t.Errorf("services of up to %d replicas: the server is restarted %d times while 3 become 12", most, restarts)
		}
	}
}
