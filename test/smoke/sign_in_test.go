package smoke

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"platform.example/test/kit"
)

// The commands that the last screen of make up suggests.
func TestDemoUserSignsIn(t *testing.T) {
	token := strings.TrimSpace(kit.Output(t, "make", "-s", "token"))
	email := strings.TrimSpace(kit.Output(t, "pulumi", "stack", "output", "demoEmail", "--stack", "local"))

	var last kit.Response
	for range 2 {
		last = kit.Gateway().MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
	}
	if cached := last.Header.Get("X-Cache"); cached != "hit" {
		t.Errorf("X-Cache of the second response is %q, want hit", cached)
	}
	me, err := kit.ParseJSON[kit.User](string(last.Body))
	if err != nil {
		t.Fatal(err)
	}
	if me.Email != email {
		t.Errorf("the demo user is %q, but the stack's output is %q", me.Email, email)
	}
}

func TestUserIsReadFromPostgresThenFromRedis(t *testing.T) {
	api := kit.Gateway()
	fresh := api.SignUp(t)
	token := api.MustSignIn(t, fresh)

	for _, want := range []string{"miss", "hit"} {
		response := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
		if cached := response.Header.Get("X-Cache"); cached != want {
			t.Errorf("X-Cache is %q, want %q", cached, want)
		}
		me, err := kit.ParseJSON[kit.User](string(response.Body))
		if err != nil {
			t.Fatal(err)
		}
		if me.ID != fresh.ID || me.Email != fresh.Email {
			t.Errorf("/api/users/me is %s (%s), want %s (%s)", me.ID, me.Email, fresh.ID, fresh.Email)
		}
		if strings.Contains(string(response.Body), "password") {
			t.Error("the response mentions a password")
		}
	}

	email, err := kit.EmailInPostgres(fresh.ID)
	if err != nil {
		t.Fatal(err)
	}
	if email != fresh.Email {
		t.Errorf("Postgres returns %q for the user, want %q", email, fresh.Email)
	}
	life, err := kit.Redis("deployment/redis-cache", "TTL", "user:"+fresh.ID)
	if err != nil {
		t.Fatal(err)
	}
	if seconds, err := strconv.Atoi(life); err != nil || seconds <= 0 || seconds > 300 {
		t.Errorf("Redis keeps user:{id} for %q s, want 1 to 300 (-2 means that the key doesn't exist)", life)
	}
}

// A client reads its user again only after a change, and changes only the version that it has read, through the edge and its compression.
func TestUserIsReadAndChangedByETag(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	rename := map[string]string{"name": "Renamed"}
	for _, encoding := range []string{"identity", "gzip", "br"} {
		client := api.With("Accept-Encoding", encoding)
		tag := client.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil).Header.Get("Etag")
		if !strings.HasPrefix(tag, `"`) {
			t.Fatalf("with encoding %s, Etag is %q, want a strong one", encoding, tag)
		}
		if same := client.With("If-None-Match", tag).MustCall(t, http.StatusNotModified, http.MethodGet, "/api/users/me", token, nil); len(same.Body) > 0 {
			t.Errorf("with encoding %s, the 304 has a body: %q", encoding, same.Body)
		}
		client.With("If-Match", `"1000"`).MustCall(t, http.StatusPreconditionFailed, http.MethodPatch, "/api/users/me", token, rename)
		client.With("If-Match", tag).MustCall(t, http.StatusOK, http.MethodPatch, "/api/users/me", token, rename)
		client.With("If-Match", tag).MustCall(t, http.StatusPreconditionFailed, http.MethodPatch, "/api/users/me", token, rename)
		client.With("If-None-Match", tag).MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
	}
}

func TestSignInDoesNotRevealUsers(t *testing.T) {
	api := kit.Gateway()
	known := api.SignUp(t)
	wrong, unknown := known, known
	wrong.Password = rand.Text()
	unknown.Email = "nobody-" + known.Email

	var problems []map[string]any
	for _, someone := range []kit.User{wrong, unknown} {
		refused := api.MustCall(t, http.StatusUnauthorized, http.MethodPost, "/api/auth/token", "", someone.Credentials())
		problem, err := refused.Problem()
		if err != nil {
			t.Fatal(err)
		}
		delete(problem, "request_id") // differs per request
		problems = append(problems, problem)
	}
	if !reflect.DeepEqual(problems[0], problems[1]) {
		t.Errorf("a wrong password gets %v, an unknown user %v: want the same", problems[0], problems[1])
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts, want the 3 of a JWT", len(parts))
	}
	header, payload, signature := parts[0], parts[1], parts[2]

	tests := []struct{ name, token string }{
		{"no token", ""},
		{"no JWT", "letmein"},
		{"signed with another key", sign(header, payload, []byte(rand.Text()))},
		{"signed with an empty key", sign(header, payload, nil)},
		{"another user's ID with a valid signature", header + "." + with(t, payload, "sub", "0190a0e0-0000-7000-8000-000000000000") + "." + signature},
		{"the role of an admin with a valid signature", header + "." + with(t, payload, "role", "admin") + "." + signature},
		{"no signature", header + "." + payload + "."},
		{"alg none", with(t, header, "alg", "none") + "." + payload + "."},
		{"alg none with a valid signature", with(t, header, "alg", "none") + "." + payload + "." + signature},
		{"alg None", with(t, header, "alg", "None") + "." + payload + "."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refused := api.MustCall(t, http.StatusUnauthorized, http.MethodGet, "/api/users/me", test.token, nil)
			if _, err := refused.Problem(); err != nil {
				t.Error(err)
			}
		})
	}
	api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil) // ensures that the others weren't refused for another reason
}

func TestUserCannotAccessOtherUsers(t *testing.T) {
	api := kit.Gateway()
	one, other := api.SignUp(t), api.SignUp(t)
	token := api.MustSignIn(t, one)
	api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/"+one.ID, token, nil)

	tests := []struct {
		method, path string
		body         any
	}{
		{http.MethodGet, "/api/users/" + other.ID, nil},
		{http.MethodPatch, "/api/users/" + other.ID, map[string]string{"name": "Taken Over"}},
		{http.MethodDelete, "/api/users/" + other.ID, map[string]string{"current_password": one.Password}},
		{http.MethodGet, "/api/users", nil},
		{http.MethodPatch, "/api/users/me", map[string]string{"role": "admin", "current_password": one.Password}},
		{http.MethodPatch, "/api/users/me", map[string]string{"email": "taken-over@example.com", "current_password": "a guess"}},
		{http.MethodDelete, "/api/users/me", map[string]string{"current_password": "a guess"}},
	}
	for _, test := range tests {
		t.Run(test.method+" "+strings.Replace(test.path, other.ID, "{other}", 1), func(t *testing.T) {
			if _, err := api.Expect(test.method, test.path, token, test.body, http.StatusForbidden, http.StatusNotFound); err != nil {
				t.Error(err)
			}
		})
	}
	if email, err := kit.EmailInPostgres(other.ID); err != nil || email != other.Email {
		t.Errorf("afterwards, the other user is %q in Postgres (%v), want %q", email, err, other.Email)
	}
}

// sign returns the JWT of an encoded header and payload (RFC 7515, HS256).
func sign(header, payload string, key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header + "." + payload))
	return header + "." + payload + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// with returns an encoded part of a JWT with one claim changed.
func with(t *testing.T, part, claim, value string) string {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatalf("decode the token: %v", err)
	}
	claims, err := kit.ParseJSON[map[string]any](string(decoded))
	if err != nil {
		t.Fatalf("decode the token: %v", err)
	}
	claims[claim] = value
	encoded, err := json.Marshal(claims)
	if err != nil {
		t.Fatalf("encode the token: %v", err)
	}
	return base64.RawURLEncoding.EncodeToString(encoded)
}
