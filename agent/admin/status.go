package admin

import "time"

// Status is what an agent says of itself.
type Status struct {
	Site        string         `json:"site"`
	Agent       string         `json:"agent"`
	Incarnation uint64         `json:"incarnation"`
	Software    string         `json:"software"`
	Ready       bool           `json:"ready"`
	Problems    []string       `json:"problems,omitempty"` // why it is not ready
	Hub         HubStatus      `json:"hub"`
	Pacts       []PactStatus   `json:"pacts"`
	Systems     []SystemStatus `json:"systems"`
	Holds       int            `json:"holds"`
}

// HubStatus is the uplink.
type HubStatus struct {
	Connected bool   `json:"connected"`
	Address   string `json:"address,omitempty"`
	ID        string `json:"id,omitempty"`
	Epoch     string `json:"epoch,omitempty"`
	Problem   string `json:"problem,omitempty"`
}

// PactStatus is where one pact stands.
type PactStatus struct {
	Pact    string `json:"pact"`
	Version uint32 `json:"version"`
	Refused string `json:"refused,omitempty"`
	Cursor  uint64 `json:"cursor"`
	Head    uint64 `json:"head"`
	Outbox  uint64 `json:"outbox"` // ops that the feed does not cover yet
	// Conflicts are the edits that lost and that nobody who saw them has answered, as
	// far as the feed was read.
	Conflicts int `json:"conflicts"`
	// Offering: the hub lost what it had, or some of it, and is brought what this
	// agent holds; until that is done nothing else is sent. Offered and OfferRefused
	// count the registers that it took and refused in this epoch; at most OfferLeft
	// are to be offered yet.
	Offering     bool   `json:"offering,omitempty"`
	Offered      uint64 `json:"offered,omitempty"`
	OfferRefused uint64 `json:"offerRefused,omitempty"`
	OfferLeft    uint64 `json:"offerLeft,omitempty"`
}

// SystemStatus is one system.
type SystemStatus struct {
	System  string     `json:"system"`
	Pact    string     `json:"pact"`
	Listed  *time.Time `json:"listed,omitempty"` // when the listing last reached the end
	Linked  int        `json:"linked"`           // records tied to a local key
	Reads   int        `json:"reads"`            // reads that wait
	Intents int        `json:"intents"`          // writes that wait or are under way
	InDoubt int        `json:"inDoubt"`          // of these, writes that may have happened
}

// Release names a hold that is mended.
type Release struct {
	System string `json:"system"`
	Record string `json:"record"`
	Field  string `json:"field,omitempty"`
}
