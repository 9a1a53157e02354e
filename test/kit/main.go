// Package kit is what the tests of the platform share: commands, waiting, clients of the API, queries of Prometheus, and the
// platform's processes and objects. The tests run in the root of the repository: each package calls Main or MainAsRoot.
package kit

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// gatewayVariable passes the gateway's address from Main to the tests.
const gatewayVariable = "E2E_GATEWAY_URL"

// Main runs the tests of a package in the repository's root, with the environment that make env prints. It exits if the platform
// doesn't respond.
func Main(m *testing.M) {
	leaveGo()
	flag.Parse()
	if flag.Lookup("test.list").Value.String() == "" { // a list of the tests needs no platform
		if err := enter(); err != nil {
			exit(fmt.Errorf("the platform is not up, run make up first: %w", err))
		}
	}
	os.Exit(m.Run())
}

// MainAsRoot runs the tests of a package in the repository's root, without a platform. It exits with the reason unless the user is
// root.
func MainAsRoot(m *testing.M, reason string) {
	leaveGo()
	if os.Geteuid() != 0 {
		exit(errors.New("not root: " + reason))
	}
	if err := os.Chdir(root); err != nil {
		exit(err)
	}
	os.Exit(m.Run())
}

// leaveGo removes what go test adds to the environment: the release of Go of this module. Otherwise make up would compile all tools again,
// since another release compiled them.
func leaveGo() {
	folders := slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(folder string) bool {
		return strings.Contains(folder, "/golang.org/toolchain@")
	})
	_ = errors.Join(os.Unsetenv("GOROOT"), os.Setenv("PATH", strings.Join(folders, string(os.PathListSeparator)))) // valid names
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// root is the repository's root, seen from the folder of a package.
var root = filepath.Join("..", "..")

// enter gives this process the working directory and the environment of a shell in the repository's root after
// eval "$(make -s env)", and checks that the platform responds.
func enter() error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	exports, err := Run("make", "-s", "env")
	if err != nil {
		return err
	}
	if err := export(exports); err != nil {
		return err
	}
	if _, err := Run("kubectl", "get", "--raw", "/readyz", "--request-timeout=10s"); err != nil {
		return err
	}
	url, err := Run("pulumi", "stack", "output", "url", "--stack", "local")
	if err != nil {
		return err
	}
	if err := os.Setenv(gatewayVariable, strings.TrimSpace(url)); err != nil {
		return err
	}
	return Within(time.Minute, func() error {
		_, err := Gateway().Expect(http.MethodGet, "/health", "", nil, http.StatusOK)
		return err
	})
}

// export sets the variables of lines such as
//
//	export NAME='value'
//	export PATH='folder':"$PATH"
func export(lines string) error {
	for line := range strings.Lines(lines) {
		assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		name, value, assigns := strings.Cut(assignment, "=")
		if !ok || !assigns {
			return fmt.Errorf("make -s env prints %q, want export NAME='value'", line)
		}
		value = strings.ReplaceAll(value, "'", "")
		value = strings.ReplaceAll(value, `"$PATH"`, os.Getenv("PATH"))
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
