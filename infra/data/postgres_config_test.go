package data

import (
	"fmt"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

func TestTheServerHasRoomForAllPoolsAndAddedServicesRarelyRestartIt(t *testing.T) {
	for most := 1; most <= 20; most++ {
		args := PostgresArgs{Config: stack.Stack{Services: map[string]stack.Service{}}}
		needed, taken, restarts := reserved, 0, 0
		for i := range 12 {
			name := fmt.Sprintf("service-%d", i)
			args.Services = append(args.Services, catalog.Service{Name: name, Database: name})
			args.Config.Services[name] = stack.Service{Replicas: stack.Replicas{Min: 1, Max: most}}
			needed += connectionLimit(args.Config.Services[name].Replicas)
			takes := args.connections()
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
