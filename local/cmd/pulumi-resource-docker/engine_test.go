package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	registrytypes "github.com/docker/docker/api/types/registry"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	pushed  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	imageID = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// engine is a fake of the Docker Engine's API on a Unix socket, to which DOCKER_HOST points.
type engine struct {
	builder                 string // its preferred builder
	buildOutput, pushOutput string // streams of messages
	build, push             url.Values
	auth                    registrytypes.AuthConfig
	context                 map[string]string
	builds, pushes, asks    int
}

func (e *engine) serve(t *testing.T) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "engine") // the path of a socket is limited in length
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	t.Setenv("DOCKER_CONFIG", folder) // without logins
	for _, name := range []string{"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		t.Setenv(name, "")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		w.Header().Set("Builder-Version", e.builder)
	})
	mux.HandleFunc("POST /v1.47/build", func(w http.ResponseWriter, r *http.Request) {
		e.builds++
		e.build = r.URL.Query()
		e.context, _ = unpack(t, r.Body)
		_, _ = io.WriteString(w, e.buildOutput)
	})
	mux.HandleFunc("POST /v1.47/images/{name...}", func(w http.ResponseWriter, r *http.Request) {
		e.pushes++
		e.push = r.URL.Query()
		e.push.Set("name", strings.TrimSuffix(r.PathValue("name"), "/push"))
		header, err := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth"))
		if err == nil {
			err = json.Unmarshal(header, &e.auth)
		}
		if err != nil {
			t.Errorf("X-Registry-Auth: %v", err)
		}
		_, _ = io.WriteString(w, e.pushOutput)
	})
	mux.HandleFunc("GET /v1.47/images/{name...}", func(w http.ResponseWriter, _ *http.Request) {
		e.asks++
		_ = json.NewEncoder(w).Encode(map[string]string{"Id": imageID})
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// wellEngine returns an engine that builds and pushes every image.
func wellEngine() *engine {
	return &engine{
		builder:     "2",
		buildOutput: `{"stream":"Step 1/2 : FROM scratch\n"}{"stream":" ---> Running in 0123\n"}{"id":"moby.buildkit.trace","aux":"bm90IEpTT04="}{"aux":{"ID":"` + imageID + `"}}`,
		pushOutput:  `{"status":"The push refers to repository [r]"}{"status":"1: digest: ` + pushed + ` size: 528"}{"progressDetail":{},"aux":{"Tag":"1","Digest":"` + pushed + `","Size":528}}`,
	}
}

// pulumiEngine is a fake of Pulumi's engine that records log messages.
type pulumiEngine struct {
	pulumirpc.UnimplementedEngineServer
	mu   sync.Mutex
	logs []string
}

func (p *pulumiEngine) Log(_ context.Context, request *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logs = append(p.logs, fmt.Sprintf("%s %s", request.GetUrn(), request.GetMessage()))
	return &emptypb.Empty{}, nil
}

// attached returns the plugin, attached to a Pulumi engine.
func attached(t *testing.T) (*server, *pulumiEngine) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := &pulumiEngine{}
	rpc := grpc.NewServer()
	pulumirpc.RegisterEngineServer(rpc, host)
	go func() { _ = rpc.Serve(listener) }()
	t.Cleanup(rpc.Stop)
	s := &server{}
	if s.host, err = provider.NewHostClient(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.host.Close() })
	return s, host
}

// inputs returns the inputs of an image that can be built.
func inputs(t *testing.T, more map[string]any) resource.PropertyMap {
	t.Helper()
	all := map[string]any{"imageName": "registry.example:5000/platform/a:1", "build": map[string]any{"context": sources(t).Context}}
	maps.Copy(all, more)
	return properties(all)
}

func create(t *testing.T, s *server, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	t.Helper()
	response, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn, Properties: encoded(t, inputs), Preview: preview})
	if err != nil {
		return nil, err
	}
	return decoded(t, response.GetProperties()), nil
}

func TestBuildAndPush(t *testing.T) {
	e := wellEngine()
	e.serve(t)
	s, host := attached(t)
	context := sources(t).Context
	imageInputs := inputs(t, map[string]any{
		"build": map[string]any{
			"context": context, "platform": "linux/amd64", "args": map[string]any{"SERVICE": "a"},
		},
	})
	response, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn, Properties: encoded(t, imageInputs)})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"t": "registry.example:5000/platform/a:1", "dockerfile": dockerfileInContext, "platform": "linux/amd64",
		"buildargs": `{"SERVICE":"a"}`, "version": "2", "forcerm": "1",
	} {
		if got := e.build.Get(key); got != want {
			t.Errorf("build?%s=%s, want %s", key, got, want)
		}
	}
	if e.context["main.go"] != "package main\n" || e.context[dockerfileInContext] != "FROM scratch\n" {
		t.Errorf("the engine got %v", slices.Sorted(maps.Keys(e.context)))
	}
	if e.push.Get("name") != "registry.example:5000/platform/a" || e.push.Get("tag") != "1" {
		t.Errorf("pushed %v", e.push)
	}
	outputs := decoded(t, response.GetProperties())
	for key, want := range map[resource.PropertyKey]string{
		"repoDigest": "registry.example:5000/platform/a@" + pushed, "imageName": "registry.example:5000/platform/a:1",
		"baseImageName": "registry.example:5000/platform/a:1", "context": context, "dockerfile": filepath.Join(context, "Dockerfile"),
		"platform": "linux/amd64", "registryServer": "",
	} {
		if got := outputs[key]; !got.IsString() || got.StringValue() != want {
			t.Errorf("output %s is %v, want %s", key, got, want)
		}
	}
	if response.GetId() != "registry.example:5000/platform/a:1" || outputs[stateInputs].ObjectValue().Diff(imageInputs) != nil {
		t.Errorf("id %s; the state's inputs are %v", response.GetId(), outputs[stateInputs])
	}
	if want := urn + " Step 1/2 : FROM scratch"; len(host.logs) != 1 || host.logs[0] != want {
		t.Errorf("the log is %q, want %q", host.logs, want)
	}
}

func TestBuildUsesTheEnginesPreferredBuilder(t *testing.T) {
	for _, preferred := range []string{"1", "2"} {
		e := wellEngine()
		e.builder = preferred
		e.serve(t)
		s, _ := attached(t)
		if _, err := create(t, s, inputs(t, nil), false); err != nil || e.build.Get("version") != preferred {
			t.Errorf("builder %s, want %s: %v", e.build.Get("version"), preferred, err)
		}
	}
}

func TestEngineErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*engine)
		want   string
		pushes int
	}{
		{"a step fails", func(e *engine) {
			e.buildOutput = `{"stream":"Step 1/2 : RUN false\n"}{"errorDetail":{"code":1,"message":"The command 'false' returned a non-zero code: 1"},"error":"The command 'false' returned a non-zero code: 1"}`
		}, "build registry.example:5000/platform/a:1: The command 'false' returned a non-zero code: 1", 0},
		{"the build's response is truncated", func(e *engine) { e.buildOutput = `{"stream":"Step 1/2` },
			"build registry.example:5000/platform/a:1: read the engine's response: ", 0},
		{"the registry refuses", func(e *engine) {
			e.pushOutput = `{"status":"Preparing"}{"errorDetail":{"message":"denied: requested access is denied"},"error":"denied: requested access is denied"}`
		}, "push registry.example:5000/platform/a:1: denied: requested access is denied", 1},
		{"the push ends without a digest", func(e *engine) { e.pushOutput = `{"status":"Pushed"}` },
			"push registry.example:5000/platform/a:1: the engine reported no digest", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := wellEngine()
			c.spoil(e)
			e.serve(t)
			s, _ := attached(t)
			_, err := create(t, s, inputs(t, nil), false)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || e.pushes != c.pushes {
				t.Errorf("%v after %d pushes, want %s", err, e.pushes, c.want)
			}
		})
	}
}

func TestUnreachableEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	_, err := create(t, &server{}, inputs(t, nil), false)
	if err == nil || !strings.Contains(err.Error(), "the Docker Engine at unix://"+socket+" does not respond") || !strings.Contains(err.Error(), "DOCKER_HOST sets its address") {
		t.Error(err)
	}
}

func TestPreviewsNeverPush(t *testing.T) {
	for _, c := range []struct {
		name         string
		more         map[string]any
		unknown      bool
		builds, asks int
	}{
		{"by default", nil, false, 0, 0},
		{"with buildOnPreview", map[string]any{"buildOnPreview": true}, false, 1, 1},
		{"with buildOnPreview and unknown inputs", map[string]any{"buildOnPreview": true}, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := wellEngine()
			e.serve(t)
			s, _ := attached(t)
			imageInputs := inputs(t, c.more)
			if c.unknown {
				imageInputs["build"].ObjectValue()["platform"] = unknown()
			}
			outputs, err := create(t, s, imageInputs, true)
			if err != nil || e.builds != c.builds || e.pushes != 0 || e.asks != c.asks {
				t.Errorf("%d builds, %d pushes, %v", e.builds, e.pushes, err)
			}
			if digest, found := outputs["repoDigest"]; c.builds == 0 && found {
				t.Errorf("repoDigest is %v without a build", digest)
			}
			if _, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Urn: urn, News: encoded(t, imageInputs), Preview: true}); err != nil || e.pushes != 0 {
				t.Errorf("the preview of an update: %d pushes, %v", e.pushes, err)
			}
		})
	}
}

func TestOutputWithoutAPushIsTheImageID(t *testing.T) {
	e := wellEngine()
	e.serve(t)
	s, _ := attached(t)
	outputs, err := create(t, s, inputs(t, map[string]any{"skipPush": true}), false)
	if err != nil || outputs["repoDigest"].StringValue() != imageID || e.builds != 1 || e.pushes != 0 {
		t.Errorf("%v after %d builds and %d pushes: %v", outputs["repoDigest"], e.builds, e.pushes, err)
	}
}

func TestUpdateBuildsAndPushesAgain(t *testing.T) {
	e := wellEngine()
	e.serve(t)
	s, _ := attached(t)
	response, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{Urn: urn, News: encoded(t, inputs(t, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if digest := decoded(t, response.GetProperties())["repoDigest"].StringValue(); digest != "registry.example:5000/platform/a@"+pushed || e.pushes != 1 {
		t.Errorf("%s after %d pushes", digest, e.pushes)
	}
}

func TestPushUsesTheStoredLogin(t *testing.T) {
	e := wellEngine()
	e.serve(t)
	s, _ := attached(t)
	logins := fmt.Sprintf(`{"auths":{"registry.example:5000":{"auth":%q}}}`, base64.StdEncoding.EncodeToString([]byte("stored:word")))
	writeFile(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), logins)
	if _, err := create(t, s, inputs(t, nil), false); err != nil || e.auth.Username != "stored" || e.auth.Password != "word" || e.auth.ServerAddress != "registry.example:5000" {
		t.Errorf("pushed as %+v: %v", e.auth, err)
	}
}
