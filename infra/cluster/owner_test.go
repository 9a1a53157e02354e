package cluster

import (
	"net/http"
	"strings"
	"testing"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	provider "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
)

func TestFreeRefusesObjectsOfOtherOwners(t *testing.T) {
	api := clustertest.New(t, "one")
	owned := func(path, stack string) {
		object := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
		if stack != "" {
			object.Annotations = map[string]string{namespace.StackAnnotation: stack}
		}
		api.Answer(path, object)
	}
	owned("/api/v1/namespaces/apps", "local")
	owned("/api/v1/namespaces/monitoring", "")
	owned("/apis/scheduling.k8s.io/v1/priorityclasses/platform-data", "staging")
	owned("/apis/networking.k8s.io/v1/namespaces/edge/networkpolicies/edge", "")
	api.Answer("/apis/rbac.authorization.k8s.io/v1/clusterroles/platform-prometheus", http.StatusForbidden)
	err := connect(t, api).Free(t.Context(), "local", []Object{
		{"v1", "Namespace", "", "apps"},
		{"v1", "Namespace", "", "data"},
		{"v1", "Namespace", "", "monitoring"},
		{"scheduling.k8s.io/v1", "PriorityClass", "", "platform-data"},
		{"networking.k8s.io/v1", "NetworkPolicy", "edge", "edge"},
		{"rbac.authorization.k8s.io/v1", "ClusterRole", "", "platform-prometheus"},
	})
	if err == nil {
		t.Fatal("all are free")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"Namespace monitoring exists, and stack local didn't create it: set platform:namespacePrefix",
		"PriorityClass platform-data belongs to stack staging",
		"`kubectl annotate --namespace edge networkpolicy edge platform.example/stack=local`",
		"find the owner of ClusterRole platform-prometheus: ",
	} {
		if len(lines) != 4 || !strings.Contains(lines[i], want) {
			t.Errorf("no %q in %q", want, lines)
		}
	}
}

// recorded remembers the inputs of what a program creates.
type recorded struct {
	inputs map[string]resource.PropertyMap
}

func (r recorded) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func (r recorded) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.inputs[args.Name] = args.Inputs
	return args.Name, args.Inputs, nil
}

func TestOwnAnnotatesObjects(t *testing.T) {
	created := recorded{map[string]resource.PropertyMap{}}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		if err := Within(0).Own(ctx); err != nil {
			return err
		}
		shared := pulumi.StringMap{"kept": pulumi.String("yes")}
		if _, err := corev1.NewConfigMap(ctx, "plain", &corev1.ConfigMapArgs{}); err != nil {
			return err
		}
		_, err := corev1.NewConfigMap(ctx, "annotated", &corev1.ConfigMapArgs{Metadata: provider.ObjectMetaArgs{Annotations: shared}})
		if len(shared) != 1 {
			t.Errorf("the caller's own annotations become %v", shared)
		}
		return err
	}, pulumi.WithMocks("platform", "production", created))
	if err != nil {
		t.Fatal(err)
	}
	for name, inputs := range created.inputs {
		if name != "plain" && name != "annotated" {
			continue
		}
		annotations, _, _ := unstructured.NestedStringMap(Plain(inputs), "metadata", "annotations")
		if annotations[namespace.StackAnnotation] != "production" || (name == "annotated") != (annotations["kept"] == "yes") {
			t.Errorf("%s has the annotations %v", name, annotations)
		}
	}
	if len(created.inputs) != 2 {
		t.Errorf("it creates %v", created.inputs)
	}
}
