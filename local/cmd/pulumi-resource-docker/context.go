package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// dockerfileInContext is the name of the Dockerfile in the archive, wherever it lies on disk. No file of the context has this name.
const dockerfileInContext = ".platform.Dockerfile"

// writeContext writes the archive that the engine builds from: the context's files and the Dockerfile. It omits
// owners and times, so that the same content always gives the same archive.
func (b buildInputs) writeContext(out io.Writer) error {
	archive := tar.NewWriter(out)
	err := filepath.WalkDir(b.Context, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.Context, path)
		if err != nil || name == "." {
			return err
		}
		return addFile(archive, path, filepath.ToSlash(name))
	})
	if err != nil {
		return fmt.Errorf("build context %s: %w", b.Context, err)
	}
	if err := addFile(archive, b.Dockerfile, dockerfileInContext); err != nil {
		return fmt.Errorf("build dockerfile %s: %w", b.Dockerfile, err)
	}
	return archive.Close()
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

// digest returns a hash of the archive. A changed digest rebuilds the image.
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
