package release

import (
	"encoding/json"
	"fmt"
)

// RequestVariable is the environment variable in which the release command hands its Request to the program that it has
// pulumi run. Unset, as in a plain `pulumi up`, nothing but the sources is asked for.
const RequestVariable = "PLATFORM_RELEASE"

// Request is what somebody asks for beyond what the sources say.
type Request struct {
	Services map[string]Deployed `json:"services,omitempty"` // what is to run in place of the sources' version
	Again    bool                `json:"again,omitempty"`    // also what was taken back
	Retire   bool                `json:"retire,omitempty"`   // no former version is to stand by any longer
	Holder   string              `json:"holder,omitempty"`   // who asks, as the lock of releases names them
}

// ReadRequest reads the variable's value; the zero Request where it is empty.
func ReadRequest(text string) (Request, error) {
	var request Request
	if text == "" {
		return request, nil
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return request, fmt.Errorf("%s: %w: it is the release command's to set: unset it", RequestVariable, err)
	}
	return request, nil
}

// String is the variable's value.
func (r Request) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // of texts and truth values
	}
	return string(text)
}

// Wish is what is asked of one service.
func (r Request) Wish(service, source string) Wish {
	return Wish{Source: source, Pinned: r.Services[service].Version, Again: r.Again, Retire: r.Retire}
}
