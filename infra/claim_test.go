package main

import (
	"strings"
	"testing"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	provider "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster"
	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

func TestFirstUpdateRefusesNamesOfOtherOwners(t *testing.T) {
	api := clustertest.New(t, "this")
	theirs := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	for _, path := range []string{
		"/api/v1/namespaces/monitoring", "/apis/scheduling.k8s.io/v1/priorityclasses/platform-data",
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/platform-prometheus", "/api/v1/namespaces/monitoring/services/prometheus",
	} {
		api.Answer(path, theirs)
	}
	engine := &engine{last: resource.PropertyMap{}}
	err := up(t, stack.Local, on(t, api), engine)
	for _, want := range []string{
		"Namespace monitoring exists, and stack local didn't create it: set platform:namespacePrefix", "PriorityClass platform-data exists",
		"ClusterRole platform-prometheus exists", "Service monitoring/prometheus exists",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for _, created := range engine.registered {
		if created.TypeToken != "pulumi:pulumi:StackReference" {
			t.Errorf("it creates %s %s", created.TypeToken, created.Name)
		}
	}
}

func TestNamespacePrefixIsImmutable(t *testing.T) {
	for recorded, want := range map[string]string{"": "the stack runs in namespace apps", "apps": "the stack runs in namespace apps", "shop-apps": ""} {
		p := platform{}
		p.config.NamespacePrefix = "shop-"
		p.last.cluster = "this"
		if recorded != "" {
			p.last.namespaces = map[namespace.Name]string{"apps": recorded}
		}
		err := p.unclaimed(nil, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("recorded as %q: %v, want %q", recorded, err, want)
		}
	}
}

func TestObjectsHaveTheAnnotationOfTheStack(t *testing.T) {
	engine := &engine{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		if err := kube.Own(ctx, cluster.Within(0)); err != nil {
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
	}, pulumi.WithMocks("platform", "production", engine))
	if err != nil {
		t.Fatal(err)
	}
	created := engine.ofType("core/v1:ConfigMap")
	for name, object := range created {
		annotations, _ := object.at("metadata", "annotations").(map[string]any)
		if annotations[namespace.StackAnnotation] != "production" || (name == "annotated") != (annotations["kept"] == "yes") {
			t.Errorf("%s has the annotations %v", name, annotations)
		}
	}
	if len(created) != 2 {
		t.Errorf("it creates %v", created)
	}
}
