package backingtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// accessRules returns the Redis ACL rules of each service for one kind of Redis, cache or stream. A service
// states them in the file testdata/<kind>.acl of its folder; the platform grants the same.
func accessRules(t testing.TB, kind string) map[string]string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	found := Must[[]string](t)(filepath.Glob(filepath.Join(filepath.Dir(here), "..", "..", "*", "testdata", kind+".acl")))
	rules := map[string]string{}
	for _, path := range found {
		raw := Must[[]byte](t)(os.ReadFile(path))
		service := filepath.Base(filepath.Dir(filepath.Dir(path)))
		rules[service] = strings.Join(strings.Fields(string(raw)), " ")
	}
	return rules
}

// aclFile returns the users of a Redis: the test, which has all permissions, and the services.
func aclFile(rules map[string]string) string {
	var users strings.Builder
	fmt.Fprintf(&users, "user default on >%s ~* &* +@all\n", redisPassword)
	for service, rules := range rules {
		fmt.Fprintf(&users, "user %s on >%s %s\n", service, passwordOf(service), rules)
	}
	return users.String()
}

func passwordOf(service string) string { return service + "-of-a-test" }
