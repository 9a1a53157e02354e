package main

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// imageType is the only supported resource type.
const imageType = "docker:index/image:Image"

// stateInputs is the key of the inputs in the state.
const stateInputs = "__inputs"

// server implements Pulumi's provider protocol.
type server struct {
	pulumirpc.UnimplementedResourceProviderServer
	host *provider.HostClient
}

func (s *server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

func (s *server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true}, nil
}

// Check sets the defaults and adds a hash of the build context, so that a changed file is a changed input.
func (s *server) Check(_ context.Context, request *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	if err := supported(request.GetUrn()); err != nil {
		return nil, err
	}
	inputs, err := decode(request.GetNews())
	if err != nil {
		return nil, err
	}
	parsed, known, err := parse(inputs)
	if err == nil && known {
		err = parsed.check()
	}
	var digest string
	if err == nil && known {
		digest, err = parsed.Build.digest()
	}
	if err != nil {
		return &pulumirpc.CheckResponse{Failures: []*pulumirpc.CheckFailure{{Reason: err.Error()}}}, nil //nolint:nilerr // it holds the error
	}
	if known {
		build := resource.PropertyMap{}
		if value := inputs["build"]; value.IsObject() {
			build = value.ObjectValue()
		}
		build["context"] = resource.NewProperty(parsed.Build.Context)
		build["dockerfile"] = resource.NewProperty(parsed.Build.Dockerfile)
		build["platform"] = resource.NewProperty(parsed.Build.Platform)
		build["contextDigest"] = resource.NewProperty(digest)
		inputs["build"] = resource.NewProperty(build)
	}
	encoded, err := encode(inputs)
	return &pulumirpc.CheckResponse{Inputs: encoded}, err
}

// Diff compares the inputs with those in the state.
func (s *server) Diff(_ context.Context, request *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	state, err := decode(request.GetOlds())
	if err != nil {
		return nil, err
	}
	news, err := decode(request.GetNews())
	if err != nil {
		return nil, err
	}
	olds := resource.PropertyMap{}
	if value := state[stateInputs]; value.IsObject() {
		olds = value.ObjectValue()
	}
	response := &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true, DetailedDiff: map[string]*pulumirpc.PropertyDiff{}}
	changes := olds.Diff(news)
	if changes == nil {
		return response, nil
	}
	for _, key := range changes.ChangedKeys() {
		response.Changes = pulumirpc.DiffResponse_DIFF_SOME
		response.Diffs = append(response.Diffs, string(key))
		kind := pulumirpc.PropertyDiff_UPDATE
		if changes.Added(key) {
			kind = pulumirpc.PropertyDiff_ADD
		} else if changes.Deleted(key) {
			kind = pulumirpc.PropertyDiff_DELETE
		}
		response.DetailedDiff[string(key)] = &pulumirpc.PropertyDiff{Kind: kind, InputDiff: true}
	}
	return response, nil
}

func (s *server) Create(ctx context.Context, request *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	id, properties, err := s.apply(ctx, request.GetUrn(), request.GetProperties(), request.GetPreview())
	return &pulumirpc.CreateResponse{Id: id, Properties: properties}, err
}

func (s *server) Update(ctx context.Context, request *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	_, properties, err := s.apply(ctx, request.GetUrn(), request.GetNews(), request.GetPreview())
	return &pulumirpc.UpdateResponse{Properties: properties}, err
}

// apply builds the image, and pushes it except in a preview. In a preview it builds only with buildOnPreview.
func (s *server) apply(ctx context.Context, urn string, properties *structpb.Struct, preview bool) (string, *structpb.Struct, error) {
	if err := supported(urn); err != nil {
		return "", nil, err
	}
	inputs, err := decode(properties)
	if err != nil {
		return "", nil, err
	}
	parsed, known, err := parse(inputs)
	if err != nil {
		return "", nil, err
	}
	if preview && (!known || !parsed.BuildOnPreview) {
		return "", properties, nil
	}
	report := func(text string) { _ = s.host.LogStatus(ctx, diag.Info, resource.URN(urn), text) }
	repoDigest, err := parsed.make(ctx, !preview && !parsed.SkipPush, report)
	if err != nil {
		return "", nil, err
	}
	encoded, err := encode(resource.PropertyMap{
		stateInputs:      resource.NewProperty(inputs),
		"baseImageName":  resource.NewProperty(parsed.Name),
		"imageName":      resource.NewProperty(parsed.Name),
		"context":        resource.NewProperty(parsed.Build.Context),
		"dockerfile":     resource.NewProperty(parsed.Build.Dockerfile),
		"platform":       resource.NewProperty(parsed.Build.Platform),
		"registryServer": resource.NewProperty(""),
		"repoDigest":     resource.NewProperty(repoDigest),
	})
	return parsed.Name, encoded, err
}

// Read returns the state unchanged: the state identifies an image in a registry by its digest alone.
func (s *server) Read(_ context.Context, request *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	return &pulumirpc.ReadResponse{Id: request.GetId(), Properties: request.GetProperties(), Inputs: request.GetInputs()}, nil
}

// Delete keeps the image, because others may run it by its digest.
func (s *server) Delete(context.Context, *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func supported(urn string) error {
	if kind := string(resource.URN(urn).Type()); kind != imageType {
		return fmt.Errorf("resource type %s: this plugin supports only %s; install the real docker plugin for others", kind, imageType)
	}
	return nil
}

var marshal = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, SkipNulls: true, RejectAssets: true}

func decode(properties *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(properties, marshal)
}

func encode(properties resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(properties, marshal)
}
