package backup

// The fixture, for tests that can't be in this package because backuptest
// imports it.
var (
	Machine  = machine
	HeaderOf = headerOf
	BodyOf   = bodyOf
)

// HubID is the fixture's.
var HubID = hubID
