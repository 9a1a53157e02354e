package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// dockerfileInContext is the name that the Dockerfile has in the archive, wherever
// it lies on disk; nothing of the context is called so.
const dockerfileInContext = ".platform.Dockerfile"

// writeContext writes the archive that the engine builds from: the context's files
// that .dockerignore lets through, and the Dockerfile. Owners and times are left
// out, so that the same content is always the same archive.
func (b buildInputs) writeContext(out io.Writer) error {
	ignored, err := b.ignored()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	err = filepath.WalkDir(b.context, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.context, path)
		if err != nil || name == "." {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(filepath.ToSlash(name))
		if err != nil {
			return err
		}
		if skip {
			if entry.IsDir() && !ignored.Exclusions() {
				return filepath.SkipDir
			}
			return nil
		}
		return addFile(archive, path, filepath.ToSlash(name))
	})
	if err != nil {
		return fmt.Errorf("build context %s: %w", b.context, err)
	}
	if err := addFile(archive, b.dockerfile, dockerfileInContext); err != nil {
		return fmt.Errorf("build dockerfile %s: %w", b.dockerfile, err)
	}
	return archive.Close()
}

// ignored reads <Dockerfile>.dockerignore, or else the context's .dockerignore.
func (b buildInputs) ignored() (*patternmatcher.PatternMatcher, error) {
	for _, path := range []string{b.dockerfile + ".dockerignore", filepath.Join(b.context, ".dockerignore")} {
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return patternmatcher.New(patterns)
	}
	return patternmatcher.New(nil)
}

func addFile(archive *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&os.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	full, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: full.Typeflag, Name: name, Linkname: full.Linkname, Size: full.Size, Mode: full.Mode}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(archive, file)
	return err
}

// digest is a hash over the archive: when it changes, the image is built again.
func (b buildInputs) digest() (string, error) {
	hash := sha256.New()
	buffered := bufio.NewWriterSize(hash, 1<<20)
	if err := b.writeContext(buffered); err != nil {
		return "", err
	}
	if err := buffered.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
