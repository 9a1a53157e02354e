// Command podsecurity judges manifests with the very library by which an API server enforces the Pod Security Standard
// "restricted", so that a pod which a cluster would refuse is refused before there is a cluster.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "podsecurity: want folders with manifests, one object per file")
		os.Exit(2)
	}
	judged, err := judge(os.Args[1:])
	if err == nil && judged == 0 {
		err = errors.New("there is not one pod in the folders")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podsecurity:", err)
		os.Exit(1)
	}
	fmt.Printf("podsecurity: %d pods are restricted\n", judged)
}

// judge returns the number of pods in the folders, and what is wrong with any of them.
func judge(folders []string) (judged int, err error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return 0, err
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var refused []error
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			template, err := podOf(path)
			if err != nil || template == nil {
				return err
			}
			judged++
			results := evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)
			for _, result := range results {
				if !result.Allowed {
					refused = append(refused, fmt.Errorf("%s: %s: %s", path, result.ForbiddenReason, result.ForbiddenDetail))
				}
			}
			return nil
		})
		if err != nil {
			return judged, err
		}
	}
	return judged, errors.Join(refused...)
}

// podOf is the template of the pods that the object in the file makes; nil where it makes none.
func podOf(path string) (*corev1.PodTemplateSpec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var object struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(content, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var template *corev1.PodTemplateSpec
	switch object.Kind {
	case "Deployment":
		var deployment appsv1.Deployment
		err, template = yaml.Unmarshal(content, &deployment), &deployment.Spec.Template
	case "StatefulSet":
		var set appsv1.StatefulSet
		err, template = yaml.Unmarshal(content, &set), &set.Spec.Template
	case "DaemonSet":
		var set appsv1.DaemonSet
		err, template = yaml.Unmarshal(content, &set), &set.Spec.Template
	case "Job":
		var job batchv1.Job
		err, template = yaml.Unmarshal(content, &job), &job.Spec.Template
	case "CronJob":
		var job batchv1.CronJob
		err, template = yaml.Unmarshal(content, &job), &job.Spec.JobTemplate.Spec.Template
	case "Pod":
		var pod corev1.Pod
		err, template = yaml.Unmarshal(content, &pod), &corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return template, nil
}
