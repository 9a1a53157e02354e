package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/build"
	imagetypes "github.com/docker/docker/api/types/image"
	registrytypes "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// make builds the image and pushes it if push is set. It returns <repository>@sha256:<digest> as in the registry, or the
// image's ID without a push. It calls report with the engine's progress.
func (i image) make(ctx context.Context, push bool, report func(string)) (repoDigest string, err error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	defer engine.Close()
	ping, err := engine.Ping(ctx)
	if err != nil {
		return "", fmt.Errorf("the Docker Engine at %s does not respond: %w; is it running? DOCKER_HOST sets its address", engine.DaemonHost(), err)
	}
	if err := i.runBuild(ctx, engine, ping.BuilderVersion, report); err != nil {
		return "", fmt.Errorf("build %s: %w", i.Name, err)
	}
	if push {
		if repoDigest, err = i.push(ctx, engine, report); err != nil {
			return "", fmt.Errorf("push %s: %w", i.Name, err)
		}
		return repoDigest, nil
	}
	built, err := engine.ImageInspect(ctx, i.Name)
	if err != nil {
		return "", fmt.Errorf("inspect %s: %w", i.Name, err)
	}
	return built.ID, nil
}

func (i image) runBuild(ctx context.Context, engine *client.Client, builder build.BuilderVersion, report func(string)) error {
	archive, writer := io.Pipe()
	go func() { writer.CloseWithError(i.Build.writeContext(writer)) }()
	defer archive.Close()
	response, err := engine.ImageBuild(ctx, archive, build.ImageBuildOptions{
		Tags: []string{i.Name}, Dockerfile: dockerfileInContext, BuildArgs: i.Build.Args, Platform: i.Build.Platform,
		Version: builder, Remove: true, ForceRemove: true,
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return follow(response.Body, report, nil)
}

// push pushes the image and returns its digest in the registry.
func (i image) push(ctx context.Context, engine *client.Client, report func(string)) (string, error) {
	named, err := reference.ParseNormalizedNamed(i.Name)
	if err != nil {
		return "", err
	}
	auth, err := registryAuth(named)
	if err != nil {
		return "", err
	}
	response, err := engine.ImagePush(ctx, i.Name, imagetypes.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", err
	}
	defer response.Close()
	var digest string
	err = follow(response, report, func(aux json.RawMessage) {
		var result struct{ Digest string }
		if json.Unmarshal(aux, &result) == nil && result.Digest != "" {
			digest = result.Digest
		}
	})
	if err != nil {
		return "", err
	}
	if digest == "" {
		return "", errors.New("the engine reported no digest")
	}
	return named.Name() + "@" + digest, nil
}

// registryAuth returns the X-Registry-Auth header with the account that `docker login` stored for the image's registry.
func registryAuth(named reference.Named) (string, error) {
	host, err := name.NewRegistry(reference.Domain(named))
	if err != nil {
		return "", err
	}
	var login *authn.AuthConfig
	stored, err := authn.DefaultKeychain.Resolve(host)
	if err == nil {
		login, err = stored.Authorization()
	}
	if err != nil {
		return "", fmt.Errorf("stored login for %s: %w", host, err)
	}
	return registrytypes.EncodeAuthConfig(registrytypes.AuthConfig{ServerAddress: host.Name(), Username: login.Username,
		Password: login.Password, Auth: login.Auth, IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken})
}

// follow reads the engine's messages to the end of the stream. It returns the error in them, if any, calls report with each build step, and aux with auxiliary data.
func follow(stream io.Reader, report func(string), aux func(json.RawMessage)) error {
	for decoder := json.NewDecoder(stream); ; {
		var message jsonmessage.JSONMessage
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's response: %w", err)
		}
		if message.Error != nil {
			return message.Error
		}
		// Of the classic builder's output, only the steps are interesting.
		if text := strings.TrimSpace(message.Stream); strings.HasPrefix(text, "Step ") {
			report(text)
		}
		// BuildKit sends its own progress as protocol buffers, with an ID.
		if message.Aux != nil && message.ID == "" && aux != nil {
			aux(*message.Aux)
		}
	}
}
