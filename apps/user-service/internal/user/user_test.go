package user

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// faulty returns the invalid fields in err.
func faulty(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Code != problem.Invalid || len(p.Fields) == 0 {
		t.Fatalf("got %v, want an invalid with its fields", err)
	}
	var pointers []string
	for _, field := range p.Fields {
		pointers = append(pointers, field.Pointer)
	}
	return strings.Join(pointers, " ")
}

func TestValidate(t *testing.T) {
	valid := Draft{Email: "ada@example.com", Name: "Ada", Password: "12345678"}
	for _, c := range []struct {
		name   string
		change func(*Draft)
		faulty string
	}{
		{"valid", func(*Draft) {}, ""},
		{"an email with a name", func(d *Draft) { d.Email = "Ada <ada@example.com>" }, "/email"},
		{"an email of 254 bytes", func(d *Draft) { d.Email = Email(strings.Repeat("a", 242) + "@example.com") }, ""},
		{"an email of 255 bytes", func(d *Draft) { d.Email = Email(strings.Repeat("a", 243) + "@example.com") }, "/email"},
		{"an email with a line break", func(d *Draft) { d.Email = "\"a\nb\"@example.com" }, "/email"},
		{"an email with KELVIN SIGN", func(d *Draft) { d.Email = "\u212aim@example.com" }, "/email"},
		{"an email with ZERO WIDTH SPACE", func(d *Draft) { d.Email = "a\u200bda@example.com" }, "/email"},
		{"an email in another form", func(d *Draft) { d.Email = "ada@b\u00fccher.example" }, "/email"},
		{"a name of 100 characters", func(d *Draft) { d.Name = strings.Repeat("ä", 100) }, ""},
		{"a name of 101 characters", func(d *Draft) { d.Name = strings.Repeat("a", 101) }, "/name"},
		{"a name with a line break", func(d *Draft) { d.Name = "a\nb" }, "/name"},
		{"a name that ends with a space", func(d *Draft) { d.Name = "a " }, "/name"},
		{"a name of a space", func(d *Draft) { d.Name = " " }, "/name"},
		{"a name of IDEOGRAPHIC SPACEs", func(d *Draft) { d.Name = "\u3000\u3000" }, "/name"},
		{"a name of HANGUL FILLER", func(d *Draft) { d.Name = "\u3164" }, "/name"},
		{"a name of VARIATION SELECTOR-16", func(d *Draft) { d.Name = "\ufe0f" }, "/name"},
		{"a name with ZERO WIDTH SPACE", func(d *Draft) { d.Name = "A\u200bda" }, "/name"},
		{"a name with RIGHT-TO-LEFT OVERRIDE", func(d *Draft) { d.Name = "\u202eada" }, "/name"},
		{"a name with SOFT HYPHEN", func(d *Draft) { d.Name = "A\u00adda" }, "/name"},
		{"a name with LINE SEPARATOR", func(d *Draft) { d.Name = "A\u2028da" }, "/name"},
		{"a name in several scripts", func(d *Draft) { d.Name = "Zoë O’Neill 李 👩" }, ""},
		{"a password of 7 characters", func(d *Draft) { d.Password = "äääääää" }, "/password"},
		{"a password of 7 characters, decomposed", func(d *Draft) { d.Password = strings.Repeat("a\u0308", 7) }, "/password"},
		{"a password of 512 bytes", func(d *Draft) { d.Password = strings.Repeat("a", 512) }, ""},
		{"a password of 513 bytes", func(d *Draft) { d.Password = strings.Repeat("a", 513) }, "/password"},
		{"another role", func(d *Draft) { d.Role = "root" }, "/role"},
		{"nothing", func(d *Draft) { *d = Draft{} }, "/email /name /password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := valid
			c.change(&d)
			if got := faulty(t, d.Validate()); got != c.faulty {
				t.Errorf("draft: %q is not valid, want %q", got, c.faulty)
			}
			role := d.Role
			if role == "" {
				role = identity.User // in a change, a role must be valid
			}
			if got := faulty(t, Change{Email: &d.Email, Name: &d.Name, Role: &role, Password: &d.Password}.Validate()); got != c.faulty {
				t.Errorf("change: %q is not valid, want %q", got, c.faulty)
			}
		})
	}
	if got := faulty(t, Change{}.Validate()); got != "" {
		t.Errorf("a change of nothing: %q", got)
	}
	if (Change{}).Validate() == nil {
		t.Error("a change of nothing is valid")
	}
}

// Valid fields can be stored, are within their limits and contain no line breaks. A draft and a change accept the
// same fields.
func FuzzValidate(f *testing.F) {
	f.Add("ada@example.com", "Ada", "user", "12345678")
	f.Add("\"a b\"@[127.0.0.1]", "a\u2028b", "admin", "\x00\x00\x00\x00\x00\x00\x00\x00")
	f.Add("a@b\r\nBcc: c@d", "'; DROP TABLE users; --", "", "")
	f.Add("\u212aim@b\u00fccher.example", "\u202eada\u200b", "user", "a\u0308a\u0308a\u0308a\u0308")
	f.Fuzz(func(t *testing.T, address, name, role, password string) {
		var email Email
		if err := email.UnmarshalText([]byte(address)); err != nil {
			t.Fatal(err)
		}
		asRole := identity.Role(role)
		draft := Draft{Email: email, Name: name, Role: asRole, Password: password}.Validate()
		if role != "" {
			if change := (Change{Email: &email, Name: &name, Role: &asRole, Password: &password}).Validate(); faulty(t, draft) != faulty(t, change) {
				t.Errorf("as a draft: %v\nas a change: %v", draft, change)
			}
		}
		if draft != nil {
			return
		}
		for _, valid := range []string{string(email), name} {
			if strings.ContainsFunc(valid, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
				t.Errorf("%q has invisible characters", valid)
			}
		}
		if len(email) > 254 || !strings.Contains(string(email), "@") || strings.TrimSpace(name) != name || utf8.RuneCountInString(name) > 100 || name == "" || len(password) > 512 {
			t.Errorf("%q, %q, %q are valid", email, name, password)
		}
	})
}
