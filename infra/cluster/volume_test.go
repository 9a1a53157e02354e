package cluster

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/quantity"
)

func claimOf(class, asked, has string) corev1.PersistentVolumeClaim {
	claim := corev1.PersistentVolumeClaim{
		Spec:   corev1.PersistentVolumeClaimSpec{StorageClassName: &class},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(has)}},
	}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(asked)}
	return claim
}

func TestGrowing(t *testing.T) {
	const path = "/api/v1/namespaces/data/persistentvolumeclaims/data-object-store-0"
	yes, no := true, false
	pending := claimOf("grows", "2Gi", "2Gi")
	pending.Status.Phase = corev1.ClaimPending
	for _, test := range []struct {
		name  string
		claim any
		size  quantity.Bytes
		class string
		grows bool
		err   string
	}{
		{"a new volume", nil, 2048, "", false, ""},
		{"a claim without a volume yet", pending, 1024, "", false, ""},
		{"the same size", claimOf("fixed", "2Gi", "2Gi"), 2048, "fixed", false, ""},
		{"a volume that its driver rounded up", claimOf("fixed", "2Gi", "4Gi"), 2048, "", false, ""},
		{"a larger size", claimOf("grows", "2Gi", "2Gi"), 3072, "grows", true, ""},
		{"an expansion that was cut off", claimOf("grows", "3Gi", "2Gi"), 3072, "", true, ""},
		{"a smaller size", claimOf("grows", "2Gi", "2Gi"), 1024, "", false,
			"platform:postgres.volumeSize: 1024Mi: claim data/data-object-store-0 has 2Gi and can't shrink: set 2Gi or more"},
		{"a class that can't expand", claimOf("fixed", "2Gi", "2Gi"), 3072, "", false,
			`platform:postgres.volumeSize: 3072Mi: claim data/data-object-store-0 has 2Gi and StorageClass "fixed" can't expand volumes: set 2Gi, `},
		{"a class that says nothing", claimOf("silent", "2Gi", "2Gi"), 3072, "", false, "can't expand volumes"},
		{"a class that is gone", claimOf("gone", "2Gi", "2Gi"), 3072, "", false, "can't expand volumes"},
		{"another class", claimOf("fixed", "2Gi", "2Gi"), 2048, "grows", false,
			"platform:storageClass: grows: claim data/data-object-store-0 has the StorageClass fixed and keeps it"},
		{"a cluster that doesn't respond", 500, 2048, "", false, "read claim data/data-object-store-0: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := clustertest.New(t, "this")
			if test.claim != nil {
				api.Answer(path, test.claim)
			}
			for name, expands := range map[string]*bool{"grows": &yes, "fixed": &no, "silent": nil} {
				api.Answer("/apis/storage.k8s.io/v1/storageclasses/"+name, storagev1.StorageClass{
					ObjectMeta: metav1.ObjectMeta{Name: name}, AllowVolumeExpansion: expands,
				})
			}
			growing, err := connect(t, api).Growing(t.Context(), []Volume{
				{Setting: "stream.volumeSize", Namespace: "data", Claim: "data-redis-stream-0", Size: 1024},
				{Setting: "postgres.volumeSize", Namespace: "data", Claim: "data-object-store-0", Size: test.size, Class: test.class},
			})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || (len(growing) == 1 && growing[0].Claim == "data-object-store-0") != test.grows || len(growing) > 1 {
				t.Errorf("got %v (%v), want %v", growing, err, test.grows)
			}
		})
	}
}

func TestGrowWaitsForTheVolume(t *testing.T) {
	t.Parallel()
	const path = "/api/v1/namespaces/data/persistentvolumeclaims/data-object-store-0"
	api := clustertest.New(t, "this")
	here := connect(t, api)
	volume := Volume{Namespace: "data", Claim: "data-object-store-0", Size: 3072}

	slow := claimOf("grows", "3Gi", "2Gi")
	slow.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Message: "waiting for a pod"}}
	api.Answer(path, slow)
	err := here.Grow(t.Context(), volume, time.Second)
	if err == nil || !strings.Contains(err.Error(), "data/data-object-store-0") || !strings.Contains(err.Error(), "FileSystemResizePending: waiting for a pod") {
		t.Errorf("got %v", err)
	}
	grown, asked := make(chan error), len(api.Asked())
	go func() { grown <- here.Grow(t.Context(), volume, time.Minute) }()
	for len(api.Asked()) < asked+3 { // it expands the claim, looks, and looks again
		select {
		case err := <-grown:
			t.Fatalf("it doesn't wait: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	api.Answer(path, claimOf("grows", "3Gi", "3Gi"))
	if err := <-grown; err != nil {
		t.Error(err)
	}
}
