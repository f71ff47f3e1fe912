// Package wire is the only gate between the protocol's messages and the types
// of Entente: no generated type leaves it. Hub and agent speak through Server
// and Client; both sides check every limit of sync.proto here, so that what gets
// past this package has sane sizes.
//
// What wire checks is shape: sizes, counts, known enum values, names. Whether an
// op may be written is the business of the hub and of each receiving agent,
// since a refusal consumes a seq and belongs in the log.
//
// Every error of a Server or Client is an *Error with a Reason, or the error of
// a context, or io.EOF at the end of a stream.
package wire
