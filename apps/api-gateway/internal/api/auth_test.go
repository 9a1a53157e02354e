package api

import "testing"

// Guesses at an account count together for all spellings of its email.
func TestAccount(t *testing.T) {
	want := account("ada@xn--bcher-kva.example")
	for _, email := range []string{"ADA@xn--bcher-kva.example", "ada@bücher.example", "ada@bu\u0308cher.example", "ada@BÜCHER.Example"} {
		if account(email) != want {
			t.Errorf("%q is another account", email)
		}
	}
	if account("eve@xn--bcher-kva.example") == want {
		t.Error("eve is ada")
	}
}
