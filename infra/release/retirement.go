package release

import (
	"strings"
	"time"
)

// Lease is the name of the Lease of releases, in the services' namespace. An update or a release holds it.
const Lease = "release"

// Path is the API server's path of an object.
func Path(kind, namespace, name string) string {
	group := map[string]string{
		"Service": "/api/v1", "Secret": "/api/v1", "Deployment": "/apis/apps/v1", "HorizontalPodAutoscaler": "/apis/autoscaling/v2", "Lease": "/apis/coordination.k8s.io/v1",
	}[kind]
	return group + "/namespaces/" + namespace + "/" + strings.ToLower(kind) + "s/" + name
}

// Orders is the input of the subcommand retire of the services' images.
type Orders struct {
	Lease    string  `json:"lease"`
	Services []Order `json:"services"`
}

// Order is the patches of one service.
type Order struct {
	At      time.Time `json:"at"` // apply no earlier
	Patches []Patch   `json:"patches"`
}

// Patch is a JSON patch (RFC 6902) of the object at Path.
type Patch struct {
	Path  string           `json:"path"`
	Patch []map[string]any `json:"patch"`
}

// Retirement retires the standby version once it is older than keep, without another update: it removes the standby from the mark,
// scales it to 0 and sets the live autoscaler to bounds. The tests in the patches fail if another version was released since, or if a
// candidate has replaced the standby. Without a standby version, Retirement returns the zero Order.
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
			operation("test", annotation(LiveAnnotation), now[LiveAnnotation]),
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
