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

	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Volume is a volume whose size is a setting, claimed by a StatefulSet.
type Volume struct {
	Setting          string // such as postgres.volumeSize
	Namespace, Claim string
	Size             quantity.Bytes
	Class            string // the StorageClass that the stack sets; empty for any
}

// ClaimTemplatesStay is an option of a StatefulSet: a template of claims can't change, and to replace the StatefulSet for it would
// stop its server and leave the claim as it was.
func ClaimTemplatesStay() pulumi.ResourceOption {
	return pulumi.IgnoreChanges([]string{"spec.volumeClaimTemplates"})
}

// Growing is the volumes that are smaller than their settings. It is an error where a claim can't become what is set. A claim
// that isn't there yet is created with the right size.
func (c *Cluster) Growing(ctx context.Context, volumes []Volume) (growing []Volume, err error) {
	for _, volume := range volumes {
		claim, failed := c.client.CoreV1().PersistentVolumeClaims(volume.Namespace).Get(ctx, volume.Claim, metav1.GetOptions{})
		if apierrors.IsNotFound(failed) {
			continue
		}
		class := &storagev1.StorageClass{} // expands nothing
		if name := claim.Spec.StorageClassName; failed == nil && name != nil && *name != "" {
			found, err := c.client.StorageV1().StorageClasses().Get(ctx, *name, metav1.GetOptions{})
			if err == nil {
				class = found
			} else if !apierrors.IsNotFound(err) {
				failed = err
			}
		}
		if failed != nil {
			return nil, fmt.Errorf("claim %s/%s can't be read: %w", volume.Namespace, volume.Claim, failed)
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

// compare reports whether the claim is to grow to the volume's size.
func (v Volume) compare(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (grows bool, err error) {
	asked, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	wanted := resource.MustParse(v.Size.String())
	named := fmt.Sprintf("claim %s/%s", v.Namespace, v.Claim)
	switch name := claim.Spec.StorageClassName; {
	case v.Class != "" && name != nil && *name != v.Class:
		return false, fmt.Errorf("%s:storageClass: %s: %s has the StorageClass %s and keeps it: set that one",
			stack.Namespace, v.Class, named, *name)
	case wanted.Cmp(asked) < 0:
		return false, fmt.Errorf("%s:%s: %s: %s has %s and can't shrink: set %[5]s or more",
			stack.Namespace, v.Setting, v.Size, named, asked.String())
	case wanted.Cmp(asked) > 0 && (class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion):
		return false, fmt.Errorf("%s:%s: %s: %s has %s and StorageClass %q can't expand volumes: set %[5]s, or "+
			"allowVolumeExpansion on the class if its driver is able to", stack.Namespace, v.Setting, v.Size, named, asked.String(), class.Name)
	default: // an earlier update may have asked for the size already
		return wanted.Cmp(asked) > 0 || wanted.Cmp(has) > 0, nil
	}
}

// Grow expands the claim of a volume, and waits until the volume has the size.
func (c *Cluster) Grow(ctx context.Context, volume Volume, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wanted := resource.MustParse(volume.Size.String())
	claims := c.client.CoreV1().PersistentVolumeClaims(volume.Namespace)
	patch := fmt.Appendf(nil, `{"spec":{"resources":{"requests":{"storage":%q}}}}`, volume.Size)
	if _, err := claims.Patch(ctx, volume.Claim, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("claim %s/%s can't be expanded to %s: %w", volume.Namespace, volume.Claim, volume.Size, err)
	}
	waits := "no condition of it says why"
	err := wait.PollUntilContextCancel(ctx, lookAgain, true, func(ctx context.Context) (bool, error) {
		claim, err := claims.Get(ctx, volume.Claim, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // the API server may answer at the next look
		}
		for _, condition := range claim.Status.Conditions {
			waits = fmt.Sprintf("%s: %s", condition.Type, condition.Message)
		}
		has := claim.Status.Capacity[corev1.ResourceStorage]
		return has.Cmp(wanted) >= 0, nil
	})
	if err != nil {
		return fmt.Errorf("claim %s/%s hasn't got %s within %s (%s); nothing else was changed: run the update again",
			volume.Namespace, volume.Claim, volume.Size, patience, waits)
	}
	return nil
}
