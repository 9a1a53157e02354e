package node

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// cgroup creates a folder that looks like a cgroup (v2) with these controllers.
func cgroup(t *testing.T, folder, controllers, given string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"cgroup.controllers": controllers, children: given} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithheldControllers(t *testing.T) {
	const all = "cpuset cpu io memory hugetlb pids rdma misc\n"
	for _, c := range []struct {
		name, controllers, given string
		want                     []string
	}{
		{"Debian 12 after its start", all, "cpu memory pids\n", []string{"cpuset", "io", "hugetlb", "rdma", "misc"}},
		{"no child has any", all, "\n", []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}},
		{"the children have all", "cpuset cpu memory pids\n", "cpuset cpu memory pids\n", nil},
	} {
		folder := t.TempDir()
		cgroup(t, folder, c.controllers, c.given)
		if got := withheld(folder); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := withheld(t.TempDir()); len(got) > 0 {
		t.Errorf("with cgroup v1: %q", got)
	}
}

// The kernel adds a controller to the file; here, the file keeps what is written.
func TestPodsGetTheirControllersAndWeight(t *testing.T) {
	defer func(before string) { cgroupRoot = before }(cgroupRoot)
	cgroupRoot = t.TempDir()
	pods := filepath.Join(cgroupRoot, Name)
	cgroup(t, cgroupRoot, "cpuset", "")
	cgroup(t, pods, "cpuset", "")
	if err := os.WriteFile(filepath.Join(pods, "cpu.weight"), []byte("100"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeCgroup(Name); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(cgroupRoot, children): "+cpuset", filepath.Join(pods, children): "+cpuset", filepath.Join(pods, "cpu.weight"): "800",
	} {
		if content, err := os.ReadFile(path); string(content) != want {
			t.Errorf("%s is %q (%v), want %q", path, content, err, want)
		}
	}
}

// Beside cgroup v1, the cgroup (v2) belongs to the machine, and in a container its root can't give controllers to its children.
func TestControllersBesideCgroupV1StayAsTheyAre(t *testing.T) {
	defer func(before string) { cgroupRoot = before }(cgroupRoot)
	cgroupRoot = t.TempDir()
	unified := filepath.Join(cgroupRoot, "unified")
	cgroup(t, unified, "hugetlb", "")
	cgroup(t, filepath.Join(cgroupRoot, "memory"), "", "")
	if err := makeCgroup(Name); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(unified, children)); err != nil || len(content) > 0 {
		t.Errorf("the controllers of the machine's cgroup (v2) changed: %q, %v", content, err)
	}
}

func TestProcessesMoveOutOfAContainersRoot(t *testing.T) {
	root := t.TempDir()
	cgroup(t, root, "cpu", "")
	leaf := filepath.Join(root, containerCgroup)
	cgroup(t, leaf, "cpu", "")
	for folder, content := range map[string]string{root: "1\n", leaf: ""} {
		if err := os.WriteFile(filepath.Join(folder, procs), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := moveProcesses(root, leaf); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(leaf, procs)); string(content) != "1" {
		t.Errorf("the leaf has the processes %q (%v), want 1", content, err)
	}
}

func TestCgroupIsRemovedFromTheInside(t *testing.T) {
	defer func(before string) { cgroupRoot = before }(cgroupRoot)
	cgroupRoot = t.TempDir()
	for _, folder := range []string{"platform/kubepods/pod1", "beside"} {
		if err := os.MkdirAll(filepath.Join(cgroupRoot, "memory", folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeCgroup(Name); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cgroupRoot, "memory", "*"))
	if err != nil || !slices.Equal(left, []string{filepath.Join(cgroupRoot, "memory", "beside")}) {
		t.Errorf("these cgroups are left: %q (%v)", left, err)
	}
}

// Two containers can share the machine's cgroups. Processes of the other one have no id here.
func TestProcessesOfAnotherContainerAreNotSignalled(t *testing.T) {
	defer func(before string) { cgroupRoot = before }(cgroupRoot)
	cgroupRoot = t.TempDir()
	pods := filepath.Join(cgroupRoot, Name)
	cgroup(t, cgroupRoot, "cpu", "cpu")
	cgroup(t, pods, "cpu", "cpu")
	if err := os.WriteFile(filepath.Join(pods, procs), []byte("0\n12\n0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pids, err := processesIn(Name); err != nil || !slices.Equal(pids, []int{12}) {
		t.Errorf("processes %v (%v), want 12: kill(2) takes 0 for the own process group", pids, err)
	}
}
