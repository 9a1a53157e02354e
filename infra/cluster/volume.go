package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Volume is a volume of a StatefulSet whose size is a setting.
type Volume struct {
	Setting          string // such as postgres.volumeSize
	Namespace, Claim string
	Size             quantity.Bytes
	Class            string // the stack's StorageClass; empty for any
}

// ClaimTemplatesStay is an option that ignores changes of a StatefulSet's claim templates. They are immutable, and replacing the
// StatefulSet would stop its server without changing the claim.
func ClaimTemplatesStay() pulumi.ResourceOption {
	return pulumi.IgnoreChanges([]string{"spec.volumeClaimTemplates"})
}

// Claimed returns the volume once for each claim in its namespace with these labels.
func (c *Cluster) Claimed(ctx context.Context, volume Volume, labels string) ([]Volume, error) {
	claims, err := c.client.CoreV1().PersistentVolumeClaims(volume.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, fmt.Errorf("list the claims of namespace %s: %w", volume.Namespace, err)
	}
	var volumes []Volume
	for _, claim := range claims.Items {
		volume.Claim = claim.Name
		volumes = append(volumes, volume)
	}
	return volumes, nil
}

// Growing returns the volumes that are smaller than their settings. It fails if a claim can't grow to its setting. It skips claims
// that don't exist yet.
func (c *Cluster) Growing(ctx context.Context, volumes []Volume) (growing []Volume, err error) {
	for _, volume := range volumes {
		claim, failed := c.client.CoreV1().PersistentVolumeClaims(volume.Namespace).Get(ctx, volume.Claim, metav1.GetOptions{})
		if apierrors.IsNotFound(failed) {
			continue
		}
		class := &storagev1.StorageClass{} // can't expand volumes
		if name := ptr.Deref(claim.Spec.StorageClassName, ""); failed == nil && name != "" {
			class, failed = c.client.StorageV1().StorageClasses().Get(ctx, name, metav1.GetOptions{}) // a missing one is empty
		}
		if failed != nil && !apierrors.IsNotFound(failed) {
			return nil, fmt.Errorf("read claim %s/%s: %w", volume.Namespace, volume.Claim, failed)
		}
		if claim.Status.Phase != corev1.ClaimBound {
			continue
		}
		grows, fault := volume.compare(claim, class)
		if grows {
			growing = append(growing, volume)
		}
		err = errors.Join(err, fault)
	}
	return growing, err
}

// compare reports whether the claim must grow to the volume's size.
func (v Volume) compare(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (grows bool, err error) {
	request, capacity := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	size := resource.MustParse(v.Size.String())
	subject := fmt.Sprintf("claim %s/%s", v.Namespace, v.Claim)
	switch name := claim.Spec.StorageClassName; {
	case v.Class != "" && name != nil && *name != v.Class:
		return false, fmt.Errorf("%s:storageClass: %s: %s has the StorageClass %s and keeps it: set that one",
			stack.Namespace, v.Class, subject, *name)
	case size.Cmp(request) < 0:
		return false, fmt.Errorf("%s:%s: %s: %s has %s and can't shrink: set %[5]s or more",
			stack.Namespace, v.Setting, v.Size, subject, request.String())
	case size.Cmp(request) > 0 && (class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion):
		return false, fmt.Errorf("%s:%s: %s: %s has %s and StorageClass %q can't expand volumes: set %[5]s, or "+
			"allowVolumeExpansion on the class if its driver is able to", stack.Namespace, v.Setting, v.Size, subject, request.String(), class.Name)
	default: // an earlier update may have requested the size already
		return size.Cmp(request) > 0 || size.Cmp(capacity) > 0, nil
	}
}

// Grow expands the claim of a volume, and waits until the volume has the size.
func (c *Cluster) Grow(ctx context.Context, volume Volume, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	size := resource.MustParse(volume.Size.String())
	claims := c.client.CoreV1().PersistentVolumeClaims(volume.Namespace)
	patch := fmt.Appendf(nil, `{"spec":{"resources":{"requests":{"storage":%q}}}}`, volume.Size)
	if _, err := claims.Patch(ctx, volume.Claim, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("expand claim %s/%s to %s: %w", volume.Namespace, volume.Claim, volume.Size, err)
	}
	reason := "it has no condition that explains why"
	err := wait.PollUntilContextCancel(ctx, lookAgain, true, func(ctx context.Context) (bool, error) {
		claim, err := claims.Get(ctx, volume.Claim, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // retry
		}
		for _, condition := range claim.Status.Conditions {
			reason = fmt.Sprintf("%s: %s", condition.Type, condition.Message)
		}
		capacity := claim.Status.Capacity[corev1.ResourceStorage]
		return capacity.Cmp(size) >= 0, nil
	})
	if err != nil {
		return fmt.Errorf("claim %s/%s isn't expanded to %s after %s (%s); nothing else was changed: run the update again",
			volume.Namespace, volume.Claim, volume.Size, patience, reason)
	}
	return nil
}
