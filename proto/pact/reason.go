package pact

// Reasons why an op is not allowed: the stable codes that travel in acks. The
// table of sentences is in package wire, whose codes equal these.
const (
	ReasonUnknown   = "pact.unknown"    // the op belongs to another pact
	ReasonNotMember = "pact.not_member" // the site takes no part
	ReasonVersion   = "pact.version"    // made under a version that is not in force for this field
	ReasonType      = "pact.type"       // no such record type in the pact
	ReasonField     = "pact.field"      // no such register in the pact
	ReasonWriter    = "pact.writer"     // the site may not write this register
	ReasonDelete    = "pact.delete"     // the site's deletes do not travel
	ReasonValue     = "pact.value"      // the value does not fit its field (agents ask, see Checker)
	ReasonForged    = "author.forged"   // the author belongs to another site
	ReasonMalformed = "op.malformed"    // a value that the pact must read is unreadable
	ReasonNewer     = "version.newer"   // a value that the pact must read is of a newer format
)
