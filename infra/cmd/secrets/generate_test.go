package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/secret"
)

func find(t *testing.T, name string) catalog.Secret {
	t.Helper()
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		if secret.Name == name {
			return secret
		}
	}
	t.Fatalf("there is no secret %s", name)
	return catalog.Secret{}
}

// complete returns a value for each secret by name.
func complete(t *testing.T, now time.Time) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		value, err := rotate(secret, "", now)
		if err != nil {
			t.Fatal(err)
		}
		values[secret.Name] = value
	}
	return values
}

// stored returns these values as a configuration.
func stored(values map[string]string) map[string]Entry {
	entries := map[string]Entry{}
	for name, value := range values {
		entries["platform:"+name] = Entry{Value: value, Secret: true}
	}
	return entries
}

// parts returns the parts of a value.
func parts(t *testing.T, secret catalog.Secret, value string) []string {
	t.Helper()
	if secret.Kind != catalog.CertificateAuthority {
		return strings.Split(value, ",")
	}
	authorities, err := certificate.Authorities(value)
	if err != nil {
		t.Fatal(err)
	}
	return authorities
}

func TestGeneratedValuesAreValid(t *testing.T) {
	now := time.Now()
	values := complete(t, now)
	known := catalog.Secrets(catalog.Services(), true)
	if _, err := secret.Read("local", known, values); err != nil {
		t.Error("generated:", err)
	}
	for range 4 {
		for _, secret := range known {
			var err error
			if values[secret.Name], err = rotate(secret, values[secret.Name], now); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := secret.Read("local", known, values); err != nil {
			t.Error("rotated:", err)
		}
	}
}

// The value that a rotation uses was accepted before, except for passwords, whose two sides change at once. The value that was in use
// before is accepted afterwards.
func TestRotationsKeepTheActivePartValid(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name  string
		most  int // parts of a value, at most
		leaks int // rotations until the first active part is refused
		whole int // rotations until every part of the first value is refused
		cut   int // number of parts at the start; 0 keeps all
	}{
		{"userServiceDatabasePassword", 2, 2, 2, 0},
		{"jwtKeys", 3, 2, 3, 0},
		{"jwtKeys", 3, 3, 3, 1}, // as earlier versions generate it
		{catalog.Authority, 3, 2, 3, 0},
		{catalog.Authority, 3, 3, 3, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			known := find(t, test.name)
			value, err := rotate(known, "", now)
			if err != nil {
				t.Fatal(err)
			}
			if test.cut > 0 {
				value = parts(t, known, value)[0]
			}
			first := parts(t, known, value)
			leaks, whole := 0, 0
			for rotation := 1; rotation <= 5; rotation++ {
				former := parts(t, known, value)
				if value, err = rotate(known, value, now); err != nil {
					t.Fatal(err)
				}
				got := parts(t, known, value)
				if !slices.Contains(got, former[0]) {
					t.Errorf("rotation %d: the part that was active is refused", rotation)
				}
				if known.Kind != catalog.Password && !slices.Contains(former, got[0]) {
					t.Errorf("rotation %d: the active part was not announced", rotation)
				}
				if slices.Equal(got, former) || len(got) > test.most || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
					t.Errorf("rotation %d: %d parts, or a duplicate", rotation, len(got))
				}
				if leaks == 0 && !slices.Contains(got, first[0]) {
					leaks = rotation
				}
				if whole == 0 && !slices.ContainsFunc(got, func(one string) bool { return slices.Contains(first, one) }) {
					whole = rotation
				}
			}
			if leaks != test.leaks || whole != test.whole {
				t.Errorf("the first active part is refused after %d rotations, all parts after %d; want %d and %d", leaks, whole, test.leaks, test.whole)
			}
		})
	}
}

// After at most three rotations only Ed25519 keys are left, and each value is valid.
func TestRotationsReplaceOldKeysByEd25519(t *testing.T) {
	known, now := find(t, "jwtKeys"), time.Now()
	value := "a:" + password() + ",b:" + password()
	for _, want := range []string{"FnF", "nnF", "nnn"} { // F: an HS256 key, n: an Ed25519 key
		var err error
		if value, err = rotate(known, value, now); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, part := range parts(t, known, value) {
			if _, key, _ := strings.Cut(part, ":"); strings.HasPrefix(key, catalog.Ed25519Seed) {
				got.WriteByte('n')
			} else {
				got.WriteByte('F')
			}
		}
		if _, err := secret.Read("local", []catalog.Secret{known}, map[string]string{"jwtKeys": value}); err != nil || got.String() != want {
			t.Errorf("rotated to %s, %v; want %s", got.String(), err, want)
		}
	}
	if made := signingKey(catalog.SigningKeys); strings.Contains(made, catalog.Ed25519Seed) {
		t.Error("the form of signing keys has changed")
	}
}

func TestExpiredAuthorityIsNotUsed(t *testing.T) {
	long, now := time.Now().Add(-11*365*24*time.Hour), time.Now()
	known := find(t, catalog.Authority)
	old, err := certificate.NewAuthority(long)
	if err != nil {
		t.Fatal(err)
	}
	young, err := certificate.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rotate(known, old+old, now)
	if authorities := parts(t, known, got); err != nil || len(authorities) != 2 || strings.Contains(got, old) {
		t.Errorf("both expired: %d authorities, %v", len(authorities), err)
	}
	got, err = rotate(known, old+young, now)
	if authorities := parts(t, known, got); err != nil || len(authorities) != 2 || authorities[0] != young {
		t.Errorf("one expired: %d authorities, %v", len(authorities), err)
	}
}
