// Command storage-provisioner gives every claim of the local node's storage
// class a folder on the node. It runs on the node itself, so that it needs no
// helper pods and no image with a shell to make and remove folders.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storage-provisioner:", err)
		os.Exit(1)
	}
}

func run() error {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	root := flag.String("root", "", "folder that holds the volumes")
	name := flag.String("provisioner", "", "provisioner that the storage class names")
	flag.Parse()
	if *kubeconfig == "" || *root == "" || *name == "" {
		return fmt.Errorf("-kubeconfig, -root and -provisioner are all needed")
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	ctx = klog.NewContext(ctx, klog.Background())
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := expand(ctx, client, *name); err != nil {
			klog.FromContext(ctx).Error(err, "expand volumes")
		}
	}, expandEvery)
	controller.NewProvisionController(ctx, client, *name, folders{root: *root},
		controller.LeaderElection(false)).Run(ctx)
	return nil
}

// expandEvery is how long a claim waits at most until its volume grows.
const expandEvery = 2 * time.Second

// expand raises the capacity of the volume of each claim that requests more than it has. A folder can use the whole disk, so
// only the recorded capacity changes.
func expand(ctx context.Context, client kubernetes.Interface, provisioner string) error {
	claims, err := client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	for _, claim := range claims.Items {
		wanted, has := claim.Spec.Resources.Requests[v1.ResourceStorage], claim.Status.Capacity[v1.ResourceStorage]
		ours := claim.Annotations["volume.kubernetes.io/storage-provisioner"] == provisioner
		if !ours || claim.Status.Phase != v1.ClaimBound || wanted.Cmp(has) <= 0 {
			continue
		}
		size := fmt.Sprintf(`{"capacity":{"storage":%q}}`, wanted.String())
		_, err := client.CoreV1().PersistentVolumes().Patch(ctx, claim.Spec.VolumeName, types.MergePatchType,
			[]byte(`{"spec":`+size+`}`), metav1.PatchOptions{})
		if err == nil {
			_, err = client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType,
				[]byte(`{"status":`+size+`}`), metav1.PatchOptions{}, "status")
		}
		if err != nil {
			return fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	return nil
}

// folders provisions a volume as <root>/<name of the volume>.
type folders struct{ root string }

// Provision creates the folder. The volume is of type local, not hostPath, so that the
// kubelet sets the folder's group to the pod's fsGroup and other users have no access.
func (f folders) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(f.root, options.PVName)
	if err := os.MkdirAll(path, 0o770); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make volume: %w", err)
	}
	filesystem := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    &filesystem,
			Capacity: v1.ResourceList{
				v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage],
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{
					Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{options.SelectedNodeName},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the folder of a volume that this provisioner created.
func (f folders) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != filepath.Clean(f.root) {
		return fmt.Errorf("volume %s does not lie in %s: not removed", volume.Name, f.root)
	}
	return os.RemoveAll(volume.Spec.Local.Path)
}
