package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gatewayVariable passes the gateway's address from TestMain to the tests.
const gatewayVariable = "E2E_GATEWAY_URL"

func TestMain(m *testing.M) {
	if err := enter(); err != nil {
		fmt.Fprintf(os.Stderr, "the platform is not up, run make up first: %v\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// enter gives this process the working folder and the environment of a shell in the repository's root after
// eval "$(make -s env)", and checks that the platform responds.
func enter() error {
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		return err
	}
	exports, err := attempt("make", "-s", "env")
	if err != nil {
		return err
	}
	if err := export(exports); err != nil {
		return err
	}
	if _, err := attempt("kubectl", "get", "--raw", "/readyz", "--request-timeout=10s"); err != nil {
		return err
	}
	url, err := attempt("pulumi", "stack", "output", "url", "--stack", "local")
	if err != nil {
		return err
	}
	if err := os.Setenv(gatewayVariable, strings.TrimSpace(url)); err != nil {
		return err
	}
	return within(time.Minute, func() error {
		_, err := gateway().expect(http.MethodGet, "/health", "", nil, http.StatusOK)
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
