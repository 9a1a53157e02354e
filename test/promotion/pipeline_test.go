package promotion

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// delivered is the configuration of both stacks. Each finds its cluster by a context, as from a runner that reaches both.
const delivered = `config:
  platform:kubeContext: platform-%s
  platform:cpuRequests: 40
  platform:edge: {host: localhost, type: NodePort, httpPort: %d, httpsPort: %d, tlsSecret: edge, requestsPerSecond: 2000}
  platform:replicas: {min: 1, max: 2}
  platform:postgres: {instances: 1, cpu: "2", memory: 512Mi, volumeSize: 2Gi}
  platform:backup: {bucket: "s3://backups/platform", endpoint: "https://objects.example.com", network: 192.0.2.0/24}
  platform:stream: {memory: 128Mi, volumeSize: 1Gi}
  platform:monitoring: {retention: 35d, memory: 384Mi, volumeSize: 2Gi, grafana: false, replicas: 1,
    prometheusUrl: "https://prometheus.example.com", alertmanagerUrl: "https://alertmanager.example.com", runbooks: "https://example.com/runbooks"}
`

// forge is the part of GitHub's API that the workflows use: the comments of one pull request, and releases.
type forge struct {
	mutex    sync.Mutex
	comments []string
	releases map[string]string // notes by tag
	files    []string          // attached to releases
}

func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var sent struct {
		Body string `json:"body"`
		Tag  string `json:"tag_name"`
	}
	content, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(content, &sent)
	w.Header().Set("Content-Type", "application/json")
	const comments, one = "/repos/shop/platform/issues/7/comments", "/comment/0"
	switch path := r.Method + " " + r.URL.Path; {
	case r.Header.Get("Authorization") != "Bearer job-token":
		w.WriteHeader(http.StatusUnauthorized)
	case path == "GET "+comments:
		listed := []map[string]string{}
		for i, body := range f.comments {
			listed = append(listed, map[string]string{"url": fmt.Sprintf("http://127.0.0.1:8080/comment/%d", i), "body": body})
		}
		_ = json.NewEncoder(w).Encode(listed)
	case path == "POST "+comments:
		f.comments = append(f.comments, sent.Body)
	case path == "PATCH "+one:
		f.comments[0] = sent.Body
	case path == "POST /repos/shop/platform/releases":
		f.releases[sent.Tag] = sent.Body
		_ = json.NewEncoder(w).Encode(map[string]string{"upload_url": "http://127.0.0.1:8080/assets{?name,label}"})
	case path == "POST /assets":
		f.files = append(f.files, r.URL.Query().Get("name"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// pipeline runs the workflows of a clone on the machine of staging, which reaches the API servers and the edges of both clusters.
type pipeline struct {
	*machine
	clone       variant.Copy
	environment string
	forge       *forge
}

// newPipeline starts two empty clusters, and creates a repository with a stack for each.
func newPipeline(t *testing.T) (*pipeline, *machine) {
	t.Helper()
	if cache, err := os.UserCacheDir(); err == nil { // the runner leaves copies of the repository
		if _, err := os.Stat(filepath.Join(cache, "act")); err != nil {
			t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(cache, "act")) })
		}
	}
	clone, environment := sources(t)
	for stack, port := range map[string]int{"staging": 30080, "production": 30081} {
		content := fmt.Sprintf(delivered, stack, port, port+363)
		if stack == "staging" {
			content += "  platform:registry: 127.0.0.1:5001/platform\n"
		} else {
			content += "  platform:namespacePrefix: " + prefix + "\n"
		}
		if err := clone.Write("Pulumi."+stack+".yaml", content); err != nil {
			t.Fatal(err)
		}
	}
	staging, production := newMachine(t, "staging", string(clone)), newMachine(t, "production", string(clone))
	staging.node()
	production.node()
	state := filepath.Join(string(clone), "state")
	bridge := func(from, to *machine, listen, target string) {
		socket := filepath.Join(state, listen+".sock")
		to.begin("exec socat UNIX-LISTEN:" + socket + ",fork TCP:" + target)
		from.begin("exec socat TCP-LISTEN:" + listen + ",bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:" + socket)
	}
	api := strings.TrimSpace(production.run(environment + `kubectl config view --output "jsonpath={.clusters[0].cluster.server}"`))
	bridge(staging, production, "7443", strings.TrimPrefix(api, "https://"))
	bridge(staging, production, "30444", "127.0.0.1:30444")
	bridge(production, staging, "5001", "127.0.0.1:5100")
	staging.begin("exec socat TCP-LISTEN:5001,bind=127.0.0.1,fork,reuseaddr TCP:127.0.0.1:5100")
	p := &pipeline{staging, clone, environment, &forge{releases: map[string]string{}}}
	listener, err := net.Listen("unix", filepath.Join(state, "forge.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.forge, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	staging.begin("exec socat TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:" + filepath.Join(state, "forge.sock"))

	p.run(environment + `
		kubectl config view --raw >state/kubeconfig.staging
		kubectl config --kubeconfig state/kubeconfig.staging rename-context "$(kubectl config current-context)" platform-staging
	`)
	production.run(environment + `
		kubectl config view --raw | sed 's#server: .*#server: https://127.0.0.1:7443#; s/: platform-local$/: other/; s/\(name\|cluster\|user\): \(\S*\)$/\1: production-\2/' >state/kubeconfig.production
		kubectl config --kubeconfig state/kubeconfig.production rename-context "$(kubectl config --kubeconfig state/kubeconfig.production view --output 'jsonpath={.contexts[0].name}')" platform-production
	`)
	p.run(environment + `
		KUBECONFIG=state/kubeconfig.staging:state/kubeconfig.production kubectl config view --flatten >state/kubeconfig
		kubectl --kubeconfig state/kubeconfig --context platform-production get namespaces
		mkdir state/checkout
		cat >state/checkout/action.yml <<'EOF'
name: checkout
description: the runner has copied the commit
inputs: {persist-credentials: {}, fetch-depth: {}}
runs: {using: composite, steps: [{shell: bash, run: git rev-parse HEAD}]}
EOF
		sed 's/checkout/cache/; s/inputs: .*/inputs: {path: {}, key: {}}/' state/checkout/action.yml >state/cache.yml
		mkdir state/cache && mv state/cache.yml state/cache/action.yml
		mkdir state/upload state/download
		cat >state/upload/action.yml <<EOF
name: upload
description: keep the files beside the repository
inputs: {name: {}, path: {}}
runs: {using: composite, steps: [{shell: bash, env: {FILES: "\${{ inputs.path }}"}, run: rm -rf $PWD/state/artifact && cp -r "\$FILES" $PWD/state/artifact}]}
EOF
		sed "s#run: .*#run: mkdir -p \"\$FILES\" \&\& cp -r $PWD/state/artifact/. \"\$FILES\"}]}#; s/upload/download/" state/upload/action.yml >state/download/action.yml
		for action in checkout cache upload download; do git -C state/$action init --quiet && git -C state/$action add . && git -C state/$action -c user.name=t -c user.email=t@example.com commit --quiet --message action; done
		git init --quiet --initial-branch main && printf '/state\n' >>.git/info/exclude
		git config user.name t && git config user.email t@example.com
		git remote add origin https://github.com/shop/platform
		for stack in staging production; do pulumi stack select --create $stack; make secrets STACK=$stack; done
		` + receivers + `
	`)
	for stack, namespace := range map[string]string{"staging": "edge", "production": prefix + "edge"} {
		p.begin(environment + `until kubectl --kubeconfig state/kubeconfig --context platform-` + stack + ` create secret tls edge --namespace=` + namespace +
			` --cert=state/edge.crt --key=state/edge.key; do sleep 1; done >/dev/null 2>&1`)
	}
	return p, production
}

// commit commits all changes of the clone, and returns the hash.
func (p *pipeline) commit(message string) string {
	p.t.Helper()
	return strings.TrimSpace(p.run("git add --all && git commit --quiet --message '" + message + "' && git rev-parse HEAD"))
}

// act is the command that runs a workflow for an event, as the runner of GitHub would.
func (p *pipeline) act(event, workflow string, payload map[string]any, args ...string) string {
	p.t.Helper()
	content, err := json.Marshal(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	file := fmt.Sprintf("state/event-%d.json", time.Now().UnixNano())
	if err := p.clone.Write(file, string(content)); err != nil {
		p.t.Fatal(err)
	}
	return p.environment + fmt.Sprintf(`
		passphrase=$(cat "$PULUMI_CONFIG_PASSPHRASE_FILE") backend=$PULUMI_BACKEND_URL
		unset PULUMI_CONFIG_PASSPHRASE_FILE PULUMI_BACKEND_URL KUBECONFIG
		export PULUMI_CONFIG_PASSPHRASE="$passphrase" KUBE_CONFIG="$(cat state/kubeconfig)" GITHUB_TOKEN=job-token SSL_CERT_FILE=$PWD/state/edge.crt
		export GOTOOLCHAIN=auto GOFLAGS=-trimpath # each job has a folder of its own: compiled packages must not depend on it
		mkdir -p state/workflows && sed '/^    container: {/d' .github/workflows/%[2]s >state/workflows/%[2]s # the machine is as the container
		exec bin/act %[1]s --workflows state/workflows/%[2]s --eventpath %[3]s --platform ubuntu-24.04=-self-hosted --action-offline-mode \
			--no-cache-server --cache-server-addr 127.0.0.1 --artifact-server-addr 127.0.0.1 \
			--local-repository actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683=$PWD/state/checkout \
			--local-repository actions/cache@5a3ec84eff668545956fd18022155c47e93e2684=$PWD/state/cache \
			--local-repository actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02=$PWD/state/upload \
			--local-repository actions/download-artifact@d3f86a106a0bac45b974a628896c90dbdf5c8093=$PWD/state/download \
			--secret PULUMI_CONFIG_PASSPHRASE --secret KUBE_CONFIG --secret GITHUB_TOKEN \
			--var PULUMI_BACKEND_URL=$backend --var WATCH=35s --env GITHUB_API_URL=http://127.0.0.1:8080 --env IN=local \
			--env GIT_CONFIG_GLOBAL=$PWD/state/gitconfig %[4]s`,
		event, workflow, file, strings.Join(args, " "))
}

// merge is the command for a merge into main.
func (p *pipeline) merge() string {
	return p.act("push", "staging.yml", map[string]any{"ref": "refs/heads/main"})
}

// tag creates a tag of the commit, and returns the command for its workflow.
func (p *pipeline) tag(name, commit string) string {
	p.t.Helper()
	p.run("git tag " + name + " " + commit)
	return p.act("push", "production.yml", map[string]any{"ref": "refs/tags/" + name}, "--env", "GITHUB_REF_NAME="+name)
}

// pass runs a workflow that must succeed.
func (p *pipeline) pass(name, command string) string {
	p.t.Helper()
	began := time.Now()
	printed, err := p.tryFor(20*time.Minute, command)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, printed)
	}
	p.t.Logf("%s: passed in %.0f s", name, time.Since(began).Seconds())
	if strings.Contains(printed, "BEGIN PRIVATE KEY") || strings.Contains(printed, "client-key-data: L") {
		p.t.Errorf("%s: the log has a secret", name)
	}
	return printed
}

// fail runs a workflow that must fail and print the text.
func (p *pipeline) fail(name, command, want string) {
	p.t.Helper()
	if printed, err := p.tryFor(20*time.Minute, command); err == nil || !strings.Contains(printed, want) {
		p.t.Errorf("%s: %v, want %q\n%s", name, err, want, printed)
	}
}

// load starts a load on both clusters for 14 minutes at most. The returned function stops it, and fails the test if a request was lost.
func (p *pipeline) load(production *machine) (stop func()) {
	p.t.Helper()
	loads := map[string]func() string{
		"staging":    p.begin("trap : INT; bin/load -ca state/edge.crt -rate 20 -for 14m && echo all is there"),
		"production": production.begin("trap : INT; bin/load -url https://localhost:30444 -ca state/edge.crt -rate 20 -for 14m && echo all is there"),
	}
	return func() {
		p.t.Helper()
		for stack, stop := range loads {
			used := stop()
			lines := strings.Split(strings.TrimSpace(used), "\n")
			p.t.Logf("%s: %s", stack, strings.Join(lines[max(0, len(lines)-2):], "\n"))
			if !strings.HasSuffix(used, "all is there\n") {
				p.t.Errorf("%s: the load failed:\n%s", stack, used)
			}
		}
	}
}

// released returns the services of a stack.
func (p *pipeline) released(stack string) map[string]string {
	p.t.Helper()
	return running(p.t, p.machine, p.environment, stack)
}

// changed returns the services that differ.
func changed(before, after map[string]string) string {
	var names []string
	for name, version := range after {
		if before[name] != version {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func TestPipelineFromPullRequestToProduction(t *testing.T) {
	p, production := newPipeline(t)
	notes := ""
	for _, version := range []string{"0.1.0", "0.2.0-early", "0.2.0", "0.3.0-failed", "0.4.0", "0.5.0"} {
		notes += "## " + version + "\n\nThe notes of " + version + ".\n\n"
	}
	if err := p.clone.Write("CHANGELOG.md", notes); err != nil {
		t.Fatal(err)
	}
	first := p.commit("first version")
	p.fail("a tag without notes", p.tag("v0.0.1", first), `CHANGELOG.md has no section "## 0.0.1"`)
	p.pass("the first merge", p.merge())
	initial := p.released("staging")
	p.pass("the first tag", p.tag("v0.1.0", first))
	if found := p.released("production"); len(initial) < 4 || !maps.Equal(found, initial) {
		t.Fatalf("production runs %v\nand staging %v", found, initial)
	}

	if notes := strings.TrimSpace(p.forge.releases["v0.1.0"]); !strings.HasPrefix(notes, "The notes of 0.1.0.") {
		t.Errorf("the release has the notes %q", notes)
	}

	unloaded := p.load(production)
	p.run("git checkout --quiet -b change")
	if err := p.clone.Differ("order-service", "the second version"); err != nil {
		t.Fatal(err)
	}
	kit.Replace(t, string(p.clone), "infra/catalog/services.go", "CPURequest: 100, CPULimit: 1000, Memory: 192", "CPURequest: 200, CPULimit: 1000, Memory: 192")
	kit.Replace(t, string(p.clone), "infra/workload/environment.go", "shutdownDelay.String()", `"6s"`)
	p.commit("change order-service")
	pull := map[string]any{"number": 7, "pull_request": map[string]any{
		"number": 7, "base": map[string]any{"sha": first, "ref": "main"}, "head": map[string]any{"repo": map[string]any{"full_name": "shop/platform"}},
	}, "repository": map[string]any{"full_name": "shop/platform"}}
	for _, run := range []string{"the preview", "the preview after another push"} {
		p.pass(run, p.act("pull_request", "pull-request.yml", pull, "--job", "preview"))
	}
	if len(p.forge.comments) != 1 {
		t.Fatalf("the pull request has %d comments, want one that is updated", len(p.forge.comments))
	}
	for _, want := range []string{
		"### Preview of stack staging", "order-service is released: from", "changed sources: apps/order-service", "replace ConfigMap apps/user-service-blue", "CPU: ",
		"### Preview of stack production",
	} {
		if !strings.Contains(p.forge.comments[0], want) {
			t.Errorf("the comment lacks %q:\n%s", want, p.forge.comments[0])
		}
	}
	if strings.Contains(p.forge.comments[0], "user-service is released") {
		t.Errorf("the comment names a service that doesn't change:\n%s", p.forge.comments[0])
	}

	p.run("git checkout --quiet main")
	if err := p.clone.Differ("order-service", "the second version"); err != nil {
		t.Fatal(err)
	}
	second := p.commit("second version")
	p.fail("a tag that staging has not tested", p.tag("v0.2.0-early", second), "commit "+second+" has not passed its tests")
	p.pass("the second merge", p.merge())
	two := p.released("staging")
	if names := changed(initial, two); names != "order-service" {
		t.Errorf("the merge released %q, want order-service", names)
	}
	p.pass("the second tag", p.tag("v0.2.0", second))
	if found := p.released("production"); !maps.Equal(found, two) {
		t.Errorf("production runs %v\nand staging %v", found, two)
	}
	for _, figure := range []string{"| deployment time", "| last response of the former versions", "| lost requests | 0 of ", "| p95 response time"} {
		if notes := p.forge.releases["v0.2.0"]; !strings.Contains(notes, figure) {
			t.Errorf("the notes lack the figure %q:\n%s", figure, notes)
		}
	}
	files := strings.Join(p.forge.files, " ")
	for _, file := range []string{"-release.json", "-release.html", "order-service.cdx.json"} {
		if !strings.Contains(files, file) {
			t.Errorf("the releases have the files %s, want %s among them", files, file)
		}
	}
	unloaded()

	if err := p.clone.Write("local/file/broken_test.go", "package file\n\nimport \"testing\"\n\nfunc TestBroken(t *testing.T) { t.Fatal(\"two is not three\") }\n"); err != nil {
		t.Fatal(err)
	}
	p.commit("break a unit test")
	p.fail("a failing unit test", p.merge(), "two is not three")
	p.run("git rm --quiet --force local/file/broken_test.go")
	p.commit("fix the unit test")

	kit.Replace(t, string(p.clone), "apps/internal/etag/etag.go", `w.Header().Set("Etag", current)`, "")
	third := p.commit("lose a header")
	p.fail("a failing test from outside", p.merge(), "the response has no header Etag")
	if found := p.released("staging"); !maps.Equal(found, two) {
		t.Errorf("after the rollback, staging runs %v, want %v", found, two)
	}
	p.fail("a tag whose tests failed", p.tag("v0.3.0-failed", third), "has not passed its tests")
	p.run("git revert --no-edit HEAD >/dev/null")

	if err := p.clone.Differ("notification-service", "the fourth version"); err != nil {
		t.Fatal(err)
	}
	fourth := p.commit("fourth version")
	unloaded = p.load(production)
	cancelled := kit.Start(t, p.command(t.Context(), p.merge()))
	if err := cancelled.WaitFor(10*time.Minute, "notification-service: roll out"); err != nil {
		t.Fatal(err)
	}
	_ = cancelled.Stop(syscall.SIGINT, time.Minute)
	// Two runs at once: one releases, the other refuses.
	type outcome struct {
		printed string
		err     error
	}
	outcomes := make(chan outcome, 2)
	for range 2 {
		command := p.merge()
		go func() {
			printed, err := p.tryFor(20*time.Minute, command)
			outcomes <- outcome{printed, err}
		}()
	}
	one, other := <-outcomes, <-outcomes
	if one.err == nil {
		one, other = other, one
	}
	if other.err != nil || one.err == nil || !strings.Contains(one.printed, "holds the Lease of releases") {
		t.Fatalf("of two runs at once, one must pass and the other name the holder of the Lease: %v and %v\n%s\n%s", one.err, other.err, one.printed, other.printed)
	}
	p.pass("the tag after a cancelled merge", p.tag("v0.4.0", fourth))
	unloaded()
	four := p.released("staging")
	if found := p.released("production"); changed(two, four) != "notification-service" || !maps.Equal(found, four) {
		t.Errorf("production runs %v\nand staging %v", found, four)
	}

	if err := p.clone.Write("apps/user-service/internal/api/variant.go", "package api\n\nimport (\n\t\"net/http\"\n\t\"os\"\n\t\"strings\"\n\t\"time\"\n)\n\n"+
		"var began = time.Now()\n\nfunc harmed(next http.Handler) http.Handler {\n\treturn http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {\n"+
		"\t\tif strings.Contains(os.Getenv(\"POSTGRES_HOST\"), \""+prefix+"\") && time.Since(began) > 30*time.Second {\n\t\t\tw.WriteHeader(500)\n\t\t\treturn\n\t\t}\n"+
		"\t\tnext.ServeHTTP(w, r)\n\t})\n}\n"); err != nil {
		t.Fatal(err)
	}
	kit.Replace(t, string(p.clone), "apps/user-service/internal/api/api.go", `router.Get("/users/{id}",`, `router.With(harmed).Get("/users/{id}",`)
	fifth := p.commit("a version that turns bad in production")
	p.pass("the fifth merge", p.merge())
	stop := production.begin("trap : INT; bin/load -url https://localhost:30444 -ca state/edge.crt -rate 20 -for 10m")
	p.fail("a version that turns bad in production", p.tag("v0.5.0", fifth), "rolling back")
	stop()
	if found := p.released("production"); !maps.Equal(found, four) {
		t.Errorf("production runs %v, want %v", found, four)
	}
}
