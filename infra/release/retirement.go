package release

import (
	"strings"
	"time"
)

// Lease is the name of the Lease, in the services' namespace, that an update or a release holds.
const Lease = "release"

// Path is the path of an object on the API server.
func Path(kind, namespace, name string) string {
	group := map[string]string{
		"Service": "/api/v1", "Secret": "/api/v1", "Deployment": "/apis/apps/v1", "HorizontalPodAutoscaler": "/apis/autoscaling/v2", "Lease": "/apis/coordination.k8s.io/v1",
	}[kind]
	return group + "/namespaces/" + namespace + "/" + strings.ToLower(kind) + "s/" + name
}

// Orders is what the command retire of the services' images reads: what it patches, and not before when.
type Orders struct {
	Lease    string  `json:"lease"`
	Services []Order `json:"services"`
}

// Order is for one service.
type Order struct {
	At      time.Time `json:"at"`
	Patches []Patch   `json:"patches"`
}

// Patch is a JSON patch (RFC 6902) of an object.
type Patch struct {
	Path  string           `json:"path"`
	Patch []map[string]any `json:"patch"`
}

// Retirement is what is done when what stands by has done so for long enough, without another update: the mark forgets it, it
// loses its replicas, and the live colour may shrink again. Nothing is done once something else was released, nor to a candidate
// that has taken its place. There is no time where nothing stands by.
func (p Plan) Retirement(service, namespace string, keep time.Duration, bounds Bounds) Order {
	if p.Mark.Standby == (Former{}) {
		return Order{}
	}
	operation := func(name, path string, value any) map[string]any {
		return map[string]any{"op": name, "path": path, "value": value}
	}
	annotation := func(key string) string { return "/metadata/annotations/" + strings.ReplaceAll(key, "/", "~1") }
	now := p.Mark.Annotations()
	return Order{At: ReadTimestamp(now[SwitchedAnnotation]).Add(keep), Patches: []Patch{
		{Path("Service", namespace, service), []map[string]any{
			operation("test", annotation(liveAnnotation), now[liveAnnotation]),
			operation("test", annotation(SwitchedAnnotation), now[SwitchedAnnotation]),
			operation("replace", annotation(standbyAnnotation), ""),
		}},
		{Path("Deployment", namespace, p.Live.Other().Name(service)), []map[string]any{
			operation("test", annotation(MadeAnnotation), p.Mark.Standby.Made),
			operation("replace", "/spec/replicas", 0),
		}},
		{Path("HorizontalPodAutoscaler", namespace, p.Live.Name(service)), []map[string]any{
			operation("add", annotation(ReplicasAnnotation), bounds.With(p.Made)),
			operation("replace", "/spec/minReplicas", bounds.Min),
			operation("replace", "/spec/maxReplicas", bounds.Max),
		}},
	}}
}
