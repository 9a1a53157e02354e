package main

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const urn = "urn:pulumi:local::platform::docker:index/image:Image::api-gateway"

func encoded(t *testing.T, m resource.PropertyMap) *structpb.Struct {
	t.Helper()
	s, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func decoded(t *testing.T, s *structpb.Struct) resource.PropertyMap {
	t.Helper()
	m, err := decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func check(t *testing.T, inputs resource.PropertyMap) *pulumirpc.CheckResponse {
	t.Helper()
	response, err := (&server{}).Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn, News: encoded(t, inputs)})
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestCheckAddsTheDigestOfTheContext(t *testing.T) {
	b := sources(t)
	inputs := properties(map[string]any{"imageName": "r/a:1", "build": map[string]any{"context": b.Context, "args": map[string]any{"A": "1"}}})
	response := check(t, inputs)
	if len(response.GetFailures()) > 0 {
		t.Fatal(response.GetFailures())
	}
	checked := decoded(t, response.GetInputs())
	build := checked["build"].ObjectValue()
	if build["contextDigest"].StringValue() != digest(t, b) || build["dockerfile"].StringValue() != b.Dockerfile || build["args"].ObjectValue()["A"].StringValue() != "1" {
		t.Errorf("build %v", build)
	}
	if _, isSet := checked["buildOnPreview"]; isSet {
		t.Error("Check sets buildOnPreview, which must default to unset")
	}
	again := decoded(t, check(t, inputs).GetInputs())
	if checked.Diff(again) != nil {
		t.Errorf("a second check: %v, was %v", again, checked)
	}
	writeFile(t, filepath.Join(b.Context, "main.go"), "package other\n")
	if changed := decoded(t, check(t, inputs).GetInputs()); changed["build"].ObjectValue()["contextDigest"].StringValue() == build["contextDigest"].StringValue() {
		t.Error("a changed file doesn't change the inputs")
	}
}

func TestCheckReportsErrorsAsFailures(t *testing.T) {
	for want, inputs := range map[string]map[string]any{
		"inputs: ":        {"imageName": "r/a:1", "registry": map[string]any{"server": "r"}},
		"build.context: ": {"imageName": "r/a:1", "build": map[string]any{"context": "/no/such/folder"}},
		"imageName: ":     {"build": map[string]any{"context": t.TempDir()}},
	} {
		failures := check(t, properties(inputs)).GetFailures()
		if len(failures) != 1 || !strings.HasPrefix(failures[0].GetReason(), want) {
			t.Errorf("%v, want %s...", failures, want)
		}
	}
}

// With unknown inputs, Check can't validate and must not read files.
func TestCheckAcceptsUnknownInputs(t *testing.T) {
	inputs := properties(map[string]any{"build": map[string]any{"context": "/no/such/folder"}})
	inputs["imageName"] = unknown()
	response := check(t, inputs)
	if len(response.GetFailures()) > 0 {
		t.Fatal(response.GetFailures())
	}
	checked := decoded(t, response.GetInputs())
	if _, hasDigest := checked["build"].ObjectValue()["contextDigest"]; hasDigest || !checked["imageName"].IsComputed() {
		t.Errorf("inputs %v", checked)
	}
}

func TestOtherResourceTypesAreRefused(t *testing.T) {
	const other = "urn:pulumi:local::platform::docker:index/container:Container::c"
	s := &server{}
	_, checked := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: other})
	_, created := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: other})
	_, updated := s.Update(t.Context(), &pulumirpc.UpdateRequest{Urn: other})
	for name, err := range map[string]error{"Check": checked, "Create": created, "Update": updated} {
		if err == nil || !strings.Contains(err.Error(), "resource type docker:index/container:Container: this plugin supports only "+imageType) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: "docker:index/getNetwork:getNetwork"}); status.Code(err) != codes.Unimplemented {
		t.Errorf("Invoke: %v", err)
	}
}

func TestDiff(t *testing.T) {
	base := func() map[string]any {
		return map[string]any{
			"imageName": "r/a:1", "build": map[string]any{"context": "c", "contextDigest": "d1"},
		}
	}
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		kinds  map[string]pulumirpc.PropertyDiff_Kind
	}{
		{"nothing", func(map[string]any) {}, nil},
		{"the build is removed", func(m map[string]any) { delete(m, "build") }, map[string]pulumirpc.PropertyDiff_Kind{"build": pulumirpc.PropertyDiff_DELETE}},
		{"a file", func(m map[string]any) { m["build"].(map[string]any)["contextDigest"] = "d2" }, map[string]pulumirpc.PropertyDiff_Kind{"build": pulumirpc.PropertyDiff_UPDATE}},
		{"the name", func(m map[string]any) { m["imageName"] = "r/a:2" }, map[string]pulumirpc.PropertyDiff_Kind{"imageName": pulumirpc.PropertyDiff_UPDATE}},
		{"an input is added", func(m map[string]any) { m["skipPush"] = true }, map[string]pulumirpc.PropertyDiff_Kind{"skipPush": pulumirpc.PropertyDiff_ADD}},
	} {
		t.Run(c.name, func(t *testing.T) {
			news := base()
			c.change(news)
			olds := properties(map[string]any{"imageName": "r/a:1", "repoDigest": "r/a@sha256:1", stateInputs: base()})
			response, err := (&server{}).Diff(t.Context(), &pulumirpc.DiffRequest{Urn: urn, Olds: encoded(t, olds), News: encoded(t, properties(news))})
			if err != nil {
				t.Fatal(err)
			}
			want := pulumirpc.DiffResponse_DIFF_NONE
			if len(c.kinds) > 0 {
				want = pulumirpc.DiffResponse_DIFF_SOME
			}
			kinds := map[string]pulumirpc.PropertyDiff_Kind{}
			for key, diff := range response.GetDetailedDiff() {
				kinds[key] = diff.GetKind()
			}
			if response.GetChanges() != want || !maps.Equal(kinds, c.kinds) || len(response.GetDiffs()) != len(c.kinds) || len(response.GetReplaces()) > 0 {
				t.Errorf("%v %v %v, want %v %v", response.GetChanges(), kinds, response.GetDiffs(), want, c.kinds)
			}
			for _, key := range response.GetDiffs() {
				if _, ok := c.kinds[key]; !ok {
					t.Errorf("%s differs", key)
				}
			}
		})
	}
}
