package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Certificate returns the certificate and the key of a Secret in PEM, or an empty string if the Secret doesn't exist.
func (c *Cluster) Certificate(ctx context.Context, namespace, name string) (string, error) {
	secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the certificate of Secret %s/%s: %w", namespace, name, err)
	}
	return string(secret.Data[corev1.TLSCertKey]) + string(secret.Data[corev1.TLSPrivateKeyKey]), nil
}
